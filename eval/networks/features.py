"""FID features of a stream of images, rounded as if they were saved as a folder of PNGs for clean-fid."""

from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor, nn

from nada.images.tensors import to_tensor, to_uint8
from nada.run.errors import UserError


class CleanFidModel(nn.Module):
    """A perceptual network under clean-fid's contract: [N,3,H,W] in [0,255] -> features [N,d].

    `cleanfid.fid.get_folder_features` takes it as `model`, and so does `stream_features`.
    """

    def __init__(self, perceptual: nn.Module):
        super().__init__()
        self.perceptual = perceptual

    def forward(self, x: Tensor) -> Tensor:
        return self.perceptual.features(x / 127.5 - 1)


def batches(images: np.ndarray, batch: int) -> Iterable[Tensor]:
    """uint8 [N,H,W,3] -> float batches [<=batch,3,H,W] in [-1,1]."""
    for start in range(0, len(images), batch):
        yield to_tensor(images[start : start + batch])


def check_finite(images: Tensor, first: int, what: str) -> None:
    """UserError if an image of [N,3,H,W] has NaN or infinity. first: index of the first image."""
    finite = images.isfinite().flatten(1).all(dim=1)
    if not finite.all():
        bad = first + int((~finite).nonzero()[0])
        raise UserError(f"{what}: image {bad} holds NaN or infinity; the model has diverged")


def stream_features(
    image_batches: Iterable[Tensor],
    model: Callable[[Tensor], Tensor],
    resize: Callable[[np.ndarray], np.ndarray] | None = None,
    what: str = "images",
) -> np.ndarray:
    """Features [N,d] float32 of a stream of batches [n,3,H,W] in [-1,1].

    Images are first clamped and rounded to uint8, as in a PNG. Only features are kept in memory.
    model: [n,3,h,w] in [0,255] -> [n,d] (`CleanFidModel`, or clean-fid's Inception).
    resize: uint8 or float [H,W,3] -> float [h,w,3] in [0,255], e.g. clean-fid's
        `build_resizer("clean")`; None keeps the size.
    what: what errors call the images. UserError: an image that is not finite, or no image.
    """
    rows, count = [], 0
    for images in image_batches:
        check_finite(images, count, what)
        count += len(images)
        pixels = to_uint8(images)
        if resize is not None:
            pixels = np.stack([resize(image) for image in pixels])
        x = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float()
        with torch.inference_mode():
            rows.append(model(x.to(images.device)).float().cpu().numpy())
    if not rows:
        raise UserError(f"{what}: no image to take features of")
    return np.concatenate(rows)
