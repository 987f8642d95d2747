"""Facts beside the scores: what was run and when, its limits, costs, licences, and the environment."""

import platform
import subprocess
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import pandas as pd

from eval.analysis import costs, lengths
from eval.paper_table import reason_of
from eval.report.contents import Contents
from nada.run.spec.base import CONDITION_KEYS

#: Packages whose versions the page gives: those that compute or measure.
PACKAGES = ("torch", "torchvision", "numpy", "scipy", "scikit-learn", "scikit-learn-extra", "open_clip_torch",
            "clean-fid", "lpips", "snakemake")  # fmt: skip
#: Worlds whose networks and images the project made itself.
OWN_WORLDS = {
    "mini": "Every network and image of the mini world was made by this project (workflow/worlds/mini) and is"
    " under its licence, MIT.",
    "rehearsal": "The networks of this world have random weights, made by this project (licence: MIT).",
}
TITLE = "StyleGAN-NADA and few-shot methods"
INTRO = (
    "Pre-trained StyleGAN2 generators are adapted to new domains by a text (StyleGAN-NADA, Gal et al. 2021) and"
    " by few images; this page shows what came out."
)
#: What a job of each folder of benchmarks/ does.
STAGES = {"runs": "training", "observations": "measuring images", "references": "reference images",
          "scores": "scores", "tables": "tables", "figures": "figures"}  # fmt: skip


@dataclass(frozen=True)
class About:
    """The head of the page: what it is about, facts (name, value), and one sentence of limits."""

    title: str
    intro: str
    facts: list[tuple[str, str]]
    limits: str


def about(contents: Contents) -> About:
    """World, seeds, date of the code, and one sentence of limits."""
    spec, records = contents.spec, contents.records
    seconds = sum(record["cost"]["wall_seconds"] for record in records.values())
    seeds = ", ".join(map(str, spec.seeds))
    facts = [
        ("World", f"{spec.world} ({spec.resolution} px, {spec.device})"),
        ("Preset", spec.preset),
        ("Seed" if len(spec.seeds) == 1 else "Seeds", seeds),
        ("Trainings", f"{trainings(contents):,} in {duration(seconds)}"),
        ("Code", dated(commits(contents))),
    ]
    return About(TITLE, INTRO, facts, limits(contents))


def limits(contents: Contents) -> str:
    """One sentence: whether the numbers compare with the paper's, and what one seed means."""
    reason = reason_of(contents.spec.world, contents.spec.like)
    text = "Numbers are measured as in the paper"
    if reason:
        text = f"No number here is comparable with the paper's ({reason})"
    one = len(contents.spec.seeds) == 1
    return text + (", and with one seed differences between models may be chance." if one else ".")


def trainings(contents: Contents) -> int:
    """The number of runs with at least one iteration, ancestors included."""
    return sum(record["cost"]["iterations"] > 0 for record in contents.records.values())


def commits(contents: Contents) -> list[str]:
    """The commits that the runs were made at."""
    return sorted({record["cost"].get("commit") or "" for record in contents.records.values()} - {""})


def dated(found: list[str]) -> str:
    """`1a2b3c4 of 2026-11-27`, or the number of commits and the newest date; the date where git knows it."""
    if not found:
        return "not in a git repository"
    dates = {commit: date for commit in found if (date := date_of(commit))}
    if len(found) == 1:
        return f"{found[0][:7]}" + (f" of {dates[found[0]]}" if dates else "")
    newest = max(dates, key=dates.get, default=None)
    return f"{len(found)} commits" + (f", the newest {newest[:7]} of {dates[newest]}" if newest else "")


def date_of(commit: str) -> str:
    """The date of a commit, empty if git does not know it."""
    command = ["git", "show", "--no-patch", "--format=%cs", commit]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def duration(seconds: float) -> str:
    """`3.4 h`, `12 min` or `45 s`."""
    if seconds >= 3600:
        return f"{seconds / 3600:,.1f} h"
    return f"{seconds / 60:.0f} min" if seconds >= 60 else f"{seconds:.0f} s"


def cost_table(contents: Contents) -> tuple[pd.DataFrame, list[str]]:
    """(what the runs of every condition cost, as text; notes)."""
    frames = [contents.tables[group.name].cost for group in contents.groups]
    whole = pd.concat(frames).drop_duplicates(list(CONDITION_KEYS)) if frames else pd.DataFrame()
    notes = [note for group in contents.groups for note in lengths.notes(group)]
    return costs.as_text(whole), [costs.NOTE, *dict.fromkeys(notes)]


def stage_times(contents: Contents) -> list[tuple[str, int, str]]:
    """(stage, jobs, time) from the jobs' benchmark files; empty without any."""
    found = []
    for folder, name in STAGES.items():
        files = sorted(Path(contents.spec.results, "benchmarks", folder).rglob("*.tsv"))
        seconds = [float(pd.read_csv(file, sep="\t", na_values="-").s.iloc[0]) for file in files]
        if seconds:
            found.append((name, len(seconds), duration(sum(seconds))))
    return found


def licences(contents: Contents) -> str:
    """What the page says of licences above the table of assets."""
    spec = contents.spec
    if spec.assets:
        return ""
    lineage = (spec.world, *(spec.like or ()))
    text = next((OWN_WORLDS[name] for name in lineage if name in OWN_WORLDS), "")
    own = f" Files that the world {spec.world} adds are under the terms of their owners."
    return text + (own if text and spec.world not in OWN_WORLDS else "")


def environment(contents: Contents) -> list[tuple[str, str]]:
    """Where the runs were made, and with which packages this page was."""
    records = contents.records.values()

    def all_of(values) -> str:
        return "; ".join(sorted({str(value) for value in values if value})) or "–"

    found = [
        ("Processor of the runs", all_of(_host(r["cost"]) for r in records)),
        ("Graphics card of the runs", all_of(r["cost"]["host"].get("gpu") for r in records)),
        ("torch of the runs", all_of(r["run"]["torch"] for r in records)),
        ("Commits of the runs", all_of(commits(contents))),
        ("Python of this page", f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
    ]
    return found + [(f"{name} of this page", version) for name in PACKAGES if (version := _version(name))]


def _host(cost: dict) -> str:
    host = cost["host"]
    return f"{host['cpu']}, {host['cpu_count']} cores"


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
