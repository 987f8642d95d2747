"""What `python -m eval.…` is told to do: the observation spec and the group spec, read and checked.

Both are written by `workflow/plan/specs.py`; keys that a command has no use for are left alone.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

from nada.run.errors import UserError

#: The name of the observation of the reference images themselves.
REAL = "real"
#: Controls, which bound every metric: the source model, its few target images, the real images.
SOURCE, REPLAY = "source", "replay"
BOUNDS = (SOURCE, REPLAY, REAL)
#: Networks that measure, by their key in an observation: see ObservationSpec.referee.
REFEREE = ("perceptual", "inception", "vgg", "judge")
#: What the seeds of one row of a table share.
CONDITION_KEYS = ("task", "method", "variant", "shots", "warm_start")


@dataclass(frozen=True)
class Counts:
    """How much is looked at. truncation_psi: of the measured images (1 is none)."""

    batch: int = 32
    fid_images: int = 1000
    diversity_images: int = 300
    gallery_images: int = 128
    snapshot_images: int = 64
    k_medoids: int = 10
    truncation_psi: float = 1.0

    def __post_init__(self):
        for name in (n for n in self.__dataclass_fields__ if n != "truncation_psi"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise UserError(f"evaluation.{name} is {value!r}; a whole number >= 1 is wanted.")
        for name in ("diversity_images", "gallery_images", "snapshot_images"):
            if getattr(self, name) > self.fid_images:
                raise UserError(
                    f"evaluation.{name} is {getattr(self, name)}, more than the"
                    f" {self.fid_images} images of evaluation.fid_images."
                )
        if self.k_medoids > self.diversity_images:
            raise UserError(
                f"evaluation.k_medoids is {self.k_medoids}, more clusters than the"
                f" {self.diversity_images} images of evaluation.diversity_images."
            )


@dataclass(frozen=True)
class ObservedRun:
    """One artifact to look at: its id, seed, folder and the seed of the latents it shares."""

    id: str
    seed: int
    folder: str
    latent_seed: int


@dataclass(frozen=True)
class ObservationSpec:
    """One look: all seeds of a condition, or the reference images (method "real", no runs).

    references: images as uint8 (.npz), or the index of an image set (.json: nada/images/sets.py).
    few_shot: the file that runs are trained on, where it is another; else None. source: the source
    model's file, None of the reals.
    referee: the networks that measure: {perceptual}, or {inception: {mode: file}, vgg}; and judge.
    made_here: whether the world made those files itself, so that their manifest vouches for them.
    target: ("class" or "style", name): what the judge must see in an adapted image; None without one.
    """

    world: str
    task: str
    method: str
    variant: str
    shots: int
    warm_start: str
    device: str
    source: str | None
    referee: dict
    made_here: bool
    references: str | None
    few_shot: str | None
    target: tuple[str, str] | None
    counts: Counts
    runs: tuple[ObservedRun, ...]


@dataclass(frozen=True)
class Member:
    """What figures need of one condition beside its scores.

    condition: the values of CONDITION_KEYS. layers: convolutions trained at a step, None where that is
    no choice of the method. chooses: whether they are chosen anew at each step. curves: seed ->
    file of the run's curves. costs: seed -> cost records of the run and of those it goes on from.
    """

    condition: tuple
    layers: int | None
    chooses: bool
    curves: dict[int, str]
    costs: dict[int, tuple[str, ...]]


@dataclass(frozen=True)
class Group:
    """A set of observations that are scored and shown together.

    observations: files, in the order of the table's rows. members: their hyperparameters, each a tuple
    of the values of CONDITION_KEYS. real: task -> file of the look at its reference images, where it has any.
    table: names of the metrics shown, None: the default columns. oracle, raw: those of them that are
    shown again, of the best snapshot or of the weights behind an average. against: (method, its
    baseline variant, its variants whose paired differences from that are shown). sweep: metrics drawn against the layers trained at a step.
    drawn: the members with what figures need. convolutions: of the world's generator.
    against_model: (method, variant, shots, warm start) that all others are compared with, image by
    image. paper: the published table that stands beside. training: task -> file of the images
    that its runs are trained on. targets: task -> ("class" or "style", name), what a judge looks
    for. texts: task -> text of the target. truncation_psi: of the measured images (1 is none).
    """

    name: str
    title: str
    world: str
    observations: tuple[str, ...]
    members: tuple[tuple, ...]
    real: dict[str, str]
    k_medoids: int
    table: tuple[str, ...] | None
    grid_rows: int
    grid_psi: float
    oracle: tuple[str, ...] = ()
    raw: tuple[str, ...] = ()
    against: tuple[tuple[str, str, tuple[str, ...]], ...] = ()
    sweep: tuple[str, ...] = ()
    drawn: tuple[Member, ...] = ()
    convolutions: int = 0
    against_model: tuple | None = None
    paper: str | None = None
    training: dict[str, str] = field(default_factory=dict)
    targets: dict[str, tuple[str, str]] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    truncation_psi: float = 1.0

    @property
    def heading(self) -> str:
        """What stands above every table and figure: world, title, truncation where there is one."""
        cut = f" (measured images: truncation {self.truncation_psi:g})"
        return f"World {self.world}: {self.title}{cut if self.truncation_psi != 1 else ''}"


def _read(path) -> dict:
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such hyperparameters file.") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{path}: not valid JSON ({error}).") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: a JSON object is wanted.")
    return content


def _need(content: dict, *keys: str, where):
    value, way = content, ""
    for key in keys:
        way = f"{way}.{key}".lstrip(".")
        if not isinstance(value, dict) or key not in value:
            raise UserError(f"{where}: the key '{way}' is missing.")
        value = value[key]
    return value


def _counts(content: dict, where) -> Counts:
    given = content.get("evaluation", {})
    unknown = sorted(set(given) - set(Counts.__dataclass_fields__))
    if unknown:
        known = ", ".join(Counts.__dataclass_fields__)
        raise UserError(f"{where}: unknown key 'evaluation.{unknown[0]}'; known: {known}.")
    return Counts(**given)


def _target(content: dict, where) -> tuple[str, str]:
    """`target_class: name` or `target_style: name` -> ("class" or "style", name)."""
    found = [(k, content[f"target_{k}"]) for k in ("class", "style") if f"target_{k}" in content]
    if len(found) != 1:
        raise UserError(f"{where}: one of the keys 'target_class', 'target_style' is wanted.")
    return found[0]


def _referee(content: dict, where) -> dict:
    """The networks that measure, by kind; UserError unless features and distances have theirs."""
    found = {kind: content[kind] for kind in REFEREE if kind in content}
    if not ("perceptual" in found or {"inception", "vgg"} <= set(found)):
        raise UserError(f"{where}: the key 'perceptual' is missing, or 'inception' and 'vgg'.")
    return found


def read_observation_spec(path) -> ObservationSpec:
    """Read a observation spec; UserError names the missing key, the unknown one, or the bad value."""
    content = _read(path)

    def need(*keys):
        return _need(content, *keys, where=path)

    runs = tuple(
        ObservedRun(*(_need(run, key, where=path) for key in ("id", "seed", "folder", "latent_seed")))
        for run in need("runs")
    )
    method = need("method")
    if (method == REAL) != (not runs):
        raise UserError(f"{path}: method {method!r} with {len(runs)} runs; only 'real' has none.")
    seeds = [run.seed for run in runs]
    if len(set(seeds)) != len(seeds):
        raise UserError(f"{path}: 'runs' names a seed twice: {seeds}.")
    return ObservationSpec(
        world=need("world"),
        task=need("task"),
        method=method,
        variant=content.get("variant", ""),
        shots=content.get("shots", 0),
        warm_start=content.get("warm_start", "source"),
        device=need("device"),
        source=None if method == REAL else need("source", "weights"),
        referee=_referee(content, path),
        made_here=content.get("made_here", False),
        references=need("references", "images") if need("references") else None,
        few_shot=need("few_shot", "images") if "few_shot" in content else None,
        target=_target(content, path) if "judge" in content else None,
        counts=_counts(content, path),
        runs=runs,
    )


def _differences(content: dict, where) -> tuple:
    """(method, baseline, variants) of each entry of `against`; without a method the group's only one.

    UserError: no method is named where the group shows several.
    """
    found, shown = [], [_need(entry, "method", where=where) for entry in content["observations"]]
    own = [method for method in dict.fromkeys(shown) if method not in BOUNDS]
    for entry in content.get("against", ()):
        baseline, variants = (_need(entry, key, where=where) for key in ("baseline", "variants"))
        method = entry.get("method") or (own[0] if len(own) == 1 else None)
        if method is None:
            raise UserError(
                f"{where}: 'against' of baseline {baseline!r} names no 'method', and the group shows"
                f" several ({', '.join(own)}); add the key."
            )
        found.append((method, baseline, tuple(variants)))
    return tuple(found)


def _preferred(content: dict, where) -> tuple | None:
    """(method, variant, shots, warm start) of the key `preference`, None without it."""
    model = content.get("preference")
    if model is None:
        return None
    wanted = tuple(_need(model, key, where=where) for key in CONDITION_KEYS[1:])
    if not any(
        tuple(e.get(key) for key in CONDITION_KEYS[1:]) == wanted for e in content["observations"]
    ):
        raise UserError(f"{where}: 'preference' names a model that the group does not show.")
    return wanted


def read_group_spec(path) -> Group:
    """Read a group spec; UserError names the missing key or the bad value."""
    content = _read(path)

    def need(*keys):
        return _need(content, *keys, where=path)

    entries = need("observations")
    if not entries:
        raise UserError(f"{path}: 'observations' is empty; a group needs at least one.")
    grid = content.get("grid", {})
    return Group(
        name=need("group"),
        title=content.get("title", need("group")),
        world=need("world"),
        observations=tuple(_need(entry, "file", where=path) for entry in entries),
        members=tuple(
            tuple(_need(entry, key, where=path) for key in CONDITION_KEYS) for entry in entries
        ),
        real={
            task: file
            for task, entry in need("tasks").items()
            if (file := _need(entry, "real", where=path))
        },
        k_medoids=_counts(content, path).k_medoids,
        table=tuple(content["table"]) if content.get("table") else None,
        grid_rows=grid.get("rows", 6),
        grid_psi=grid.get("truncation_psi", 0.7),
        oracle=tuple(content.get("oracle", ())),
        raw=tuple(content.get("raw", ())),
        against=_differences(content, path),
        sweep=tuple(content.get("sweep", ())),
        drawn=tuple(
            Member(
                condition=tuple(_need(entry, key, where=path) for key in CONDITION_KEYS),
                layers=entry.get("layers"),
                chooses=entry.get("chooses_layers", False),
                curves={run["seed"]: run["curves"] for run in entry.get("runs", ())},
                costs={
                    run["seed"]: tuple(run["costs"])
                    for run in entry.get("runs", ())
                    if run.get("costs")
                },
            )
            for entry in entries
        ),
        convolutions=content.get("convolutions", 0),
        against_model=_preferred(content, path),
        paper=content.get("paper"),
        training={
            task: entry.get("few_shot") or entry.get("references")
            for task, entry in need("tasks").items()
        },
        targets={
            task: _target(entry, path)
            for task, entry in need("tasks").items()
            if {"target_class", "target_style"} & set(entry)
        },
        texts={
            task: entry["text"]["target"]
            for task, entry in need("tasks").items()
            if entry.get("text")
        },
        truncation_psi=_counts(content, path).truncation_psi,
    )
