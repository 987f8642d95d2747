"""What one pass over the artifacts of a condition yields, all its seeds: see `eval.observe`."""

import functools
import hashlib
import time

from eval.networks.observer import Observer
from eval.observation import GALLERY_PSI
from nada.run.errors import UserError
from nada.run.spec.observation_spec import ObservationSpec, ObservedRun

#: What is kept of the images of raw weights, beside their average's, where the observation yields it.
RAW_ARRAYS = ("features", "class_logits", "style_logits")
#: What is kept of a snapshot's images.
SNAPSHOT_ARRAYS = (*RAW_ARRAYS, "lpips")
#: Real images outside the training set whose distance to it is the measure of memorisation.
FRESH = 200


def latents(seed: int, count: int, z_dim: int):
    """The first `count` evaluation latents [count,z_dim] of a seed, on the CPU.

    Drawn one by one in order, so that a smaller count is a prefix of a larger one and the batch
    has no say.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    return torch.stack([torch.randn(z_dim, generator=generator) for _ in range(count)])


def observe_source(spec: ObservationSpec, observer: Observer, source, run: ObservedRun) -> dict:
    """The frozen model on the first gallery latents of a run: images, truncated images, factors."""
    z = latents(run.latent_seed, spec.counts.gallery_images, source.generator.config["z_dim"])
    images = observer.draw(source, z, spec.counts.truncation_psi, "source model")
    return {
        "source_images": images,
        "source_gallery": observer.draw(source, z, GALLERY_PSI, "source model"),
        **{f"source_{k}": v for k, v in observer.judgement(images).items() if k == "factors"},
    }


def observe_run(spec: ObservationSpec, observer: Observer, run: ObservedRun, z_dim: int, frozen: dict) -> dict:
    """Everything one artifact yields; `frozen` is what `observe_source` gave for its latents."""
    from nada.run.artifact import load_artifact, read_provenance, snapshot_steps

    counts = spec.counts
    model = load_artifact(run.folder, device=spec.device)
    z = latents(run.latent_seed, counts.fid_images, z_dim)
    few = z[: counts.gallery_images]
    measured, images = observe_latents(spec, observer, model, z, run.id)
    arrays = {
        **frozen,
        **measured,
        "lpips": observer.distances(images[: counts.diversity_images]),
        "images": images[: len(few)],
        "gallery": observer.draw(model, few, GALLERY_PSI, run.id),
    }
    if has_w_plus(model):  # else no image of the source model belongs to an image of its own
        arrays["source_lpips"] = observer.distances(images[: len(few)], frozen["source_images"])
    about = read_provenance(run.folder)
    if about.get("few_shot"):
        arrays.update(observe_training(spec, observer, about["few_shot"], images[: len(few)], run.id))
    if model.raw is not None:
        arrays.update(observe_raw(spec, observer, model, z, "raw", run.id))
    last = about.get("step")
    for step in snapshot_steps(run.folder):
        if step == last:  # the model itself, which was looked at already
            kept = [name for name in SNAPSHOT_ARRAYS if name in arrays]
            found = {name: arrays[name][: counts.snapshot_images] for name in kept}
            found["lpips"] = found["lpips"][:, : counts.snapshot_images]
        else:
            snapshot = load_artifact(run.folder, step=step, device=spec.device)
            first = z[: counts.snapshot_images]
            found = observe_snapshot(spec, observer, snapshot, first, f"{run.id}, step {step}")
            if snapshot.raw is not None:
                prefix = f"raw_snapshot{step}"
                arrays.update(observe_raw(spec, observer, snapshot, first, prefix, run.id))
        arrays.update(
            {f"snapshot{step}/{name}": found[name] for name in SNAPSHOT_ARRAYS if name in found}
        )
    return arrays


def observe_latents(spec: ObservationSpec, observer: Observer, model, z, what: str) -> tuple[dict, object]:
    """(features and judgement of all images of z, the first ones for distances and pictures)."""

    def images_of(start: int, stop: int):
        return observer.draw(model, z[start:stop], spec.counts.truncation_psi, what)

    keep = max(spec.counts.diversity_images, spec.counts.gallery_images)
    return observer.measure(images_of, len(z), keep)


def observe_snapshot(spec: ObservationSpec, observer: Observer, model, z, what: str) -> dict:
    """What the last model's first images yield too, of a model on its way: see SNAPSHOT_ARRAYS."""
    measured, images = observe_latents(spec, observer, model, z, what)
    return {**measured, "lpips": observer.distances(images[: spec.counts.diversity_images])}


def observe_raw(spec: ObservationSpec, observer: Observer, model, z, prefix: str, what: str) -> dict:
    """RAW_ARRAYS of a model's generator without averaging, keys `<prefix>/…`."""
    found, _ = observe_latents(spec, observer, model.unaveraged(), z, f"{what}, raw weights")
    return {f"{prefix}/{name}": found[name] for name in RAW_ARRAYS if name in found}


def observe_training(spec: ObservationSpec, observer: Observer, few_shot: dict, images, what: str) -> dict:
    """How near generated images [n,H,W,3] and fresh real ones are to those a run trained on.

    few_shot: which rows of the spec's `training_images` these are, of the run's record. Fresh are those
    references that are no copy and no mirror image of one of these; without references nothing is.
    UserError: the spec names no training images, or that file holds other images now.
    """
    import numpy as np

    from nada.images.lazy import open_images

    file = spec.training_images
    if file is None:
        raise UserError(f"{what}: trained on images, but the observation spec names no 'training_images'.")
    rows = np.asarray(few_shot["indices"])
    source = open_images(file)
    training = source[rows[rows < len(source)]]
    if hashlib.sha256(training.tobytes()).hexdigest() != few_shot["sha256"]:
        raise UserError(
            f"{what}: {file} does not hold the images that the run trained on; make the run again."
        )
    both = np.concatenate([training, training[:, :, ::-1]])  # the run saw mirrored ones as well
    arrays = {"training_rows": rows, "training_lpips": observer.distances(images, both)}
    if spec.references is None:  # too few are new to the run (workflow/plan/measured.py)
        return arrays
    reference, known = open_images(spec.references), rows_by_pixels(spec.references)
    same = [known.get(pixels(image), ()) for image in (*training, *training[:, :, ::-1])]
    trained = np.array(sorted({row for found in same for row in found}), int)
    fresh = reference[np.delete(np.arange(len(reference)), trained)[:FRESH]]
    arrays["trained_references"] = trained
    return {**arrays, "fresh_lpips": observer.distances(fresh, both)} if len(fresh) else arrays


@functools.lru_cache(maxsize=1)  # one observation has one file of references, and several seeds
def rows_by_pixels(path: str) -> dict[bytes, list[int]]:
    """The rows of an image file by the digest of their pixels; copies share one."""
    from nada.images.lazy import open_images

    images, found = open_images(path), {}
    for row in range(len(images)):  # one at a time: the file may hold more than fits in memory
        found.setdefault(pixels(images[row : row + 1][0]), []).append(row)
    return found


def pixels(image) -> bytes:
    """A digest of an image's pixels [H,W,3]."""
    return hashlib.blake2b(image.tobytes(), digest_size=16).digest()


def has_w_plus(model) -> bool:
    """Whether a model's latents are StyleGAN2's, so that they name an image of the source too."""
    return hasattr(model.generator, "mapping")


def observe(spec: ObservationSpec, observer: Observer) -> dict:
    """Arrays of all seeds of a condition, keys `seed<k>/…`."""
    from nada.run.artifact import AdaptedModel
    from nada.stylegan2.source_model import load_source

    source = AdaptedModel(load_source(spec.source, device=spec.device).G_ema)
    z_dim = source.generator.config["z_dim"]
    arrays = {}
    for run in spec.runs:
        start = time.monotonic()
        frozen = observe_source(spec, observer, source, run)
        found = observe_run(spec, observer, run, z_dim, frozen)
        arrays.update({f"seed{run.seed}/{name}": array for name, array in found.items()})
        seconds = time.monotonic() - start
        print(f"looked at {run.id}: {spec.counts.fid_images} images, {seconds:.1f} s", flush=True)
    return arrays
