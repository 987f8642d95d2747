"""Studies with people: blind naming, and which of two pictures they prefer (Gal et al. 2021, §5.3, Fig. 12)."""
