"""The input of every metric: one set of images, as the arrays that an observation holds of it."""

from dataclasses import dataclass

import numpy as np

from eval.observation import Observation


@dataclass(frozen=True)
class Sample:
    """The images of one model, of one of its snapshots, or of one half of the reference images.

    `sample["features"]` is an array of the observation (eval/observation.py lists them all with their
    shapes); `"images" in sample` says whether it exists.

    prefix: where the arrays are: "seed0", "seed0/snapshot40", "seed0/raw", "half1". name: what errors
    call the images. references: name of an array -> `eval.metrics.fid.FeatureSet` of the reference
    images; None where the task has none. clusters: k of intra-cluster LPIPS.
    snapshot: the model during training, on fewer images. raw: the weights behind an average.
    real: a half of the reference images; `references` of half 0 is the other half, half 1 has none.
    """

    observation: Observation
    prefix: str
    name: str
    references: dict | None
    clusters: int
    snapshot: bool = False
    raw: bool = False
    real: bool = False

    def __getitem__(self, array: str) -> np.ndarray:
        """UserError: the observation lacks the array."""
        return self.observation[f"{self.prefix}/{array}"]

    def __contains__(self, array: str) -> bool:
        return f"{self.prefix}/{array}" in self.observation.arrays

    @property
    def meta(self) -> dict:
        """The observation's description: task, method, names of classes, target and so on."""
        return self.observation.meta

    @property
    def final(self) -> bool:
        """Whether this is a model as its run left it, with the weights that it samples from."""
        return not (self.snapshot or self.raw or self.real)

    @property
    def judged(self) -> bool:
        """Whether the judge classified the images. Worlds such as `paper` have no judge."""
        return "class_names" in self.meta
