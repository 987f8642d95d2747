"""The rehearsal world: the paper's files with random weights, written and checked."""
