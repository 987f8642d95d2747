"""The `snakemake` entry of this project: a target may follow `--resources gpu=1` or `-R adapt`."""

import sys

from snakemake.cli import main as snakemake

PAIRS = ("--resources", "--res", "--config", "-C", "--set-threads")  # every value has a "="
TARGETS = ("all", "ablation", "tables", "figures", "report")  # and <target>_<variant>: no jobs


def targets_first(argv):
    """Split a command line into swallowed targets and the rest; nothing after `--` is touched."""
    moved, rest, option = [], [], None
    for word in argv:
        option = word if word.startswith("-") and option != "--" else option
        forced = option in ("-R", "--forcerun") and word.partition("_")[0] in TARGETS
        bare = option in PAIRS and word != option and "=" not in word
        (moved if bare or forced else rest).append(word)
    return moved, rest


def main():
    if (split := targets_first(sys.argv[1:]))[0]:
        print("Targets go first: snakemake", *split[0], *split[1], file=sys.stderr)
    snakemake([*split[0], *split[1]])
