"""Micro-batches: compute a step in parts that fit the memory, with the same draws and result.

NADA's losses are means over a batch, so the gradients of its parts add up to those of the batch, up to
rounding. A step that runs out of memory is repeated in smaller parts with the same random draws.
"""

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from nada.run.errors import UserError

REMEDY = "set precision to 'mixed', or use a device with more memory or a smaller model"


class Rows(NamedTuple):
    """Rows start..stop-1 of a batch: one part of a step."""

    start: int
    stop: int
    batch: int

    @property
    def count(self) -> int:
        return self.stop - self.start

    @property
    def whole(self) -> bool:
        return self.count == self.batch

    @property
    def share(self) -> float:
        """The part's weight in a mean over the batch."""
        return self.count / self.batch

    def of(self, batch: Tensor, views: int = 1) -> Tensor:
        """These rows of a tensor [batch, …], or of [views·batch, …] in every view."""
        if self.whole:
            return batch
        if views == 1:
            return batch[self.start : self.stop]
        return batch.unflatten(0, (views, -1))[:, self.start : self.stop].flatten(0, 1)


def split(batch: int, size: int) -> list[Rows]:
    """The rows of a batch in parts of at most `size`; 0: all in one."""
    size = size or batch
    return [Rows(start, min(start + size, batch), batch) for start in range(0, batch, size)]


class NoiseRows(NamedTuple):
    """A part's rows of its batch's noise: the noise of the whole batch is drawn, then the rows are kept.

    stream: the generator it is drawn from; None: torch's global stream.
    """

    stream: torch.Generator | None
    rows: Rows


class Draws:
    """The saved state of torch's random streams on the CPU and on `device`, to repeat draws."""

    def __init__(self, device: torch.device):
        self.device = device
        self.host = torch.get_rng_state()
        self.card = torch.cuda.get_rng_state(device) if device.type == "cuda" else None

    def restore(self) -> None:
        torch.set_rng_state(self.host)
        if self.card is not None:
            torch.cuda.set_rng_state(self.card, self.device)


class MicroBatches:
    """How many images a run renders at once; halved for the rest of the run if memory runs out.

    largest: images rendered at once without a limit. size: the limit, 0 for none. run: the start of
    messages. log: called with a line when the size changes. device: whose random draws are saved.
    remedy: the advice if even one image does not fit.
    """

    def __init__(
        self,
        largest: int,
        size: int,
        run: str,
        log: Callable,
        device: torch.device,
        remedy: str = REMEDY,
    ):
        self.size = min(size, largest) or largest
        self.run, self.log, self.device, self.remedy = run, log, device, remedy

    def state_dict(self) -> dict:
        """The size, for the training state."""
        return {"size": self.size}

    def load_state_dict(self, state: dict) -> None:
        self.size = state["size"]

    def attempt(self, step: Callable[[int], object], parameters: Iterable[nn.Parameter] = ()):
        """Return `step(size)`; while it runs out of memory, repeat it in smaller parts.

        Gradients of a failed attempt in `parameters` are dropped, and its random draws are repeated.
        Raises UserError if one image at a time does not fit.
        """
        draws = Draws(self.device)
        while True:
            try:
                return step(self.size)
            except torch.cuda.OutOfMemoryError as error:
                reason = asked_for(error)
            # outside the handler: the exception, whose frames hold tensors, is freed
            if self.size == 1:
                raise UserError(
                    f"{self.run}: one image at a time does not fit this device's memory "
                    f"({reason}); {self.remedy}."
                )
            self.size //= 2
            for parameter in parameters:
                parameter.grad = None
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            draws.restore()
            self.log(
                f"  out of memory ({reason}): the step is repeated; from here on {self.size} images are "
                "rendered at once. Results change only by rounding"
            )


def asked_for(error: BaseException) -> str:
    """Torch's message about memory, in short: how much was requested, how much was free."""
    text = " ".join(str(error).split())
    asked = re.search(r"Tried to allocate ([\d.]+ \w+)", text)
    there = re.search(r"total capacity of ([\d.]+ \w+) of which ([\d.]+ \w+) is free", text)
    if not asked:
        return text.rstrip(".") or "no reason given"
    if not there:
        return f"{asked[1]} more were requested"
    return f"{asked[1]} more were requested, {there[2]} of {there[1]} were free"
