"""The files that tell jobs what to do, one module for each kind, so that a change of one kind re-runs no other."""
