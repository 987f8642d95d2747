"""Forecast the time, disk and memory of a plan from measured runs of the same methods and sizes.

`snakemake estimate --config world=paper` reads the rehearsal's results: the cost.json of its runs and
the benchmarks of its observations. A fresh clone has no runs, so the published records are read. Kinds
of runs that were never measured are listed, not guessed.

    python -m workflow.forecast --results results/rehearsal --device cuda --out costs.csv

writes the measurements: seconds per step, peak memory and bytes on disk, by kind of run.
"""

import argparse
import csv
import json
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from nada.run.atomic import atomic_path
from nada.run.errors import UserError, command
from nada.run.outputs import begins_with, check_output
from nada.run.spec.observation_spec import read_observation_spec

GIB = 2**30


@dataclass
class Costs:
    """Measured costs by kind of run, (method or 'nada mapper', pixels per side).

    step: seconds per iteration. start: seconds of a run outside its iterations. memory: peak bytes, of
    the GPU if there was one. model, snapshot: bytes on disk. observation: seconds per observed image,
    by pixels per side. host: the processor or GPU. skipped: records that cannot be read, such as those
    of an interrupted run.
    """

    step: dict = field(default_factory=dict)
    start: dict = field(default_factory=dict)
    memory: dict = field(default_factory=dict)
    model: dict = field(default_factory=dict)
    snapshot: dict = field(default_factory=dict)
    observation: dict = field(default_factory=dict)
    host: str = ""
    skipped: list = field(default_factory=list)


#: Errors of reading a record that is truncated, incomplete or of another kind.
UNREADABLE = (UserError, OSError, ValueError, KeyError, TypeError, IndexError, AttributeError)


@dataclass(frozen=True)
class Line:
    """One kind of run in a plan: number of runs and their costs; None if it was never measured."""

    kind: tuple[str, int]
    runs: int
    hours: float | None
    disk: float | None
    memory: float | None


def kind_of(method: str, hparams: dict, resolution: int) -> tuple[str, int]:
    """The kind of a run: runs of one kind have equal cost per step."""
    return (f"{method} mapper" if hparams.get("mapper") else method, resolution)


def iterations_of(hparams: dict) -> int:
    """Steps of a run; a mapper has its own number, and controls have none."""
    return (hparams.get("mapper") or hparams).get("iterations", 0)


def measured(results: Path, device: str) -> Costs:
    """Costs of the runs and observations in a folder of results, for one device."""
    found, costs = defaultdict(lambda: defaultdict(list)), Costs()
    for record in sorted(results.glob("runs/*/*/seed*/run.json")):
        try:
            host, kind, values = _cost_of_run(record, device)
        except UNREADABLE:
            costs.skipped.append(record)
            continue
        costs.host = host or costs.host
        for name, value in values.items():
            found[name][kind].append(value)
    for spec in sorted(results.glob("observations/*/*.json")):
        try:
            pixels, seconds = _cost_of_observation(spec, results, device)
        except UNREADABLE:
            costs.skipped.append(spec)
            continue
        if seconds is not None:
            found["observation"][pixels].append(seconds)
    for name in ("step", "start"):
        setattr(costs, name, {kind: median(values) for kind, values in found[name].items()})
    costs.observation = {pixels: median(values) for pixels, values in found["observation"].items()}
    for name in ("memory", "model", "snapshot"):
        setattr(costs, name, {kind: max(values) for kind, values in found[name].items()})
    _read_table(results / f"costs_{device}.csv", costs)
    return costs


def places(plan) -> list[Path]:
    """Folders that may hold a plan's costs: its results (or those named in world.yaml), then the published
    records of the same world."""
    own = Path(plan.world.get("measured", plan.results))
    published = own.name if "measured" in plan.world else plan.world["name"]
    return [own, Path("results", "published", published)]


def _read_table(path: Path, costs: Costs) -> None:
    """Add the kinds that no record has from a table of costs (written by `main`), if the file exists."""
    if not path.is_file():
        return
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        kind = row["what"], int(row["pixels"])
        costs.host = costs.host or row["host"]
        if row["what"] in ("observation", "look"):
            costs.observation.setdefault(kind[1], float(row["seconds_per_image"]))
            continue
        columns = {"step": ("seconds_per_step", 1), "memory": ("peak_memory_gib", GIB), "model": ("model_mib", 2**20)}
        for name, (column, unit) in columns.items():
            if row[column]:
                getattr(costs, name).setdefault(kind, float(row[column]) * unit)


def _cost_of_run(record: Path, device: str) -> tuple[str, tuple[str, int] | None, dict[str, float]]:
    """(host, kind, values by name) of a run; empty for another device."""
    run, cost = _read(record), _read(record.with_name("cost.json"))
    if run["device"] != device:
        return "", None, {}
    spec = run["spec"]
    kept = spec["hyperparameters"].get("snapshots") or 1
    kept = len(kept) if isinstance(kept, list) else kept
    values = {"memory": cost["peak_gpu_memory_bytes"] or cost["peak_memory_bytes"]}
    for name, parts in (("model", 1), ("snapshots", kept)):  # published records have no weights
        if (weights := record.with_name(f"{name}.safetensors")).is_file():
            values[name.removesuffix("s")] = weights.stat().st_size / parts
    if steps := iterations_of(spec["hyperparameters"]):
        step = cost.get("seconds_per_step") or cost["wall_seconds"] / steps
        values |= {"step": step, "start": max(0.0, cost["wall_seconds"] - steps * step)}
    kind = kind_of(spec["method"], spec["hyperparameters"], spec["resolution"])
    return cost["host"]["gpu"] or cost["host"]["cpu"], kind, values


def _cost_of_observation(spec: Path, results: Path, device: str) -> tuple[int, float | None]:
    """(pixels, seconds per image) of an observation; None if it was not timed, or on another device."""
    observed = read_observation_spec(spec)
    timed = results / "benchmarks" / spec.relative_to(results).with_suffix(".tsv")
    images = len(observed.runs) * observed.counts.fid_images
    if not (timed.is_file() and images and observed.device == device):
        return observed.resolution, None
    return observed.resolution, float(timed.read_text().splitlines()[1].split("\t")[0]) / images


def forecast(plan, costs: Costs) -> list[Line]:
    """A line for each kind of run of a plan's groups, and for the observations at each image size."""
    counts, hours, disk = Counter(), defaultdict(float), defaultdict(float)
    for run in plan.runs_of(plan.shown):
        hparams = plan.hyperparameters(run.condition, defaults=True)
        kind = kind_of(run.condition.method, hparams, plan.resolution(run.condition.task))
        counts[kind] += 1
        kept = hparams.get("snapshots", 5)
        kept = len(kept) if isinstance(kept, list) else kept
        seconds = iterations_of(hparams) * costs.step.get(kind, 0.0) + costs.start.get(kind, 0.0)
        hours[kind] += seconds / 3600
        disk[kind] += costs.model.get(kind, 0) + kept * costs.snapshot.get(kind, 0)
    lines = []
    for kind in sorted(counts):
        values = hours[kind], disk[kind] if kind in costs.model else None, costs.memory.get(kind)
        lines.append(Line(kind, counts[kind], *(values if kind in costs.memory else (None,) * 3)))
    shown = {s for group in plan.shown for s in plan.members(group)}
    observed = Counter(plan.resolution(condition.task) for condition in shown)
    images = len(plan.config["seeds"]) * plan.config["evaluation"]["fid_images"]
    for pixels, conditions in sorted(observed.items()):
        seconds = costs.observation.get(pixels)
        spent = None if seconds is None else conditions * images * seconds / 3600
        lines.append(Line(("observe", pixels), conditions, spent, None, None))
    return lines


def page(plan, *folders) -> str:
    """The forecast as text: a line for each kind of run, the sum, and what is unknown.

    folders: results, which need not exist; the first with runs on the plan's device is used. Without
    timed observations, the seconds in world.yaml are used, and the text says so.
    """
    found = {folder: measured(Path(folder), plan.device) for folder in folders}
    results = next((folder for folder, costs in found.items() if costs.host), folders[0])
    costs, known = found[results], plan.world.get("seconds")
    sizes = {plan.resolution(condition.task) for condition in plan.conditions_of(plan.shown)}
    named = bool(known and costs.host and not costs.observation)
    if named:
        costs.observation = dict.fromkeys(sizes, known["observation"] / 1000)
    lines = forecast(plan, costs)
    text = [plan.summary()]
    if not costs.host:
        text += [f"{'':28}{'runs':>6}", *(f"{_name(line):28}{line.runs:6}" for line in lines)]
        text.append(
            f"nothing is measured: no {plan.device} run in {' or '.join(map(str, folders))}. "
            f"Measure first: {_measure(plan)}"
        )
        return "\n".join([*text, *_skipped(costs)])
    unit = "GPU-hours" if plan.device == "cuda" else "hours of one core"
    text.append(f"forecast in {unit}, from {results} ({costs.host})")
    text.append(f"{'':28}{'runs':>6}{'hours':>10}{'disk, GiB':>12}{'memory, GiB':>13}")
    for line in lines:
        cells = (_cell(line.hours), _cell(line.disk, GIB), _cell(line.memory, GIB))
        text.append(f"{_name(line):28}{line.runs:6}{cells[0]:>10}{cells[1]:>12}{cells[2]:>13}")
    hours = sum(line.hours for line in lines if line.hours is not None)
    disk = sum(line.disk for line in lines if line.disk) or None
    peak = max((line.memory for line in lines if line.memory), default=None)
    text.append(f"{'together':28}{'':6}{hours:10.2f}{_cell(disk, GIB):>12}{_cell(peak, GIB):>13}")
    if named:
        text.append(f"observations: {known['observation']} seconds per thousand images, from world.yaml")
    if not costs.model:
        text.append(f"disk use is unknown: {results} has no weights")
    text += _skipped(costs)
    if unknown := [line for line in lines if line.hours is None]:
        names = ", ".join(f"{line.kind[0]} {line.kind[1]} px" for line in unknown)
        text.append(
            f"not measured on this device ({plan.device}), so not in the sum: {names}. "
            f"Measure them first: {_measure(plan)}"
        )
    return "\n".join(text)


def _skipped(costs: Costs) -> list[str]:
    """A sentence about unreadable records, if there are any."""
    bad = costs.skipped
    return [f"skipped: {len(bad)} records that cannot be read, the first {bad[0]}"] if bad else []


def _name(line: Line) -> str:
    return f"{line.kind[0]} at {line.kind[1]} px"


def _measure(plan) -> str:
    """The command that measures a plan's kinds of runs."""
    if "measured" in plan.world:
        return "snakemake at_256 at_512 at_1024 --config world=rehearsal"
    return f"snakemake all --config world={plan.world['name']} device={plan.device}"


def rows_of(costs: Costs) -> list[dict]:
    """The measurements: one row for each kind of run, and one for observations at each size."""
    rows = [
        {
            "what": method, "pixels": pixels, "host": costs.host,
            "seconds_per_step": _rounded(costs.step.get((method, pixels))),
            "peak_memory_gib": _rounded(memory / GIB),
            "model_mib": _rounded(costs.model[method, pixels] / 2**20)
            if (method, pixels) in costs.model else None,
        }
        for (method, pixels), memory in sorted(costs.memory.items())
    ]  # fmt: skip
    for pixels, seconds in sorted(costs.observation.items()):
        rows.append({"what": "observation", "pixels": pixels, "host": costs.host,
                     "seconds_per_image": _rounded(seconds)})  # fmt: skip
    return rows


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


def _cell(value: float | None, unit: int = 1) -> str:
    return "–" if value is None else f"{value / unit:.2f}"


def _read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


COLUMNS = ("what", "pixels", "host", "seconds_per_step", "seconds_per_image", "peak_memory_gib", "model_mib")


@command
def main(argv=None) -> None:
    parser = argparse.ArgumentParser(prog="python -m workflow.forecast", description=__doc__)
    parser.add_argument("--results", type=Path, required=True, help="folder of measured runs")
    parser.add_argument("--device", choices=("cpu", "cuda"), required=True, help="use only runs on this device")
    parser.add_argument("--out", required=True, help="CSV file to write")
    arguments = parser.parse_args(argv)
    check_output(arguments.out, begins_with(",".join(COLUMNS)))
    rows = rows_of(measured(arguments.results, arguments.device))
    if not rows:
        raise UserError(
            f"{arguments.results} has no run on {arguments.device}; run the rehearsal first: "
            "snakemake at_256 --config world=rehearsal."
        )
    with atomic_path(arguments.out) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(f"wrote {arguments.out}: {len(rows)} rows")


if __name__ == "__main__":
    sys.exit(main())
