"""The metrics: one file each, with name, direction and digits beside the function."""
