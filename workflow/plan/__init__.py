"""The plan: runs, groups, paths and specs from the configuration. Needs no torch."""
