"""Images on disk (uint8, HWC, .npz) and in networks (float, CHW, [-1,1])."""

from pathlib import Path

import numpy as np
import torch

from nada.images.containers import BROKEN
from nada.run.atomic import atomic_path
from nada.run.errors import UserError


def load_images(path) -> np.ndarray:
    """Read `images` from an .npz file: uint8 [N,H,W,3].

    Raises UserError for a missing or damaged file, and for other contents.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"the image file {path} is missing; make it, or correct the path.")
    try:
        with np.load(path, allow_pickle=False) as archive:
            images = archive["images"]
    except KeyError:
        raise UserError(
            f"the image file {path} has no array 'images'; it must hold uint8 [N,H,W,3]."
        ) from None
    except (ValueError, TypeError, *BROKEN) as error:
        raise UserError(
            f"the image file {path} cannot be read ({error}); make it again."
        ) from error
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
        raise UserError(
            f"the image file {path} holds {images.dtype} {list(images.shape)}; "
            "'images' must be uint8 [N,H,W,3]."
        )
    return images


def save_images(path, images: np.ndarray) -> None:
    """Write uint8 [N,H,W,3] to an .npz file that `load_images` reads; equal images, equal bytes."""
    images = np.asarray(images)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
        raise ValueError(f"images must be uint8 [N,H,W,3], not {images.dtype} {images.shape}")
    with atomic_path(Path(path)) as temporary:
        np.savez_compressed(temporary, images=images)


def to_tensor(images) -> torch.Tensor:
    """uint8 [N,H,W,3] (numpy or torch) → float32 [N,3,H,W] in [-1,1]."""
    pixels = torch.as_tensor(images)
    if pixels.dtype != torch.uint8 or pixels.ndim != 4 or pixels.shape[-1] != 3:
        raise ValueError(f"images must be uint8 [N,H,W,3], not {pixels.dtype} {pixels.shape}")
    return pixels.permute(0, 3, 1, 2).to(torch.float32).contiguous() / 127.5 - 1


def to_uint8(images: torch.Tensor) -> np.ndarray:
    """Float [N,3,H,W], about [-1,1] → uint8 [N,H,W,3]: clamped, rounded half up."""
    levels = torch.floor((images.detach().float() + 1) * 127.5 + 0.5).clamp(0, 255)
    return levels.to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()
