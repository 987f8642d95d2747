"""Copy what a finished run leaves for readers into a tracked folder, results/published/<world>/.

Tables, grids, figures with the numbers that they draw, scores, and the records of every run: identity
with its resolved settings, and cost. No weights, no observations; of the curves only what the
training figures draw, since those of every run would outweigh all the rest. Published files are
tracked, so they are never outputs of a rule.

    python -m workflow.publish --results results/mini
    python -m workflow.publish --results results/rehearsal --groups at_256 --out results/published/rehearsal

With --groups only what belongs to those groups is copied: a run in which others are not finished, or
were made otherwise.
"""

import argparse
import json
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


def of_groups(results: Path, groups: list[str]) -> list[Path]:
    """The kept files of some groups: tables, pictures, claims, and the records of their runs."""
    files = list(results.glob("claims.*"))
    for group in groups:
        told = results / "scores" / f"{group}.json"
        if not told.is_file():
            raise UserError(f"{results}: no group '{group}' was run; run it first: snakemake {group}.")
        for pattern in (f"tables/{group}.*", f"tables/{group}_paper*", f"figures/{group}_grid.png"):
            files += results.glob(pattern)
        for ending in ("svg", "csv"):
            files += results.glob(f"figures/{group}_*.{ending}")
        entries = json.loads(told.read_text(encoding="utf-8"))["observations"]
        costs = [Path(cost) for entry in entries for run in entry["runs"] for cost in run["costs"]]
        for cost in costs:  # as the workflow's folder names it: <results>/runs/…
            folder = results / "runs" / Path(*cost.parent.parts[-3:])
            files += [folder / "run.json", folder / "cost.json"]
    return sorted(dict.fromkeys(path for path in files if path.is_file()))


def joined_scores(results: Path, groups: list[str]) -> str:
    """The scores of some groups under one header; what two groups share once."""
    lines = [
        line
        for group in groups
        for line in (results / "scores" / f"{group}.csv").read_text(encoding="utf-8").splitlines()
    ]
    return "\n".join(dict.fromkeys(lines)) + "\n"


def publish(results: Path, out: Path, groups: list[str] | None = None) -> list[Path]:
    """Replace `out` by the kept files of `results`; returns them relative to `out`.

    groups: only those. Raises UserError where the run is not finished, or `out` has a file that no
    publication has; `out` is then left as it is.
    """
    _refuse_other_files(out)
    for pattern in NEEDED if groups is None else ():
        if not any(results.glob(pattern)):
            raise UserError(
                f"{results}: there is no {pattern}; finish the run first: snakemake all."
            )
    if groups is None:
        files = sorted(path for pattern in KEPT for path in results.glob(pattern) if path.is_file())
    else:
        files = of_groups(results, groups)
    fresh = out.with_name(f".{out.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    for path in files:
        target = fresh / path.relative_to(results)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    if groups is not None:
        (fresh / "scores.csv").write_text(joined_scores(results, groups), encoding="utf-8")
    shutil.rmtree(out, ignore_errors=True)
    fresh.rename(out)
    return [path.relative_to(results) for path in files]


def _refuse_other_files(out: Path) -> None:
    """UserError for a folder that is no publication: all that is in it would be removed."""
    if out.exists() and not out.is_dir():
        raise UserError(f"{out}: is a file; name a folder to publish into.")
    own = {path for pattern in KEPT for path in out.glob(pattern)}
    others = sorted(p for p in out.rglob("*") if p not in own and (p.is_symlink() or not p.is_dir()))
    if others:
        raise UserError(
            f"{out}: holds {others[0].relative_to(out)}, which no publication has, and would be "
            "replaced as a whole; move it away, or name another folder."
        )


@command
def main(argv=None) -> None:
    """Command line of this module."""
    parser = argparse.ArgumentParser(prog="python -m workflow.publish", description=__doc__)
    parser.add_argument("--results", type=Path, default=Path("results/mini"), help="a finished run")
    parser.add_argument(
        "--out", type=Path, default=Path("results/published/mini"), help="what to replace"
    )
    parser.add_argument("--groups", nargs="+", help="only these groups of the run")
    arguments = parser.parse_args(argv)
    files = publish(arguments.results, arguments.out, arguments.groups)
    print(f"published {len(files)} files of {arguments.results} -> {arguments.out}")


if __name__ == "__main__":
    sys.exit(main())
