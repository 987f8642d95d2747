"""Batches of real images for fine-tuning: in which order they come, and which are mirrored."""

from typing import Literal, Protocol

import torch
from torch import Tensor

Sampling = Literal["epochs", "replacement"]


class Images(Protocol):
    """Images to train on: their number, and those of some rows.

    A float tensor [n,3,R,R] in [-1,1] on the run's device is one; so is what lies in a file.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Tensor) -> Tensor: ...


class Batches:
    """Endless batches of a few images, each image mirrored by itself with a probability.

    images: see Images. batch: images in a batch. mirror: the probability.
    sampling 'epochs': each image comes once before any comes again, as from the published loaders
    (rosinality's, which Ojha et al. and MineGAN use). An epoch is a new random order, cut into
    whole batches; what is left of it is dropped. With fewer images than a batch, for which those
    loaders give none, the orders follow one another without a cut.
    sampling 'replacement': each image of a batch is drawn from all of them.

    Everything is drawn on the host from torch's global stream, so that a device gives the same
    batches, and is sent without waiting for the device. `state_dict` holds the rest of the epoch.
    """

    def __init__(self, images: Images, batch: int, mirror: float, sampling: Sampling = "epochs"):
        self.images, self.batch, self.mirror, self.sampling = images, batch, mirror, sampling
        self.waiting = torch.empty(0, dtype=torch.long)  # rows of the epoch that are still to come

    def draw(self) -> Tensor:
        """The next batch, [batch,3,R,R] in [-1,1], where the images lie."""
        rows = self.rows()
        mirrored = torch.rand(self.batch) < self.mirror
        if isinstance(self.images, Tensor):
            rows = rows.to(self.images.device, non_blocking=True)
        drawn = self.images[rows]
        mirrored = mirrored.to(drawn.device, non_blocking=True)
        return torch.where(mirrored[:, None, None, None], drawn.flip(3), drawn)

    def rows(self) -> Tensor:
        """Which images the next batch holds, [batch], on the host."""
        count = len(self.images)
        if self.sampling == "replacement":
            return torch.randint(count, (self.batch,))
        while len(self.waiting) < self.batch:
            whole = count - count % self.batch if count >= self.batch else count
            self.waiting = torch.cat([self.waiting, torch.randperm(count)[:whole]])
        rows, self.waiting = self.waiting[: self.batch], self.waiting[self.batch :]
        return rows

    def state_dict(self) -> dict:
        return {"waiting": self.waiting.clone()}  # not the epoch that it is a view of

    def load_state_dict(self, state: dict) -> None:
        self.waiting = state["waiting"]
