"""The figures: one file each; `drawing` and `palette` are what they share."""
