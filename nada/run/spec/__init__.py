"""The specs of jobs, one module for each kind: a change of one kind does not re-run jobs of the others."""
