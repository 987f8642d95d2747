"""The figures: one file each. docs/add-a-figure.md says how to add one.

`figure` has the type of a declaration; `drawing` and `palette` have what figures share.
"""
