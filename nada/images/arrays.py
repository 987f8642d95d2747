"""Images in a file of pixels: uint8 [N,H,W,3] in an .npz."""

from pathlib import Path

import numpy as np

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
