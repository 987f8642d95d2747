"""The report: one self-contained page of a results folder, made from the files that are there."""
