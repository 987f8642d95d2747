"""What one pass over the reference images yields, the bound real against real: see `eval.observe`."""

from eval.networks.observer import Observer
from eval.observation import MIN_IMAGES
from nada.run.errors import UserError
from nada.run.spec.observation_spec import ObservationSpec

#: Seed of the split of the reference images into halves.
HALVES_SEED = 0


def halves(count: int) -> list:
    """Rows of two disjoint random halves of `count` reference images, ascending."""
    import numpy as np

    order = np.random.default_rng(HALVES_SEED).permutation(count)
    return [np.sort(rows) for rows in np.array_split(order, 2)]


def observe(spec: ObservationSpec, observer: Observer) -> dict:
    """Arrays of two disjoint random halves of the reference images, keys `half<k>/…`."""
    from nada.images.lazy import open_images

    images = open_images(spec.references)
    counts = spec.counts
    if len(images) < 2 * MIN_IMAGES:
        raise UserError(
            f"{spec.references}: the reference set has {len(images)} images; FID needs at least"
            f" {MIN_IMAGES} in each of its two halves, {2 * MIN_IMAGES} in all."
        )
    arrays = {}
    for half, rows in enumerate(halves(len(images))):
        keep = max(counts.diversity_images, counts.gallery_images)
        measured, part = observer.measure(lambda a, b, at=rows: images[at[a:b]], len(rows), keep)
        found = {
            "rows": rows,
            **measured,
            "lpips": observer.distances(part[: counts.diversity_images]),
            "images": part[: counts.gallery_images],
        }
        arrays.update({f"half{half}/{name}": array for name, array in found.items()})
    print(f"looked at {spec.references}: {len(images)} images in two halves", flush=True)
    return arrays
