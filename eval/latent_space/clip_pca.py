"""CLIP space in two dimensions, and a statistic of collapse (Gal et al. 2021, App. B, Fig. 15).

The plane is fitted on the real images of both domains alone. Texts and generated images are projected onto
it: a text lies apart from all images, so it would turn the plane if it were fitted. The paper does not say
on what the PCA is fitted, nor whether embeddings are normalised; here they are unit vectors, as in the losses.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from eval.analysis.statistics import CONFIDENCE
from eval.latent_space.intervals import RESAMPLES, Estimate, bootstrap, row_counts
from nada.run.errors import UserError

#: A spread below this, in squared embedding length, is that of equal embeddings with rounding.
NO_SPREAD = 1e-12


@dataclass(frozen=True)
class Plane:
    """The first principal components of embeddings.

    mean: [E]. components: orthonormal rows [2,E]; the entry of largest size in each is positive, so that
    the plane is drawn the same way every time. explained: each one's share of the variance, [2].
    """

    mean: np.ndarray
    components: np.ndarray
    explained: np.ndarray

    def project(self, embeddings) -> np.ndarray:
        """Embeddings [N,E] -> coordinates [N,2] in the plane. ValueError: another E."""
        x = _embeddings(embeddings, "embeddings", least=1)
        if x.shape[1] != len(self.mean):
            raise ValueError(f"embeddings: {len(self.mean)} numbers each expected, got {x.shape[1]}")
        return (x - self.mean) @ self.components.T


def fit_plane(reals) -> Plane:
    """The plane of the largest variance of real images' embeddings [N,E], N >= 3; computed in float64.

    UserError: the embeddings span no plane.
    """
    x = _embeddings(reals, "reals", least=3)
    mean = x.mean(axis=0)
    _, singular, rows = np.linalg.svd(x - mean, full_matrices=False)
    variance = singular**2
    if len(variance) < 2 or variance[1] <= NO_SPREAD * len(x):
        raise UserError(
            "CLIP-space PCA: the real images' embeddings span no plane; give images that differ."
        )
    largest = np.abs(rows[:2]).argmax(axis=1)
    signs = np.sign(rows[np.arange(2), largest])
    return Plane(mean, rows[:2] * signs[:, None], variance[:2] / variance.sum())


def embed_images(clip, images: np.ndarray, batch: int = 32) -> np.ndarray:
    """uint8 [N,H,W,3] -> unit embeddings [N,E], float32. clip: nada.clip.encoder.Clip, trained with or held out."""
    import torch

    from eval.networks.features import batches

    with torch.inference_mode():
        parts = [clip.encode_images(x.to(clip.device)) for x in batches(images, batch)]
        return torch.cat(parts).float().cpu().numpy()


def early_and_late(folder) -> tuple[int, int]:
    """The first kept step after the start and the last one of a run: the figure's light and dark clouds.

    UserError: no artifact, or no snapshot between the start and the end.
    """
    from nada.run.artifact import snapshot_steps

    steps = [step for step in snapshot_steps(folder) if step > 0]
    if len(steps) < 2:
        raise UserError(
            f"{folder}: CLIP-space PCA needs a model from early in the training, but the run kept only "
            f"step {steps[-1] if steps else 0}; set its snapshots to 2 or more."
        )
    return steps[0], steps[-1]


def embed_run(clip, folder, step: int | None, z, truncation_psi: float = 1.0, batch: int = 32) -> np.ndarray:
    """Unit embeddings [N,E] of what a run's model at `step` draws of codes z [N,z_dim]; None: the last.

    Images are rounded to 8 bits, as real ones are. UserError: no such model, or an image not finite.
    """
    import torch

    from eval.networks.features import check_finite
    from nada.images.tensors import to_uint8
    from nada.run.artifact import load_artifact

    model = load_artifact(folder, step=step, device=clip.device)
    images = []
    for start in range(0, len(z), batch):
        with torch.inference_mode():
            drawn = model.sample(z[start : start + batch].to(clip.device), truncation_psi)
        check_finite(drawn, start, str(folder))
        images.append(to_uint8(drawn))
    return embed_images(clip, np.concatenate(images), batch)


def embed_texts(clip, texts: list[str]) -> np.ndarray:
    """Unit embeddings [T,E] of bare texts, without prompt templates: the figure's "Cat" and "Dog"."""
    return clip.encode_texts(texts).float().cpu().numpy()


@dataclass(frozen=True)
class Drawn:
    """A plane and all that is drawn in it: {name: coordinates [N,2]} of each cloud and of the texts."""

    plane: Plane
    clouds: dict[str, np.ndarray]

    def rows(self) -> list[dict]:
        """One row for each point: cloud, index in it, x, y; for the table beside the figure."""
        return [
            {"cloud": name, "index": i, "x": float(x), "y": float(y)}
            for name, points in self.clouds.items()
            for i, (x, y) in enumerate(points)
        ]


def draw(reals: Mapping[str, np.ndarray], others: Mapping[str, np.ndarray]) -> Drawn:
    """Fit the plane on all `reals` together, project them and `others`.

    reals: embeddings [N,E] of the real images of each domain. others: those of texts and generated
    images, such as "global, early"; they do not move the plane. UserError: a name in both, or no plane.
    """
    if both := sorted(set(reals) & set(others)):
        raise UserError(f"CLIP-space PCA: '{both[0]}' names reals and another cloud; rename one.")
    plane = fit_plane(np.concatenate([_embeddings(x, name, least=1) for name, x in reals.items()]))
    return Drawn(plane, {name: plane.project(x) for name, x in {**reals, **others}.items()})


# ---- collapse --------------------------------------------------------------------------------------


def spread(embeddings) -> float:
    """tr Cov(e) = Σ_i ‖e_i − ē‖² / (n − 1) of embeddings [n,E], n >= 2: the total variance, 0 or more."""
    x = _embeddings(embeddings, "embeddings", least=2)
    return float(((x - x.mean(axis=0)) ** 2).sum() / (len(x) - 1))


def collapse(
    adapted,
    reference,
    paired: bool = False,
    seed: int = 0,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
) -> Estimate:
    """How much of a reference's spread adapted embeddings keep: 1 all of it, 0 they are one point.

        tr Cov(adapted) / tr Cov(reference)        of embeddings [n,E] and [m,E]

    reference: real images of the target domain or, with the same latent codes, the source generator's
    images. paired: both sets belong to the same codes (n = m), which are then resampled together. The
    interval holds percentiles over resamples of the images; a resample's spread is multiplied by
    n / (n − 1), its mean shrinkage. UserError: a reference without spread. ValueError: shapes, n < 2.
    """
    x = _embeddings(adapted, "adapted", least=2)
    y = _embeddings(reference, "reference", least=2)
    if x.shape[1] != y.shape[1] or (paired and len(x) != len(y)):
        raise ValueError(f"embeddings: {list(x.shape)} and {list(y.shape)} do not belong together")
    whole = spread(y)
    if whole <= NO_SPREAD:
        raise UserError("CLIP-space collapse: all embeddings of the reference are equal.")

    def ratio(rows: np.ndarray, of_reference: np.ndarray | None = None) -> np.ndarray:
        below = _spreads(y, rows if of_reference is None else of_reference)
        return np.divide(_spreads(x, rows), below, out=np.zeros_like(below), where=below > NO_SPREAD)

    sizes = [len(x)] if paired else [len(x), len(y)]
    options = {"seed": seed, "resamples": resamples, "confidence": confidence}
    return bootstrap(ratio, *sizes, value=spread(x) / whole, **options)


def _spreads(x: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The spread of each resample [B] of embeddings [n,E], from its rows [B,n], without its shrinkage."""
    n = len(x)
    counts = row_counts(rows, n)
    x = x - x.mean(axis=0)  # the differences below lose no digits
    squares = counts @ (x**2).sum(axis=1) / n
    means = counts @ x / n
    biased = np.maximum(squares - (means**2).sum(axis=1), 0)
    return biased * (n / (n - 1)) ** 2  # unbiased in the resample, and its mean the sample's


def _embeddings(values, name: str, least: int) -> np.ndarray:
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 2 or len(x) < least or not np.isfinite(x).all():
        raise ValueError(f"{name}: finite embeddings [n>={least},E] expected, got {list(x.shape)}")
    return x
