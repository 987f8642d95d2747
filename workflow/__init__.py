"""The Snakemake workflow: its plan, rules, worlds, presets and commands."""
