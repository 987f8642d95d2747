"""Batches of real images for fine-tuning: their order and mirroring."""

from typing import Literal, Protocol

import torch
from torch import Tensor

Sampling = Literal["epochs", "replacement"]


class Images(Protocol):
    """Training images with `len` and indexing by rows.

    Examples: a float tensor [n,3,R,R] in [-1,1] on the run's device; StoredImages.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Tensor) -> Tensor: ...


class Batches:
    """Endless batches of a few images; each image is mirrored independently with a probability.

    images: see Images. batch: images in a batch. mirror: the probability.
    sampling 'epochs': each image is shown once before any is shown again, as in the published loaders
    (rosinality's, which Ojha et al. and MineGAN use). An epoch is a new random order, cut into whole
    batches; the rest is dropped. With fewer images than a batch, where those loaders give no batch,
    the orders are concatenated.
    sampling 'replacement': each image of a batch is drawn from all images.

    All draws are on the host from torch's global stream, so batches are the same on every device.
    Copies do not wait for the device. `state_dict` holds the rest of the epoch.
    """

    def __init__(self, images: Images, batch: int, mirror: float, sampling: Sampling = "epochs"):
        self.images, self.batch, self.mirror, self.sampling = images, batch, mirror, sampling
        self.waiting = torch.empty(0, dtype=torch.long)  # rows that are left of the epoch

    def draw(self) -> Tensor:
        """The next batch, [batch,3,R,R] in [-1,1], on the images' device."""
        rows = self.rows()
        mirrored = torch.rand(self.batch) < self.mirror
        if isinstance(self.images, Tensor):
            rows = rows.to(self.images.device, non_blocking=True)
        drawn = self.images[rows]
        mirrored = mirrored.to(drawn.device, non_blocking=True)
        return torch.where(mirrored[:, None, None, None], drawn.flip(3), drawn)

    def rows(self) -> Tensor:
        """Row numbers of the next batch, [batch], on the host."""
        count = len(self.images)
        if self.sampling == "replacement":
            return torch.randint(count, (self.batch,))
        while len(self.waiting) < self.batch:
            whole = count - count % self.batch if count >= self.batch else count
            self.waiting = torch.cat([self.waiting, torch.randperm(count)[:whole]])
        rows, self.waiting = self.waiting[: self.batch], self.waiting[self.batch :]
        return rows

    def state_dict(self) -> dict:
        return {"waiting": self.waiting.clone()}  # a clone: `waiting` is a view of the whole epoch

    def load_state_dict(self, state: dict) -> None:
        self.waiting = state["waiting"]
