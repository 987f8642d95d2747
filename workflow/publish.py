"""Copy the results of a finished run into a tracked folder, results/published/<world>/.

Copied are tables, grids, figures with the numbers that they draw, scores, and the records of every
run: identity with its resolved hyperparameters, and cost. Not copied are weights and observations;
of the training curves only the part that the figures draw, because all of them would be too large.
Published files are tracked, so they are never outputs of a rule.

    python -m workflow.publish --results results/full
    python -m workflow.publish --results results/rehearsal --groups at_256
    python -m workflow.publish --results results/full --dry-run      # only list the changes

With --groups only the files of those groups are copied, for a run whose other groups are unfinished or
were made differently. A publication is replaced only by one of the same world, preset and device that
has all of its seeds and groups; `--replace` allows any other.
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
from nada.run.spec.group_spec import read_group_spec

ABOUT = "publication.json"  # describes a published folder
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
SHOWN = 6  # file names listed for each kind of change


@dataclass(frozen=True)
class About:
    """Contents of a publication: world, preset, device, seeds and groups."""

    world: str
    preset: str
    device: str
    seeds: list[int]
    groups: list[str]

    def lacks(self, old: "About") -> list[str]:
        """Reasons why this may not replace an older publication without --replace."""
        same = [(key, getattr(old, key), getattr(self, key)) for key in ("world", "preset", "device")]
        found = [f"the {key} is '{new}', not '{was}'" for key, was, new in same if was != new]
        for key in ("seeds", "groups"):
            if gone := [x for x in getattr(old, key) if x not in getattr(self, key)]:
                found.append(f"the {key} {', '.join(map(str, gone))} would be removed")
        return found


def about_results(results: Path, groups: list[str] | None) -> About:
    """Contents of a folder of results or of some of its groups, read from the groups' specs.

    Targets of single variants (`<group>_<variant>`) do not count as groups. Raises UserError if there
    are no groups, or if they are of several worlds, presets or devices.
    """
    specs = sorted((results / "scores").glob("*.json"))
    specs = [file for file in specs if groups is None or file.stem in groups]
    contents = [read_group_spec(file) for file in specs]
    if not contents:
        raise UserError(f"{results} has no scores/GROUP.json; run the groups first: snakemake all.")
    facts = {}
    for key in ("world", "preset", "device"):
        values = sorted({getattr(content, key) for content in contents})
        if len(values) > 1:
            raise UserError(
                f"the groups of {results} are of several {key}s ({', '.join(values)}); name those that "
                "belong together with --groups, or run them again."
            )
        facts[key] = values[0]
    runs = [run for content in contents for row in content.rows for run in row.runs]
    names = [file.stem for file in specs]
    whole = [name for name in names if not any(name.startswith(f"{other}_") for other in names)]
    return About(**facts, seeds=sorted({run.seed for run in runs}), groups=whole)


def about_published(out: Path) -> About | None:
    """Contents of a published folder, or None if nothing is published.

    Raises UserError if the folder holds something else or has no valid description.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    if not (out / "scores.csv").is_file():
        raise UserError(f"{out} is not a folder of published results; name one with --out.")
    try:
        return About(**json.loads((out / ABOUT).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        raise UserError(
            f"{out}: {ABOUT} is missing or damaged, so its contents are unknown; restore it "
            f"(git checkout -- {out}), or move the folder away."
        ) from None


def of_groups(results: Path, groups: list[str]) -> list[Path]:
    """The files to publish of some groups: tables, figures, claims, and the records of their runs."""
    files = list(results.glob("claims.*"))
    for group in groups:
        spec = results / "scores" / f"{group}.json"
        if not spec.is_file():
            raise UserError(f"{results} has no group '{group}'; run it first: snakemake {group}.")
        for pattern in (f"tables/{group}.*", f"tables/{group}_paper*", f"tables/{group}_preference.*", f"figures/{group}_grid.png"):
            files += results.glob(pattern)
        for ending in ("svg", "csv"):
            files += results.glob(f"figures/{group}_*.{ending}")
        runs = [run for row in read_group_spec(spec).rows for run in row.runs]
        costs = [Path(cost) for run in runs for cost in run.costs]
        for cost in costs:  # as the workflow's folder names it: <results>/runs/…
            folder = results / "runs" / Path(*cost.parent.parts[-3:])
            files += [folder / "run.json", folder / "cost.json"]
    return sorted(dict.fromkeys(path for path in files if path.is_file()))


def joined_scores(results: Path, groups: list[str]) -> str:
    """The scores of some groups under one header; rows that groups share appear once."""
    lines = [
        line
        for group in groups
        for line in (results / "scores" / f"{group}.csv").read_text(encoding="utf-8").splitlines()
    ]
    return "\n".join(dict.fromkeys(lines)) + "\n"


def kept_files(results: Path, groups: list[str] | None) -> list[Path]:
    """Files of a finished run to publish. Raises UserError if it is not finished."""
    for pattern in NEEDED if groups is None else ():
        if not any(results.glob(pattern)):
            raise UserError(
                f"{results} has no {pattern}; finish the run first: snakemake all."
            )
    if groups is not None:
        return of_groups(results, groups)
    files = (path for pattern in KEPT for path in results.glob(pattern) if path.name != ABOUT)
    return sorted({path for path in files if path.is_file()})


def build(results: Path, out: Path, fresh: Path, about: About, groups: list[str] | None) -> None:
    """Build the new publication in `fresh`: files of the run, and other files that `out` holds."""
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
    """Text that says what a new publication changes: contents, rows of scores, files."""

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
    return "\n".join([*text, f"{len(both) - len(changed)} files unchanged"])


def swap(out: Path, fresh: Path) -> None:
    """Replace `out` by `fresh` by renaming; `out` is restored if that fails."""
    old = hidden_folder(out, "old")
    if out.exists():
        out.rename(old)
    try:
        fresh.rename(out)
    except BaseException:
        if old.exists():
            old.rename(out)
        raise
    shutil.rmtree(old, ignore_errors=True)


def hidden_folder(out: Path, what: str) -> Path:
    """Path of a hidden folder next to `out`."""
    return out.with_name(f".{out.name}.{what}")


def recover(out: Path) -> None:
    """Undo a swap that was interrupted between its two renames."""
    old = hidden_folder(out, "old")
    if old.exists() and not out.exists():
        old.rename(out)
    shutil.rmtree(old, ignore_errors=True)


def publish(
    results: Path, out: Path, groups: list[str] | None = None, replace=False, dry_run=False, say=print
) -> None:
    """Publish `results` in `out`, replacing an earlier publication.

    groups: publish only these. replace: allow another world, preset or device, and fewer seeds or groups.
    dry_run: only report the changes. Raises UserError if the run is not finished or may not replace the
    earlier publication. After any failure `out` is unchanged.
    """
    out, inside = Path(os.path.normpath(out)), results.resolve()
    if out.resolve() in (inside, *inside.parents) or inside in out.resolve().parents:
        raise UserError(f"{out} and {results}: neither folder may contain the other; name another folder with --out.")
    recover(out)
    kept_files(results, groups)
    old, new = about_published(out), about_results(results, groups)
    fresh = hidden_folder(out, "new")
    try:
        build(results, out, fresh, new, groups)
        say(f"{results} -> {out}\n{changes(out, fresh)}")
        refused = new.lacks(old) if old else []
        if refused and not replace:
            raise UserError(
                f"{out} holds another publication: {'; '.join(refused)}; nothing was "
                "changed. Name another folder with --out, or add --replace to replace it."
            )
        if not dry_run:
            swap(out, fresh)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


@command
def main(argv=None) -> None:
    parser = argparse.ArgumentParser(prog="python -m workflow.publish", description=__doc__)
    parser.add_argument("--results", type=Path, default=Path("results/mini"), help="a finished run")
    parser.add_argument(
        "--out", type=Path, help="published folder; default: results/published/<world of the run>"
    )
    parser.add_argument("--groups", nargs="+", help="publish only these groups")
    parser.add_argument("--replace", action="store_true", help="allow another preset, or fewer seeds")
    parser.add_argument("--dry-run", action="store_true", help="only list the changes")
    arguments = parser.parse_args(argv)
    results, groups = arguments.results, arguments.groups
    kept_files(results, groups)
    out = arguments.out or Path("results/published", about_results(results, groups).world)
    publish(results, out, groups, arguments.replace, arguments.dry_run)
    print("nothing was changed (--dry-run)" if arguments.dry_run else f"published {results} -> {out}")


if __name__ == "__main__":
    sys.exit(main())
