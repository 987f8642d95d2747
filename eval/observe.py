"""Observe adapted models once: features, judgements, distances and pictures, in one file.

    python -m eval.observe --spec SPEC.json --out FILE.npz

One job observes all seeds of a condition (`eval.observe_runs`); the method "real" is that of the
reference images in two disjoint halves, the real-against-real bound of every metric
(`eval.observe_real`). Everything is measured on images rounded to uint8, as if they had been saved as
PNG. Same run, same bytes.
"""

import argparse
import importlib
import sys

from eval.networks.observer import Observer
from eval.observation import GALLERY_PSI, Observation, is_observation, save_observation
from nada.run.atomic import sha256
from nada.run.errors import command
from nada.run.outputs import check_output
from nada.run.spec.base import REAL
from nada.run.spec.observation_spec import ObservationSpec, read_observation_spec

#: What observes runs, and the reference images; workflow/plan/stages.py names the same modules.
MODULES = {False: "eval.observe_runs", True: "eval.observe_real"}


def provenance(spec: ObservationSpec) -> dict:
    """Hashes of every file that the observation went through."""
    named = {name: getattr(spec, name) for name in ("source", "references", "training_images")}
    models = {run.id: run.model for run in spec.runs}
    files = {**spec.referee.networks(), **named, **models}
    return {name: sha256(path) for name, path in files.items() if path is not None}


def observe(spec: ObservationSpec) -> Observation:
    """Observe what the spec names; see `eval.observation` for the arrays."""
    # by name, so that the code digest of either kind holds its own module alone
    kind = importlib.import_module(MODULES[spec.method == REAL])
    observer = Observer(spec)
    arrays = kind.observe(spec, observer)
    meta = {
        "world": spec.world,
        "task": spec.task,
        "method": spec.method,
        "variant": spec.variant,
        "shots": spec.shots,
        "warm_start": spec.warm_start,
        "device": spec.device,
        "target": list(spec.target) if spec.target else None,
        **({"zero_shot": list(spec.zero_shot)} if spec.zero_shot else {}),
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
