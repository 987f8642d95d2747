"""The `snakemake` entry of this project: a target may follow `--resources gpu=1` or `-R adapt`."""

import sys

from snakemake.cli import main as snakemake

PAIRS = ("--resources", "--res", "--config", "-C", "--set-threads")  # every value has a "="
TARGETS = ("all_", "ablation_", "departures_", "few_shot_", "k_sweep_", "image_targets_", "bias_", "table1_", "table2_", "pareto_", "sketches_", "table3_", "at_", "assets_", "claims_", "tables_", "figures_", "report_")  # fmt: skip


def targets_first(argv):
    """Split a command line into swallowed targets (of no job) and the rest; not after `--`."""
    moved, rest, option = [], [], None
    for word in argv:
        option = word if word.startswith("-") and option != "--" else option
        forced = option in ("-R", "--forcerun") and f"{word}_".startswith(TARGETS)
        bare = option in PAIRS and word != option and "=" not in word
        (moved if bare or forced else rest).append(word)
    return moved, rest


def main():
    if (split := targets_first(sys.argv[1:]))[0]:
        print("Targets go first: snakemake", *split[0], *split[1], file=sys.stderr)
    snakemake([*split[0], *split[1]])
