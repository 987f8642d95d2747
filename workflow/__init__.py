"""The Snakemake workflow: what is run, in which world, and from which sources."""
