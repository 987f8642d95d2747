"""Copy what a finished run leaves for readers into the tracked folder results/published/.

Tables, grids, figures with the numbers that they draw, scores, and the records of every run: identity
with its resolved settings, and cost. No weights, no observations; of the curves only what the
training figures draw, since those of every run would outweigh all the rest. Published files are
tracked, so they are never outputs of a rule.

    python -m workflow.publish --results results/mini
"""

import argparse
import shutil
import sys
from pathlib import Path

from nada.errors import UserError, command

KEPT = (
    "outcome.csv",
    "scores.csv",
    "claims.*",
    "tables/*",
    "figures/*_grid.png",
    "figures/*.svg",
    "figures/*.csv",
    "runs/*/*/*/run.json",
    "runs/*/*/*/cost.json",
)
NEEDED = ("scores.csv", "tables/*.md", "figures/*_grid.png", "runs/*/*/*/run.json")


def publish(results: Path, out: Path) -> list[Path]:
    """Replace `out` by the kept files of `results`; returns them relative to `out`.

    Raises UserError where the run is not finished; `out` is then left as it is.
    """
    for pattern in NEEDED:
        if not any(results.glob(pattern)):
            raise UserError(
                f"{results}: there is no {pattern}; finish the run first: snakemake all."
            )
    files = sorted(path for pattern in KEPT for path in results.glob(pattern) if path.is_file())
    fresh = out.with_name(f".{out.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    for path in files:
        target = fresh / path.relative_to(results)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    shutil.rmtree(out, ignore_errors=True)
    fresh.rename(out)
    return [path.relative_to(results) for path in files]


@command
def main(argv=None) -> None:
    """Command line of this module."""
    parser = argparse.ArgumentParser(prog="python -m workflow.publish", description=__doc__)
    parser.add_argument("--results", type=Path, default=Path("results/mini"), help="a finished run")
    parser.add_argument(
        "--out", type=Path, default=Path("results/published"), help="what to replace"
    )
    arguments = parser.parse_args(argv)
    files = publish(arguments.results, arguments.out)
    print(f"published {len(files)} files of {arguments.results} -> {arguments.out}")


if __name__ == "__main__":
    sys.exit(main())
