"""The file of an observation: named arrays and their description in one .npz; no torch.

Arrays of an observation of runs, for each seed k (n_fid, n_div, n_gal, n_snap: see `meta["counts"]`):

| key | content |
|---|---|
| `seed<k>/features` | float32 [n_fid, d]: FID features of the generated images |
| `seed<k>/class_logits`, `style_logits`, `factors` | float32 [n_fid, …]: what the judge says |
| `seed<k>/text_cosines` | float32 [n_fid, 2]: cosine with the two texts of `meta["zero_shot"]`, by a held-out CLIP |
| `seed<k>/lpips` | float32 [n_div, n_div] LPIPS among the first generated images |
| `seed<k>/source_lpips` | float32 [n_gal, n_gal]: LPIPS, rows adapted, columns source model, same latent codes |
| `seed<k>/source_factors` | float32 [n_gal, F]: the judge's factors of the source model's images |
| `seed<k>/images`, `source_images` | uint8 [n_gal, H, W, 3]: the first generated images |
| `seed<k>/gallery`, `source_gallery` | uint8 [n_gal, H, W, 3]: the same latent codes, truncated |
| `seed<k>/snapshot<step>/…` | `features`, `class_logits`, `style_logits`, `lpips` of the first n_snap images |
| `seed<k>/raw/…`, `raw_snapshot<step>/…` | `features`, `class_logits`, `style_logits` of the weights behind the average, where kept |
| `seed<k>/training_rows` | int64 [m]: the training images of the run, if any: rows of the reference file, or of the task's own file of few-shot images |
| `seed<k>/trained_references` | int64: rows of the reference file with the pixels of a training image, mirrored or not |
| `seed<k>/training_lpips` | float32 [n_gal, 2m]: LPIPS of generated images to training images, then to their mirror images |
| `seed<k>/fresh_lpips` | float32 [n, 2m]: LPIPS of the other reference images to the same |

`source_lpips` is absent if the generator has no W+ space (an image bank), so that its images correspond to
no image of the source model. The judge's arrays are absent in worlds without a judge, and
`text_cosines` where the task names no two texts.

An observation of the reference images has `half0/…` and `half1/…`, which share no image, with `features`,
the judge's arrays, `text_cosines`, `lpips`, `images`, and `rows` (the rows of the reference file).
"""

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nada.run.atomic import atomic_path
from nada.run.errors import UserError

#: Increased when the meaning of an array changes; files of another format are refused.
FORMAT = 2
#: Truncation of the galleries that people look at (Gal et al. 2021, Fig. 5, 6, 20-23).
GALLERY_PSI = 0.7
#: Below this many images a covariance says too little to be called a distance (our floor for FID).
MIN_IMAGES = 50


@dataclass(frozen=True)
class Observation:
    """meta: what was observed, and by which networks (JSON). arrays: by name. path: the file."""

    meta: dict
    arrays: dict[str, np.ndarray]
    path: str = ""

    def __getitem__(self, key: str) -> np.ndarray:
        if key not in self.arrays:
            raise UserError(f"{self.path}: array '{key}' is missing; make the observation again.")
        return self.arrays[key]

    def snapshots(self, seed: int) -> list[int]:
        """Steps of the snapshots of a seed, ascending."""
        start = f"seed{seed}/snapshot"
        steps = {int(k[len(start) :].split("/")[0]) for k in self.arrays if k.startswith(start)}
        return sorted(steps)


def save_observation(path, observation: Observation) -> None:
    """Write meta and arrays atomically. The same content gives the same bytes: numpy dates no entry."""
    meta = json.dumps({"format": FORMAT, **observation.meta}, sort_keys=True, allow_nan=False)
    arrays = {key: observation.arrays[key] for key in sorted(observation.arrays)}
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, meta=np.array(meta), **arrays)


def is_observation(path: Path) -> bool:
    """Whether a file is an observation, of any format. Reads only the list of its entries."""
    try:
        with zipfile.ZipFile(path) as archive:
            return "meta.npy" in archive.namelist()
    except (zipfile.BadZipFile, OSError, UnicodeDecodeError):
        return False


def load_observation(path, only: tuple[str, ...] | None = None) -> Observation:
    """Read an observation. UserError: no such file, a truncated one, or one of another format.

    only: the last parts of the keys of the arrays to read, such as ("images",); None: all arrays.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such observation; make it with python -m eval.observe.")
    try:
        with np.load(path, allow_pickle=False) as file:
            names = ["meta", *(key for key in file.files if only is None or key.rpartition("/")[2] in only)]
            arrays = {key: file[key] for key in dict.fromkeys(names)}
        meta = json.loads(str(arrays.pop("meta")))
    except (zipfile.BadZipFile, ValueError, OSError, EOFError, KeyError, zipfile.error) as error:
        raise UserError(
            f"{path}: truncated or not an observation ({type(error).__name__}); delete it and make"
            f" it again with python -m eval.observe."
        ) from None
    if meta.get("format") != FORMAT:
        raise UserError(f"{path}: format {meta.get('format')}, but this version reads {FORMAT}; make it again.")
    return Observation(meta, arrays, str(path))
