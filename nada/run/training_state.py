"""Training states for resume: a resumed run is bit-equal to an uninterrupted one."""

import hashlib
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from nada.run.atomic import atomic_path, canonical_json
from nada.run.errors import UserError
from nada.run.finite import check_finite

SNAPSHOT = "snapshot-"  # a snapshot's file name begins so; the step follows
KEY_LENGTH = 24  # hex digits: 96 bits, enough to tell all runs of a benchmark apart


def state_key(identity: dict) -> str:
    """The name of a run's state: a hash of its hyperparameters, inputs, code, device and torch version."""
    return hashlib.sha256(canonical_json(identity).encode()).hexdigest()[:KEY_LENGTH]


class TrainingState:
    """One run's latest checkpoint and its snapshots, in `folder/key/`.

    A checkpoint includes the random streams of every library.

    `save` replaces the checkpoint atomically; `load` never executes code (weights_only), so a
    state holds tensors, numbers, strings, and lists, tuples and dicts of them.
    """

    def __init__(self, folder, key: str):
        self.folder = Path(folder) / key
        self.path = self.folder / "state.pt"

    def save(self, step: int, state: dict) -> None:
        """Save `state` at the end of `step`, with the random streams."""
        checkpoint = {"step": step, "state": state, "rng": _random_streams()}
        with atomic_path(self.path) as temporary:
            torch.save(checkpoint, temporary)

    def load(self) -> tuple[int, dict] | None:
        """Return (step, state) on the CPU and restore the random streams; None if nothing is saved.

        Raises UserError if the file cannot be read, or a tensor has NaN or infinity.
        """
        if not self.path.exists():
            return None
        try:
            checkpoint = torch.load(self.path, map_location="cpu", weights_only=True)
            step, state, streams = (checkpoint[k] for k in ("step", "state", "rng"))
        except Exception as error:  # torch, zipfile and pickle each raise their own
            raise UserError(
                f"the training state {self.path} cannot be read ({type(error).__name__}); "
                f"remove the folder {self.folder} to start the run again."
            ) from error
        check_finite(
            f"the training state {self.path}",
            dict(_tensors(state)),
            f"the training diverged: remove the folder {self.folder} and try a lower lr",
        )
        _restore_random_streams(streams)
        return step, state

    def save_snapshot(self, step: int, tensors: dict[str, torch.Tensor]) -> None:
        """Save a snapshot at the end of `step`: tensors by their names in the artifact."""
        stored = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
        with atomic_path(self.folder / f"{SNAPSHOT}{step:08d}.safetensors") as temporary:
            save_file(stored, temporary)

    def snapshots(self) -> dict[int, Path]:
        """The files of the saved snapshots, by step."""
        paths = sorted(self.folder.glob(f"{SNAPSHOT}*.safetensors"))
        return {int(path.stem.removeprefix(SNAPSHOT)): path for path in paths}

    def discard(self) -> None:
        """Remove the run's state, if there is one."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _tensors(value, name: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """Every tensor in nested dictionaries, lists and tuples, by its path."""
    if isinstance(value, torch.Tensor):
        yield name, value
    elif isinstance(value, dict | list | tuple):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _tensors(part, f"{name}.{key}" if name else f"{key}")


def _random_streams() -> dict:
    _, keys, position, has_gauss, cached = np.random.get_state()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [torch.from_numpy(keys.astype(np.int64)), position, has_gauss, cached],
        "python": random.getstate(),
    }


def _restore_random_streams(streams: dict) -> None:
    torch.set_rng_state(streams["torch"])
    if streams["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(streams["cuda"])
    keys, *rest = streams["numpy"]
    np.random.set_state(("MT19937", keys.numpy().astype(np.uint32), *rest))
    version, internal, gauss = streams["python"]
    random.setstate((version, tuple(internal), gauss))
