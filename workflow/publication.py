"""What a publication of a finished run holds: its files, its description, its checksums, its archive.

A publication has tables, figures with the numbers that they draw, the report, claims, scores, and the records
of every run: identity with its resolved hyperparameters, and cost. It has no weights and no observations; of the
training curves only the part that the figures draw, because all of them would be too large. SHA256SUMS lists the
SHA-256 of every file, as `sha256sum --check` reads it; publication.json says what was run.
"""

import json
import shutil
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path

from nada.run.atomic import atomic_path, sha256, write_json
from nada.run.errors import UserError
from nada.run.spec.group_spec import read_group_spec

ABOUT = "publication.json"  # describes a published folder
SUMS = "SHA256SUMS"  # checksums of all its other files
PAGES = ("report.html", "provenance.html")  # of the whole run; the first links to the second
KEPT = (
    ABOUT,
    SUMS,
    *PAGES,
    "outcome.csv",
    "scores.csv",
    "claims.*",
    "tables/*",
    "figures/*.svg",
    "figures/*.csv",
    "figures/*.png",
    "runs/*/*/*/run.json",
    "runs/*/*/*/cost.json",
)
NEEDED = ("scores.csv", "tables/*.md", "figures/*_grid.png", "runs/*/*/*/run.json", "report.html")
#: The date of every file in an archive, so that equal contents give equal bytes; the earliest that zip knows.
DATE = (1980, 1, 1, 0, 0, 0)


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
        for pattern in (f"tables/{group}.*", f"tables/{group}_paper*", f"tables/{group}_preference.*"):
            files += results.glob(pattern)
        for ending in ("svg", "csv", "png"):
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
    """Files of a finished run to publish; with groups, of these alone. Raises UserError if it is not finished.

    A figure's PNG is left out where there is an SVG of it. The pages in PAGES are of the whole run, so groups
    alone have none.
    """
    for pattern in NEEDED if groups is None else ():
        if not any(results.glob(pattern)):
            raise UserError(f"{results} has no {pattern}; finish the run first: snakemake all.")
    if groups is None:
        files = {path for pattern in KEPT for path in results.glob(pattern)}
    else:
        files = set(of_groups(results, groups))
    drawn = {path for path in files if path.suffix == ".png" and path.with_suffix(".svg") in files}
    own = {results / ABOUT, results / SUMS}  # made anew for each publication
    return sorted(path for path in files - drawn - own if path.is_file())


def write_sums(folder: Path) -> None:
    """Write SHA256SUMS of a folder: a line for every other file in it, sorted by name."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    lines = [f"{sha256(folder / name)}  {name}\n" for name in names if name != SUMS]
    with atomic_path(folder / SUMS) as temporary:
        temporary.write_text("".join(lines), encoding="utf-8")


def write_archive(folder: Path, archive: Path, inside: str) -> None:
    """Write a folder as a zip in which its files lie under the name `inside`; equal files give equal bytes."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    with atomic_path(archive) as temporary, zipfile.ZipFile(temporary, "w", compresslevel=9) as packed:
        for path in files:
            entry = zipfile.ZipInfo(f"{inside}/{path.relative_to(folder).as_posix()}", DATE)
            entry.external_attr, entry.compress_type = 0o644 << 16, zipfile.ZIP_DEFLATED
            packed.writestr(entry, path.read_bytes(), compresslevel=9)


def is_archive(path: Path) -> bool:
    """Whether a file is an archive that `write_archive` wrote of a publication."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as packed:
        return any(name.endswith(f"/{ABOUT}") for name in packed.namelist())


def build(results: Path, out: Path | None, fresh: Path, about: About, groups: list[str] | None) -> None:
    """Build a publication in `fresh`: files of the run, and other files that the earlier one in `out` holds."""
    shutil.rmtree(fresh, ignore_errors=True)
    copies = {path.relative_to(results): path for path in kept_files(results, groups)}
    ours = {path for pattern in KEPT for path in out.glob(pattern)} if out else set()
    for path in out.rglob("*") if out else ():  # such as a table of costs
        if path.is_file() and path not in ours:
            copies.setdefault(path.relative_to(out), path)
    for name, path in copies.items():
        (fresh / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, fresh / name)
    if groups is not None:
        (fresh / "scores.csv").write_text(joined_scores(results, groups), encoding="utf-8")
    write_json(fresh / ABOUT, asdict(about))
    write_sums(fresh)
