"""Job: one run, from its spec to its folder; every method receives one.

A job checks and hashes the input files of the run's spec, runs the training loop (steps.py), and
writes the run's folder: the artifact, its identity (`run.json`), its curves and its cost (record.py).
Inputs that only some methods need are read by functions that take the job: nada/clip/steering.py,
nada/images/training_images.py, nada/stylegan2/source_networks.py.
"""

import contextlib
import functools
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nada.run.artifact import (
    MODEL,
    SNAPSHOTS,
    AdaptedModel,
    load_artifact,
    read_provenance,
    write_model,
    write_snapshots,
)
from nada.run.atomic import atomic_path, sha256
from nada.run.clip_files import clip_files
from nada.run.errors import FULL_DISK, UserError
from nada.run.hyperparameters import read_hyperparameters, resolved
from nada.run.manifest import read_weights, verify_weights
from nada.run.record import COST, CURVES, RUN, Cost, Curves, portable, write_record
from nada.run.spec.run_spec import RunSpec
from nada.run.steps import Stateful, Steps
from nada.run.streams import stream_seed
from nada.run.training_state import TrainingState, state_key


class Job:
    """One run, from its spec to its folder.

    out: the run's folder. state: folder of training states. parent: folder of the parent run, if
    there is one. code: digest of the code that runs. log: called with each line of progress.
    few_shot: which of the training images the run uses (nada/images/training_images.py).
    Raises UserError if the device, the parent or an input file is missing.
    """

    def __init__(self, spec: RunSpec, out, state, parent=None, code: str = "", log=None):
        self.spec, self.name = spec, spec.id
        if spec.parent and parent is None:
            raise UserError(
                f"{self.name}: its parent is {spec.parent}, but --parent is not given; "
                "give the folder of that run."
            )
        self.out, self.state_folder = Path(out), Path(state)
        self.parent_folder = Path(parent) if parent is not None else None
        self.code = code
        self.log = log or functools.partial(print, flush=True)
        self.device = _device(spec.device, self.name)
        self.curves, self.cost = Curves(self.name), Cost()
        self.few_shot: dict | None = None
        self._hyperparameters = spec.hyperparameters
        self._steps: Steps | None = None

        self.log(f"{self.name}: on {self.device.type}, into {self.out}")
        self.inputs: dict[str, dict] = {}  # role → {"file", "sha256"} of every input file
        for role, path in input_files(spec).items():
            self.add_input(role, path)
        if self.parent_folder is not None:
            self.add_input("parent", self.parent_folder / MODEL)

    # --- what a method receives

    def hyperparameters(self, cls):
        """The method's hyperparameters as an object of `cls`; defaults become part of the identity."""
        hparams = read_hyperparameters(cls, self.spec.hyperparameters, self.label)
        self._hyperparameters = resolved(hparams)
        self.curves.precision = self._hyperparameters.get("precision", "fp32")
        return hparams

    @property
    def label(self) -> str:
        """The name of the run's variant in error messages."""
        return f"variant '{self.spec.variant}'"

    @property
    def has_parent(self) -> bool:
        return self.parent_folder is not None

    def parent(self) -> AdaptedModel:
        """The parent run's adapted model, on the job's device."""
        if self.parent_folder is None:
            raise UserError(f"{self.name}: this run needs a parent run; give it one.")
        return load_artifact(self.parent_folder, device=self.device)

    def seed_everything(self) -> None:
        """Seed every library's random stream from the run's name; call before training."""
        seed = stream_seed("training", self.name)
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)
        random.seed(seed)

    # --- what a method may do

    def steps(
        self,
        iterations: int,
        snapshots: int | list[int],
        state: dict[str, Stateful],
        tensors: Callable[[], dict[str, Tensor]],
        checkpoint_every: int = 100,
    ) -> Steps:
        """The training loop: yields 1 … iterations; after an interruption, the steps that are left.

        snapshots: number of models that are kept, evenly spaced, or their steps (0: before the first).
        state: everything that changes in training, by name; an interrupted run restores it, and the
        random streams. tensors(): a snapshot's tensors by their names in the artifact.
        checkpoint_every: steps between training states; 0 keeps none.
        """
        self._steps = Steps(self, iterations, snapshots, state, tensors, checkpoint_every)
        return self._steps

    def report(self, images: int, **values) -> None:
        """Record one step: the number of images it rendered, and its values for `curves.csv`.

        values: numbers, 0-d tensors or text. Tensors are read later, so that the log never makes the
        device wait. Raises UserError if a number is NaN or infinite.
        """
        self._steps.report(images, values)

    def add_input(self, role: str, path) -> None:
        """Verify an input file of the run, and record its hash."""
        entry = {"file": Path(path).name, "sha256": verify_weights(path)}
        self.inputs[role] = entry
        self.log(f"  {role}: {entry['file']} ({entry['sha256'][:12]})")

    def add_cost(self, **values) -> None:
        """Add the method's values to `cost.json`."""
        self.cost.own |= values

    def scratch(self) -> Path:
        """A folder for the run's large files: an interruption keeps it, `finish` removes it.

        Request it only after all hyperparameters and inputs: its name is a hash of the run's identity.
        """
        folder = self.training_state.folder
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    # --- what the command and the loop use

    @functools.cached_property
    def training_state(self) -> TrainingState:
        """The run's training state; its folder is named by the run's identity at the first use."""
        return TrainingState(self.state_folder, state_key(self.identity()))

    @contextlib.contextmanager
    def resumable(self):
        """Wrap the whole run: messages of an interruption or a full disk name the training state."""
        try:
            yield
        except (KeyboardInterrupt, OSError) as error:
            if not isinstance(error, OSError) or error.errno in FULL_DISK:
                error.add_note(self._resume_hint())
            raise

    def finish(self, model: AdaptedModel) -> None:
        """Write the run's folder, all files or none, and remove its training state.

        Raises UserError if a tensor of the model has NaN or infinity.
        """
        self.curves.read()
        final = model.eval().tensors()
        broken = next((name for name, t in final.items() if not t.isfinite().all()), None)
        if broken is not None:
            raise UserError(
                f"{self.name}: {broken} is no longer a number at the end; try a lower lr or fewer "
                "iterations."
            )
        iterations = 0 if self._steps is None else self._steps.iterations
        kept = self.training_state.snapshots()
        snapshots = {step: read_weights(path)[0] for step, path in kept.items()}
        with contextlib.ExitStack() as files:
            names = (MODEL, SNAPSHOTS, CURVES, RUN, COST)
            path = {name: files.enter_context(atomic_path(self.out / name)) for name in names}
            write_model(path[MODEL], model, {**self.identity(), "step": iterations})
            write_snapshots(path[SNAPSHOTS], snapshots, final)
            path[CURVES].write_text(self.curves.csv(), encoding="utf-8")
            outputs = {name: sha256(path[name]) for name in (MODEL, SNAPSHOTS, CURVES)}
            write_record(path[RUN], {**self.identity(), "outputs": outputs})
            seconds = self.curves.seconds_per_step()
            write_record(path[COST], self.cost.record(iterations, seconds, self.device))
        self.training_state.discard()
        self.log(f"  done: {', '.join(names)} in {self.out}")

    def identity(self) -> dict:
        """The run's identity: hyperparameters, inputs by content, code, device, torch version.

        It has no times and no absolute paths: equal runs give equal records on every machine.
        """
        spec = {**self.spec.model_dump(mode="json"), "hyperparameters": self._hyperparameters}
        return {
            "run": self.name,
            "spec": portable(spec),
            "inputs": self.inputs,
            "few_shot": self.few_shot,
            "parent": self._parent_identity(),
            "code": self.code,
            "device": self.device.type,
            "torch": torch.__version__,
        }

    def _parent_identity(self) -> dict | None:
        if self.parent_folder is None:
            return None
        name = read_provenance(self.parent_folder).get("run")
        return {"run": name, "model": self.inputs["parent"]["sha256"]}

    def _resume_hint(self) -> str:
        if "training_state" not in self.__dict__:  # its key is not known yet
            return "Training had not begun; the same command starts or resumes the run."
        last = self._steps and self._steps.last_saved
        if last is None:
            return "No training state was kept yet; the same command starts the run again."
        folder = self.training_state.folder
        return f"Training state lies in {folder}; the same command resumes after step {last}."


def input_files(spec: RunSpec) -> dict[str, Path]:
    """{role: file} of every file in a spec; a CLIP's config and templates may be names and no files.

    The rule that starts the run depends on the same files (workflow/plan/inputs.py). Raises UserError
    for a CLIP without a file.
    """
    files = {}
    if spec.source is not None:
        files["source"] = Path(spec.source.weights)
    for clip in spec.clips or ():
        weights, config = clip_files(clip.model_dump())
        files[f"clip {clip.name}"] = weights
        if config is not None:
            files[f"clip {clip.name} config"] = config
    if spec.templates is not None and Path(spec.templates).is_file():
        files["templates"] = Path(spec.templates)
    if spec.training_images is not None:
        files["references"] = Path(spec.training_images)
    return files


def _device(name: str, run: str) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError(f"{run}: device is cuda, but torch finds no GPU here; set device to cpu.")
    return torch.device(name)
