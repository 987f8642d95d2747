"""Observe adapted models once: features, judgements, distances and pictures into one file.

    python -m eval.observe --spec SPEC.json --out FILE.npz

One job observes all seeds of a condition; the method "real" stands for the reference images in two
disjoint halves, the real-against-real bound of every metric. Everything is measured on images
rounded to uint8, as if they had been saved as PNG. Same run, same bytes.
"""

import argparse
import functools
import hashlib
import sys
import time

from eval.networks.observer import Observer
from eval.observation import Observation, is_observation, save_observation
from nada.run.errors import UserError, command
from nada.run.outputs import check_output
from nada.run.spec import REAL, ObservationSpec, ObservedRun, read_observation_spec

#: Truncation of the galleries that people look at (Gal et al. 2021, Fig. 5, 6, 20-23).
GALLERY_PSI = 0.7
#: What is kept of the images of raw weights, beside their average's, where the observation yields it.
RAW_ARRAYS = ("features", "class_logits", "style_logits")
#: What is kept of a snapshot's images.
SNAPSHOT_ARRAYS = (*RAW_ARRAYS, "lpips")
#: Seed of the split of the reference images into halves.
HALVES_SEED = 0
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

    from nada.images.sets import open_images

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
    found = {"training_rows": rows, "training_lpips": observer.distances(images, both)}
    if spec.references is None:  # too few are new to the run (workflow/plan/measured.py)
        return found
    reference, known = open_images(spec.references), rows_by_pixels(spec.references)
    same = [known.get(pixels(image), ()) for image in (*training, *training[:, :, ::-1])]
    trained = np.array(sorted({row for found in same for row in found}), int)
    fresh = reference[np.delete(np.arange(len(reference)), trained)[:FRESH]]
    found["trained_references"] = trained
    return {**found, "fresh_lpips": observer.distances(fresh, both)} if len(fresh) else found


@functools.lru_cache(maxsize=1)  # one observation has one file of references, and several seeds
def rows_by_pixels(path: str) -> dict[bytes, list[int]]:
    """The rows of an image file by the digest of their pixels; copies share one."""
    from nada.images.sets import open_images

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


def observe_runs(spec: ObservationSpec, observer: Observer) -> dict:
    """Arrays of all seeds of a condition, keys `seed<k>/…`."""
    from nada.run.artifact import AdaptedModel
    from nada.stylegan2.checkpoints import load_source

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


def halves(count: int) -> list:
    """Rows of two disjoint random halves of `count` reference images, ascending."""
    import numpy as np

    order = np.random.default_rng(HALVES_SEED).permutation(count)
    return [np.sort(rows) for rows in np.array_split(order, 2)]


def observe_references(spec: ObservationSpec, observer: Observer) -> dict:
    """Arrays of two disjoint random halves of the reference images, keys `half<k>/…`."""

    from eval.metrics.fid import MIN_IMAGES
    from nada.images.sets import open_images

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


def provenance(spec: ObservationSpec) -> dict:
    """Hashes of every file that the observation went through."""
    from nada.run.atomic import sha256

    named = {name: getattr(spec, name) for name in ("source", "references", "training_images")}
    models = {run.id: run.model for run in spec.runs}
    files = {**spec.referee.networks(), **named, **models}
    return {name: sha256(path) for name, path in files.items() if path is not None}


def observe(spec: ObservationSpec) -> Observation:
    """Observe what the spec names; see `eval.observation` for the arrays."""
    observer = Observer(spec)
    real = spec.method == REAL
    arrays = observe_references(spec, observer) if real else observe_runs(spec, observer)
    meta = {
        "world": spec.world,
        "task": spec.task,
        "method": spec.method,
        "variant": spec.variant,
        "shots": spec.shots,
        "warm_start": spec.warm_start,
        "device": spec.device,
        "target": list(spec.target) if spec.target else None,
        "referee": list(spec.referee.networks()),
        **observer.names(),
        "networks": observer.record(),
        "runs": [{"id": r.id, "seed": r.seed, "latent_seed": r.latent_seed} for r in spec.runs],
        "counts": spec.counts.model_dump(exclude={"batch"}),
        "gallery_psi": GALLERY_PSI,
        "hashes": provenance(spec),
    }
    return Observation(meta, arrays)


@command
def main(argv=None):
    """Command line of this module."""
    parser = argparse.ArgumentParser(prog="python -m eval.observe", description=__doc__)
    parser.add_argument("--spec", required=True, help="the observation spec (JSON)")
    parser.add_argument("--out", required=True, help="the observation to write (.npz)")
    arguments = parser.parse_args(argv)
    check_output(arguments.out, is_observation, [arguments.spec])
    spec = read_observation_spec(arguments.spec)
    print(f"world {spec.world}: {spec.task}, {spec.method} {spec.variant} on {spec.device}")
    save_observation(arguments.out, observe(spec))
    print(f"wrote {arguments.out}")


if __name__ == "__main__":
    sys.exit(main())
