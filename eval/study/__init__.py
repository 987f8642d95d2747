"""Studies with people: blind naming, and pairwise comparison (Fig. 12)."""
