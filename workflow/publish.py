"""Copy what a finished run leaves for readers into a tracked folder, results/published/<world>/.

Tables, grids, figures with the numbers that they draw, scores, and the records of every run: identity
with its resolved hyperparameters, and cost. No weights, no observations; of the curves only what the
training figures draw, since those of every run would outweigh all the rest. Published files are
tracked, so they are never outputs of a rule.

    python -m workflow.publish --results results/full
    python -m workflow.publish --results results/rehearsal --groups at_256
    python -m workflow.publish --results results/full --dry-run      # what would change, and nothing else

With --groups only what belongs to those groups is copied: a run in which others are not finished, or
were made otherwise. What is published already is replaced only by the same world, preset and device,
by all of its seeds and groups; `--replace` says that another one is meant.
"""

import argparse
import filecmp
import json
import os
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from nada.run.atomic import write_json
from nada.run.errors import UserError, command
from nada.run.spec.group import read_group_spec

ABOUT = "publication.json"  # what a published folder says of itself
KEPT = (
    ABOUT,
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
SHOWN = 6  # names of files that are listed of each kind of change


@dataclass(frozen=True)
class About:
    """What a publication is of: the world, the preset, the device, the seeds, the groups."""

    world: str
    preset: str
    device: str
    seeds: list[int]
    groups: list[str]

    def lacks(self, old: "About") -> list[str]:
        """Why this may not replace an older one without being asked to: sentences without an end."""
        same = [(key, getattr(old, key), getattr(self, key)) for key in ("world", "preset", "device")]
        found = [f"the {key} is '{new}', not '{was}'" for key, was, new in same if was != new]
        for key in ("seeds", "groups"):
            if gone := [x for x in getattr(old, key) if x not in getattr(self, key)]:
                found.append(f"the {key} {', '.join(map(str, gone))} would go")
        return found


def about_results(results: Path, groups: list[str] | None) -> About:
    """What a folder of results holds, or some groups of it, as the groups' own files say; the targets of
    single variants (`<group>_<variant>`) are not counted as groups.

    Raises UserError where there are none, or where they are of several worlds, presets or devices.
    """
    told = sorted((results / "scores").glob("*.json"))
    told = [file for file in told if groups is None or file.stem in groups]
    contents = [read_group_spec(file) for file in told]
    if not contents:
        raise UserError(f"{results}: there is no scores/SPEC.json; run the groups first: snakemake all.")
    facts = {}
    for key in ("world", "preset", "device"):
        values = sorted({getattr(content, key) for content in contents})
        if len(values) > 1:
            raise UserError(
                f"{results}: its groups are of several {key}s ({', '.join(values)}); name those that "
                "belong together with --groups, or run them again."
            )
        facts[key] = values[0]
    runs = [run for content in contents for row in content.rows for run in row.runs]
    names = [file.stem for file in told]
    whole = [name for name in names if not any(name.startswith(f"{other}_") for other in names)]
    return About(**facts, seeds=sorted({run.seed for run in runs}), groups=whole)


def about_published(out: Path) -> About | None:
    """What a published folder says of itself; None where nothing is published.

    Raises UserError where the folder holds something else, or does not say what it is.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    if not (out / "scores.csv").is_file():
        raise UserError(f"{out}: this is no folder of published results; name one with --out.")
    try:
        return About(**json.loads((out / ABOUT).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        raise UserError(
            f"{out}: {ABOUT} is missing or broken, so what is published there is not known; restore it "
            f"(git checkout -- {out}), or move the folder away."
        ) from None


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
        runs = [run for row in read_group_spec(told).rows for run in row.runs]
        costs = [Path(cost) for run in runs for cost in run.costs]
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


def kept_files(results: Path, groups: list[str] | None) -> list[Path]:
    """Files of a finished run that are published. Raises UserError where it is not finished."""
    for pattern in NEEDED if groups is None else ():
        if not any(results.glob(pattern)):
            raise UserError(
                f"{results}: there is no {pattern}; finish the run first: snakemake all."
            )
    if groups is not None:
        return of_groups(results, groups)
    files = (path for pattern in KEPT for path in results.glob(pattern) if path.name != ABOUT)
    return sorted({path for path in files if path.is_file()})


def build(results: Path, out: Path, fresh: Path, about: About, groups: list[str] | None) -> None:
    """Make the new publication in `fresh`: the kept files, and what `out` holds that no run leaves."""
    shutil.rmtree(fresh, ignore_errors=True)
    copies = {path.relative_to(results): path for path in kept_files(results, groups)}
    ours = {path for pattern in KEPT for path in out.glob(pattern)}
    for path in out.rglob("*"):  # such as a table of costs
        if path.is_file() and path not in ours:
            copies.setdefault(path.relative_to(out), path)
    for name, path in copies.items():
        (fresh / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, fresh / name)
    if groups is not None:
        (fresh / "scores.csv").write_text(joined_scores(results, groups), encoding="utf-8")
    write_json(fresh / ABOUT, asdict(about))


def changes(out: Path, fresh: Path) -> str:
    """What a new publication changes in the old one, for people: facts, rows of scores, files."""

    def names(folder):
        return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}

    def fact(folder, key):
        file = folder / ABOUT
        return json.loads(file.read_text(encoding="utf-8"))[key] if file.is_file() else "nothing"

    def rows(folder):
        file = folder / "scores.csv"
        return len(file.read_text(encoding="utf-8").splitlines()) - 1 if file.is_file() else 0

    def shown(value):
        return ", ".join(map(str, value)) if isinstance(value, list) else value

    old, new = names(out), names(fresh)
    text = [f"{key:8}{shown(fact(out, key))} -> {shown(fact(fresh, key))}" for key in About.__annotations__]
    text.append(f"{'scores':8}{rows(out)} rows -> {rows(fresh)} rows")
    both = sorted(old & new)
    changed = [name for name in both if not filecmp.cmp(out / name, fresh / name, shallow=False)]
    kinds = (("added", sorted(new - old)), ("removed", sorted(old - new)), ("changed", changed))
    for kind, files in kinds:
        more = f", and {len(files) - SHOWN} more" if len(files) > SHOWN else ""
        listed = f": {', '.join(files[:SHOWN])}{more}" if files else ""
        text.append(f"{len(files)} files {kind}{listed}")
    return "\n".join([*text, f"{len(both) - len(changed)} files stay as they are"])


def swap(out: Path, fresh: Path) -> None:
    """Put `fresh` in the place of `out` by renaming; `out` comes back where that fails."""
    old = beside(out, "old")
    if out.exists():
        out.rename(old)
    try:
        fresh.rename(out)
    except BaseException:
        if old.exists():
            old.rename(out)
        raise
    shutil.rmtree(old, ignore_errors=True)


def beside(out: Path, what: str) -> Path:
    """A hidden name beside a folder."""
    return out.with_name(f".{out.name}.{what}")


def recover(out: Path) -> None:
    """Undo a swap that was interrupted between its two renames."""
    old = beside(out, "old")
    if old.exists() and not out.exists():
        old.rename(out)
    shutil.rmtree(old, ignore_errors=True)


def publish(
    results: Path, out: Path, groups: list[str] | None = None, replace=False, dry_run=False, say=print
) -> None:
    """Put the kept files of `results` in the place of what is published in `out`.

    groups: only those. replace: also where the old one is of another kind, or has more. dry_run: say
    what would change and stop. Raises UserError where the run is not finished, or may not replace what
    is there; `out` is then left as it is, as it is by any failure.
    """
    out, inside = Path(os.path.normpath(out)), results.resolve()
    if out.resolve() in (inside, *inside.parents) or inside in out.resolve().parents:
        raise UserError(f"{out}: the published folder and the results {results} may not hold each other.")
    recover(out)
    kept_files(results, groups)
    old, new = about_published(out), about_results(results, groups)
    fresh = beside(out, "new")
    try:
        build(results, out, fresh, new, groups)
        say(f"{results} -> {out}\n{changes(out, fresh)}")
        refused = new.lacks(old) if old else []
        if refused and not replace:
            raise UserError(
                f"{out}: what is published there is another benchmark: {'; '.join(refused)}; nothing was "
                "changed. Name another folder with --out, or add --replace if you mean it."
            )
        if not dry_run:
            swap(out, fresh)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


@command
def main(argv=None) -> None:
    """Command line of this module."""
    parser = argparse.ArgumentParser(prog="python -m workflow.publish", description=__doc__)
    parser.add_argument("--results", type=Path, default=Path("results/mini"), help="a finished run")
    parser.add_argument(
        "--out", type=Path, help="what to replace; without, results/published/<world of the run>"
    )
    parser.add_argument("--groups", nargs="+", help="only these groups of the run")
    parser.add_argument("--replace", action="store_true", help="also another preset, or fewer seeds")
    parser.add_argument("--dry-run", action="store_true", help="say what would change, and stop")
    arguments = parser.parse_args(argv)
    results, groups = arguments.results, arguments.groups
    kept_files(results, groups)
    out = arguments.out or Path("results/published", about_results(results, groups).world)
    publish(results, out, groups, arguments.replace, arguments.dry_run)
    print("nothing was changed (--dry-run)" if arguments.dry_run else f"published {results} -> {out}")


if __name__ == "__main__":
    sys.exit(main())
