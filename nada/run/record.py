"""Records of a run: curves.csv, run.json and cost.json.

The identity (run.json) and the measurement (cost.json) are separate files: equal runs on one machine
give equal bytes of run.json, and different times in cost.json.
"""

import contextlib
import csv
import io
import math
import os
import platform
import resource
import subprocess
import time
from pathlib import Path, PurePath
from typing import Protocol

import torch
from torch import Tensor

from nada.run.atomic import canonical_json
from nada.run.errors import UserError

CURVES, RUN, COST = "curves.csv", "run.json", "cost.json"
MAX_BUFFERED = 50  # steps whose values may stay on the device before they are read


class Curves:
    """The values of every step, for curves.csv.

    run: the start of error messages. Tensors stay on the device until `read`, so that the log never
    makes the device wait.
    """

    def __init__(self, run: str):
        self.run = run
        self.rows: list[dict] = []
        self.precision = "fp32"  # the run's; for 'mixed', messages advise 'fp32'
        self._waiting: list[tuple[int, dict]] = []  # values not read yet
        self._reads: list[tuple[int, float]] = []  # (step, time) of the first and the last `read`

    def add(self, step: int, values: dict) -> None:
        """Add a step's values: numbers, 0-d tensors or text."""
        values = {k: v.detach() if isinstance(v, Tensor) else v for k, v in values.items()}
        self._waiting.append((step, values))
        if len(self._waiting) >= MAX_BUFFERED:
            self.read()

    def read(self) -> None:
        """Read the waiting values into rows: one transfer from the device.

        Raises UserError if a value is NaN or infinite.
        """
        if not self._waiting:
            return
        tensors = [v for _, row in self._waiting for v in row.values() if isinstance(v, Tensor)]
        numbers = iter(torch.stack([t.float() for t in tensors]).tolist() if tensors else [])
        for step, row in self._waiting:
            values = {k: next(numbers) if isinstance(v, Tensor) else v for k, v in row.items()}
            for name, value in values.items():
                if isinstance(value, float) and not math.isfinite(value):
                    raise UserError(
                        f"{self.run}: {name} is {value} at step {step}; try "
                        f"{'precision fp32, ' if self.precision == 'mixed' else ''}a lower lr, a "
                        "larger epsilon or fewer iterations."
                    )
            self.rows.append({"step": step, **values})
        self._reads = [*self._reads[:1], (self._waiting[-1][0], time.monotonic())]
        self._waiting.clear()

    def newest(self) -> str:
        """The numbers of the newest row, for a progress line."""
        values = self.rows[-1].items()
        return "  ".join(f"{k} {v:.4f}" for k, v in values if isinstance(v, float))

    def csv(self) -> str:
        """The content of curves.csv."""
        columns = list(dict.fromkeys(key for row in self.rows for key in row)) or ["step"]
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        for row in self.rows:  # nine digits give a float32 back exactly
            writer.writerow({k: f"{v:.9g}" if isinstance(v, float) else v for k, v in row.items()})
        return text.getvalue()

    def seconds_per_step(self) -> float | None:
        """Seconds per step between the first and the last `read`, which wait for the device.

        None with fewer than two reads. The first steps, with reading weights and making kernels, do
        not count.
        """
        if len(self._reads) < 2:
            return None
        (first, begun), (last, ended) = self._reads
        return (ended - begun) / (last - first)


class Called(Protocol):
    """A network that counts its forward passes."""

    calls: int


class Cost:
    """The cost of a run, with the parts before an interruption: images, CLIP calls, seconds.

    images: number of images that the run has rendered. own: values that a method adds to the record.
    """

    def __init__(self):
        self.images = 0
        self.own: dict = {}
        self._clips: list[Called] = []
        self._before = {"clip_calls": 0, "seconds": 0.0}
        self._first_step, self._started = 0, time.monotonic()

    def count_clip_calls(self, clip: Called) -> None:
        """Count the calls of one CLIP."""
        self._clips.append(clip)

    def counts(self) -> dict:
        """The counts so far, for a training state."""
        return {
            "images": self.images,
            "clip_calls": self._before["clip_calls"] + sum(clip.calls for clip in self._clips),
            "seconds": self._before["seconds"] + time.monotonic() - self._started,
        }

    def go_on(self, step: int, counts: dict) -> None:
        """Continue after `step` of an interrupted run with its counts."""
        self.images, self._before = counts["images"], counts
        self._first_step, self._started = step, time.monotonic()

    def rate(self, step: int) -> float:
        """Iterations per second since the start or the resume."""
        return (step - self._first_step) / max(time.monotonic() - self._started, 1e-9)

    def record(self, iterations: int, seconds_per_step: float | None, device) -> dict:
        """The content of cost.json."""
        counts = self.counts()
        gpu = device.type == "cuda"
        return {
            "wall_seconds": counts["seconds"],
            "iterations": iterations,
            "iterations_per_second": iterations / max(counts["seconds"], 1e-9),
            "seconds_per_step": seconds_per_step,
            "images_seen": counts["images"],
            "clip_calls": counts["clip_calls"],
            "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "peak_gpu_memory_bytes": torch.cuda.max_memory_allocated() if gpu else None,
            "host": _host_class(gpu),
            "threads": torch.get_num_threads(),
            "commit": _commit(),
            **self.own,
        }


def portable(value):
    """A record whose absolute paths are reduced to file names; hashes identify the contents."""
    if isinstance(value, dict):
        return {key: portable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [portable(item) for item in value]
    if isinstance(value, str) and os.path.isabs(value):
        return PurePath(value).name
    return value


def write_record(path: Path, record: dict) -> None:
    """Write a record as JSON; equal records give equal bytes."""
    path.write_text(canonical_json(record, indent=1) + "\n", encoding="utf-8")


def _host_class(gpu: bool) -> dict:
    """The kind of machine, without its name."""
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
    """The git commit of the code; None if it is not in a checkout."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        git = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
        done = subprocess.run(git, capture_output=True, text=True, timeout=10, check=False)
        return done.stdout.strip() if done.returncode == 0 else None
    return None
