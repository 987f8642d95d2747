"""What a method receives from the benchmark, and what it may do while it trains.

A job reads one run spec, hands out verified weights, keeps progress, training state and snapshots,
and writes the run's artifact, its identity (`run.json`) and its cost (`cost.json`).
"""

import contextlib
import csv
import functools
import hashlib
import io
import json
import math
import os
import platform
import random
import resource
import subprocess
import time
from pathlib import Path, PurePath

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from nada.clip.clip_config import clip_files
from nada.clip.encoder import Clip, load_clip, read_templates
from nada.images.lazy import open_images
from nada.images.tensors import to_tensor
from nada.run.artifact import (
    MODEL,
    SNAPSHOTS,
    AdaptedModel,
    load_artifact,
    read_provenance,
    write_model,
    write_snapshots,
)
from nada.run.atomic import atomic_path, canonical_json, sha256
from nada.run.errors import FULL_DISK, UserError
from nada.run.hyperparameters import read_hyperparameters, resolved
from nada.run.manifest import read_weights, verify_weights
from nada.run.run_id import DEFAULT_SHOTS, DEFAULT_WARM_START, condition_name, run_id
from nada.run.streams import stream_seed
from nada.run.training_state import TrainingState, state_key
from nada.stylegan2.checkpoints import SourceModel, load_source

CURVES, RUN, COST = "curves.csv", "run.json", "cost.json"
NEEDED = ("world", "task", "method", "variant", "seed", "device", "resolution")
PROGRESS_LINES = 10  # per run
MAX_BUFFERED = 50  # steps whose values may wait on the device before they are looked at


class Job:
    """One run, from its run spec to its folder.

    spec: the run spec's content. out: the run's folder. state: folder of training states.
    parent: folder of the parent run, where there is one. code: digest of the code that runs.
    Only `run.json` and the artifact make up the run's identity; `cost.json` does not.
    """

    def __init__(self, spec: dict, out, state, parent=None, code: str = "", log=None):
        _check_run_file(spec, parent)
        self.spec = spec
        self.out = Path(out)
        self.state = Path(state)
        self.parent_folder = Path(parent) if parent is not None else None
        self.code = code
        self.log = log or functools.partial(print, flush=True)
        self.name = run_name(spec)
        self.device = _device(spec["device"], self.name)
        self.inputs: dict[str, dict] = {}  # role → {"file", "sha256"} of everything that went in
        self._hyperparameters = spec.get("hyperparameters", {})
        self._few_shot: dict | None = None  # which target images the method took
        self._clips: list[Clip] = []
        self._total, self._every, self._last_saved = 0, 0, None
        self._rows: list[dict] = []
        self._waiting: list[tuple[int, dict]] = []  # progress not yet looked at
        self._own_cost: dict = {}
        self._counts = {"images": 0, "clip_calls": 0, "seconds": 0.0, "steps": 0}
        self._first_step, self._started = 0, time.monotonic()
        # (step, when) of the first and of the last look at progress
        self._looks: list[tuple[int, float]] = []
        self._state: TrainingState | None = None
        self._hash_inputs()

    # --- what a method receives

    def read_hyperparameters(self, cls):
        """The method's hyperparameters as its dataclass `cls`; defaults become part of the identity."""
        hparams = read_hyperparameters(cls, self.spec.get("hyperparameters", {}), self.label)
        self._hyperparameters = resolved(hparams)
        return hparams

    @property
    def label(self) -> str:
        """How error messages name the run's variant."""
        return f"variant '{self.spec['variant']}'"

    @property
    def has_parent(self) -> bool:
        return self.parent_folder is not None

    @property
    def shots(self) -> int:
        """How many target images the method may train on."""
        return self.spec.get("shots", DEFAULT_SHOTS)

    @property
    def warm_start(self) -> str:
        """The models that training starts from, by name."""
        return self.spec.get("warm_start", DEFAULT_WARM_START)

    def source(self) -> SourceModel:
        """The source domain's pre-trained networks, on the job's device."""
        if "source" not in self.spec:
            raise UserError(
                f"{self.name}: the run spec names no source model; METHOD of "
                f"baselines/{self.spec['method']}.py must declare generator 'source'."
            )
        source = load_source(self.spec["source"]["weights"], self.device)
        found, wanted = source.G_ema.config["resolution"], self.spec["resolution"]
        if found != wanted:
            raise UserError(
                f"{self.name}: the source model {self.spec['source']['weights']} makes "
                f"{found}x{found} images, but the run's resolution is {wanted}; correct either."
            )
        return source

    def parent(self) -> AdaptedModel:
        """The parent run's adapted model, on the job's device."""
        if self.parent_folder is None:
            raise UserError(f"{self.name}: this run needs a parent run; give it one.")
        return load_artifact(self.parent_folder, device=self.device)

    def clips(self, resize: str = "antialias", names: list[str] | None = None) -> list[Clip]:
        """The CLIP ensemble that steers the run, or those of these names, frozen, on the job's device."""
        specs = self.spec.get("clips") or []
        known = [spec["name"] for spec in specs]
        if unknown := [name for name in names or () if name not in known]:
            raise UserError(
                f"{self.label}: hyperparameters.clips names '{unknown[0]}', but this world's CLIPs are "
                f"{', '.join(known)}."
            )
        specs = [spec for spec in specs if names is None or spec["name"] in names]
        if not specs:
            raise UserError(f"{self.name}: the run names no CLIP; list one or more under 'clips'.")
        clips = [load_clip(spec, self.device, resize) for spec in specs]
        for clip in clips:
            self.inputs[f"clip {clip.name}"]["activation"] = clip.activation
        self._clips += clips
        return clips

    def texts(self) -> tuple[str, str]:
        """The texts of the source and of the target domain."""
        text = self.spec.get("text") or {}
        if not text.get("source") or not text.get("target"):
            raise UserError(f"{self.name}: the run needs text.source and text.target; give both.")
        return text["source"], text["target"]

    def templates(self) -> list[str]:
        """The prompt templates, each with one {}."""
        return read_templates(self.spec.get("templates", ""))

    def few_shot_images(self) -> Tensor:
        """The target images the method may train on, [shots,3,R,R] in [-1,1] on the device.

        Drawn from (task, seed) only, so that all methods share them; smaller sets are part of
        larger ones. The file is also what the evaluation measures against, unless the task has
        images of its own to train on, so run.json keeps which of its images these are ("few_shot":
        indices, and the SHA-256 of their pixels).
        Raises UserError where there are too few images.
        """
        shots, seed = self.shots, self.spec["seed"]
        if shots < 1:
            raise UserError(f"{self.name}: shots is {shots}; this method needs 1 image or more.")
        path = self._training_images
        if path is None:
            raise UserError(
                f"{self.name}: the run spec names no target images; METHOD of "
                f"baselines/{self.spec['method']}.py must declare supervision 'images'."
            )
        images = open_images(path)
        if len(images) < shots:
            raise UserError(
                f"{self.name}: shots is {shots}, but {path} holds {len(images)} images; "
                f"set shots to 1..{len(images)} or provide more."
            )
        stream = stream_seed("few-shot", self.spec["task"], seed)
        order = np.random.default_rng(stream).permutation(len(images))
        indices = np.sort(order[:shots])
        chosen = images[indices]
        digest = hashlib.sha256(chosen.tobytes()).hexdigest()
        self._few_shot = {"indices": indices.tolist(), "sha256": digest}
        return to_tensor(chosen).to(self.device)

    def seed_everything(self) -> None:
        """Start every library's random stream from the run's name; call before training."""
        seed = stream_seed("training", self.name)
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)
        random.seed(seed)

    # --- what a method may do

    def scratch(self) -> Path:
        """A folder of the run's own for large files: an interruption keeps it, `finish` removes it.

        To be asked for when everything that the run's identity holds was received.
        """
        folder = self._training_state().folder
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def plan(self, iterations: int, checkpoint_every: int = 100) -> None:
        """Announce the run: how many steps, and how often state is kept."""
        self._total, self._every = iterations, checkpoint_every
        self.log(f"{self.name}: {iterations} iterations on {self.device.type}, into {self.out}")
        for role, entry in self.inputs.items():
            self.log(f"  {role}: {entry['file']} ({entry['sha256'][:12]})")

    def resume(self) -> tuple[int, dict] | None:
        """(step, state) of an interrupted run of the same identity, with its random streams."""
        loaded = self._training_state().load()
        if loaded is None:
            return None
        step, saved = loaded
        self._rows, self._counts = saved["rows"], saved["counts"]
        self._first_step = self._last_saved = step
        self._started = time.monotonic()
        self.log(f"  going on after step {step}, from {self._training_state().folder}")
        return step, saved["state"]

    @contextlib.contextmanager
    def running(self):
        """Wrap the training loop: what stops it is told where the state lies."""
        try:
            yield
        except (KeyboardInterrupt, OSError) as error:
            if not isinstance(error, OSError) or error.errno in FULL_DISK:
                error.add_note(self._resume_hint())
            raise

    def progress(self, step: int, **values) -> None:
        """Record a step's values (numbers, 0-d tensors or text) for `curves.csv`.

        Tensors are not looked at before they must be, so the device never waits for the log.
        Raises UserError where the loss is no longer a number.
        """
        values = {k: v.detach() if isinstance(v, Tensor) else v for k, v in values.items()}
        self._waiting.append((step, values))
        due = step == self._total or step % max(1, self._total // PROGRESS_LINES) == 0
        if due or len(self._waiting) >= MAX_BUFFERED:
            self._look()
        if due:
            self._print(step)

    def count(self, images: int) -> None:
        """Add to the number of images that the run has rendered."""
        self._counts["images"] += images

    def add_cost(self, **values) -> None:
        """Add values of the method's own to `cost.json`."""
        self._own_cost |= values

    def checkpoint(self, step: int, state: dict) -> None:
        """Keep the training state if `step` is due (never at the last: the run is then done)."""
        if self._every < 1 or step % self._every or step == self._total:
            return
        self._look()  # a state that is no number is not worth keeping
        saved = {"state": state, "rows": self._rows, "counts": self._counted(step)}
        self._training_state().save(step, saved)
        self._last_saved = step

    def snapshot(self, step: int, tensors: dict[str, Tensor]) -> None:
        """Keep tensors (named as in the artifact) as they are at the end of `step`."""
        stored = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
        with atomic_path(self._snapshot_path(step)) as temporary:
            save_file(stored, temporary)

    def finish(self, model: AdaptedModel) -> None:
        """Write the run's folder, all files or none, and forget its training state."""
        self._look()
        final = model.eval().tensors()
        broken = next((name for name, t in final.items() if not t.isfinite().all()), None)
        if broken is not None:
            raise UserError(
                f"{self.name}: {broken} is no longer a number at the end; try a lower lr or fewer "
                "iterations."
            )
        snapshots = {step: read_weights(path)[0] for step, path in self._snapshots().items()}
        with self.running(), contextlib.ExitStack() as files:
            names = (MODEL, SNAPSHOTS, CURVES, RUN, COST)
            path = {name: files.enter_context(atomic_path(self.out / name)) for name in names}
            write_model(path[MODEL], model, {**self.identity(), "step": self._total})
            write_snapshots(path[SNAPSHOTS], snapshots, final)
            path[CURVES].write_text(self._curves(), encoding="utf-8")
            outputs = {name: sha256(path[name]) for name in (MODEL, SNAPSHOTS, CURVES)}
            _write_record(path[RUN], {**self.identity(), "outputs": outputs})
            _write_record(path[COST], self._cost())
        self._training_state().discard()
        self.log(f"  done: {', '.join(names)} in {self.out}")

    def identity(self) -> dict:
        """What makes this run this run: hyperparameters, inputs by content, code, device, torch version.

        No times and no absolute paths: the same run gives the same record anywhere.
        """
        run = {key: value for key, value in self.spec.items() if key != "hyperparameters"}
        return {
            "run": self.name,
            "spec": _portable({**run, "hyperparameters": self._hyperparameters}),
            "inputs": self.inputs,
            "few_shot": self._few_shot,
            "parent": self._parent_identity(),
            "code": self.code,
            "device": self.device.type,
            "torch": torch.__version__,
        }

    # --- behind the curtain

    def _hash_inputs(self) -> None:
        """Verify and hash every file that the run spec names, so that mistakes show at once.

        The rule that starts the run waits for the same files (workflow/plan/inputs.py).
        """
        spec = self.spec
        if "source" in spec:
            self.add_input("source", spec["source"]["weights"])
        for clip in spec.get("clips") or []:
            weights, config = clip_files(clip)
            self.add_input(f"clip {clip['name']}", weights)
            if config is not None:
                self.add_input(f"clip {clip['name']} config", config)
        templates = spec.get("templates")
        if templates and Path(templates).is_file():
            self.add_input("templates", templates)
        if self._training_images is not None:
            self.add_input("references", self._training_images)
        if self.parent_folder is not None:
            self.add_input("parent", self.parent_folder / MODEL)

    @property
    def _training_images(self) -> str | None:
        """The file that few-shot images are drawn from, None where the run is told of none: the task's
        references, unless it has others to train on."""
        images = self.spec.get("few_shot") or self.spec.get("references")
        return images and images["images"]

    def add_input(self, role: str, path) -> None:
        """Verify a file that goes into the run and put its hash into the run's record."""
        self.inputs[role] = {"file": Path(path).name, "sha256": verify_weights(path)}

    def _parent_identity(self) -> dict | None:
        if self.parent_folder is None:
            return None
        name = read_provenance(self.parent_folder).get("run")
        return {"run": name, "model": self.inputs["parent"]["sha256"]}

    def _training_state(self) -> TrainingState:
        if self._state is None:
            self._state = TrainingState(self.state, state_key(self.identity()))
        return self._state

    def _resume_hint(self) -> str:
        if self._last_saved is None:
            return "No training state was kept yet; the same command starts the run again."
        folder = self._training_state().folder
        return (
            f"Training state lies in {folder}; the same command resumes after step "
            f"{self._last_saved}."
        )

    def _snapshot_path(self, step: int) -> Path:
        return self._training_state().folder / f"snapshot-{step:08d}.safetensors"

    def _snapshots(self) -> dict[int, Path]:
        paths = sorted(self._training_state().folder.glob("snapshot-*.safetensors"))
        return {int(path.stem.removeprefix("snapshot-")): path for path in paths}

    def _look(self) -> None:
        """Turn the waiting values into rows of the curves: one transfer from the device."""
        if not self._waiting:
            return
        tensors = [v for _, row in self._waiting for v in row.values() if isinstance(v, Tensor)]
        numbers = iter(torch.stack([t.float() for t in tensors]).tolist() if tensors else [])
        for step, row in self._waiting:
            values = {k: next(numbers) if isinstance(v, Tensor) else v for k, v in row.items()}
            for name, value in values.items():
                if isinstance(value, float) and not math.isfinite(value):
                    mixed = self._hyperparameters.get("precision") == "mixed"
                    raise UserError(
                        f"{self.name}: {name} is {value} at step {step}; try "
                        f"{'precision fp32, ' if mixed else ''}a lower lr, a larger epsilon or "
                        "fewer iterations."
                    )
            self._rows.append({"step": step, **values})
        self._looks = [*self._looks[:1], (self._waiting[-1][0], time.monotonic())]
        self._waiting.clear()

    def _print(self, step: int) -> None:
        done = step - self._first_step
        rate = done / max(time.monotonic() - self._started, 1e-9)
        values = self._rows[-1].items()
        shown = "  ".join(f"{k} {v:.4f}" for k, v in values if isinstance(v, float))
        share = 100 * step // self._total
        self.log(f"  step {step}/{self._total}  {share:3d} %  {shown}  {rate:.1f} it/s")

    def _curves(self) -> str:
        columns = list(dict.fromkeys(key for row in self._rows for key in row)) or ["step"]
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        for row in self._rows:  # nine digits give a float32 back exactly
            writer.writerow({k: f"{v:.9g}" if isinstance(v, float) else v for k, v in row.items()})
        return text.getvalue()

    def _counted(self, step: int) -> dict:
        """The cost so far, resumed parts included."""
        seconds = self._counts["seconds"] + time.monotonic() - self._started
        calls = self._counts["clip_calls"] + sum(clip.calls for clip in self._clips)
        return {**self._counts, "seconds": seconds, "clip_calls": calls, "steps": step}

    def _seconds_per_step(self) -> float | None:
        """Between the first and the last look at progress, for which the device is waited for: without
        the start, in which weights are read and kernels are made. None where there was one observation."""
        if len(self._looks) < 2:
            return None
        (first, begun), (last, ended) = self._looks
        return (ended - begun) / (last - first)

    def _cost(self) -> dict:
        counts = self._counted(self._total)
        gpu = self.device.type == "cuda"
        return {
            "wall_seconds": counts["seconds"],
            "iterations": self._total,
            "iterations_per_second": self._total / max(counts["seconds"], 1e-9),
            "seconds_per_step": self._seconds_per_step(),
            "images_seen": counts["images"],
            "clip_calls": counts["clip_calls"],
            "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "peak_gpu_memory_bytes": torch.cuda.max_memory_allocated() if gpu else None,
            "host": _host_class(gpu),
            "threads": torch.get_num_threads(),
            "commit": _commit(),
            **self._own_cost,
        }


def run_name(spec: dict) -> str:
    """The id of the run that a run spec describes."""
    shots = spec.get("shots", DEFAULT_SHOTS)
    warm_start = spec.get("warm_start", DEFAULT_WARM_START)
    setting = condition_name(spec["method"], spec["variant"], shots, warm_start)
    return run_id(spec["task"], setting, spec["seed"])


def read_run_file(path) -> dict:
    """The content of a run spec (`spec.json`). Raises UserError where it is none."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"the run spec {path} is missing; the workflow's rule 'run_spec' makes it.")
    try:
        spec = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(
            f"the run spec {path} is no valid JSON ({error}); make it again."
        ) from error
    if not isinstance(spec, dict):
        raise UserError(f"the run spec {path} holds no object; make it again.")
    return spec


def _check_run_file(spec: dict, parent) -> None:
    missing = [key for key in NEEDED if key not in spec]
    if missing:
        raise UserError(f"the run spec lacks {', '.join(missing)}; make it again.")
    if spec.get("parent") and parent is None:
        raise UserError(
            f"{run_name(spec)}: its parent is {spec['parent']}, but --parent is not given; "
            "give the folder of that run."
        )


def _device(name: str, run: str) -> torch.device:
    if name not in ("cpu", "cuda"):
        raise UserError(f"{run}: device is '{name}'; it must be cpu or cuda.")
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError(f"{run}: device is cuda, but torch finds no GPU here; set device to cpu.")
    return torch.device(name)


def _portable(value):
    """A record without absolute paths: those become file names (content is hashed anyway)."""
    if isinstance(value, dict):
        return {key: _portable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_portable(item) for item in value]
    if isinstance(value, str) and os.path.isabs(value):
        return PurePath(value).name
    return value


def _write_record(path: Path, record: dict) -> None:
    path.write_text(canonical_json(record, indent=1) + "\n", encoding="utf-8")


def _host_class(gpu: bool) -> dict:
    """What kind of machine ran this, without its name."""
    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError, IndexError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next(
            (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")),
            model,
        )
    name = torch.cuda.get_device_name() if gpu else None
    return {"cpu": model, "cpu_count": os.cpu_count(), "gpu": name}


def _commit() -> str | None:
    """The git commit of the code, None where it is no checkout."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        git = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
        done = subprocess.run(git, capture_output=True, text=True, timeout=10, check=False)
        return done.stdout.strip() if done.returncode == 0 else None
    return None
