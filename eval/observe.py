"""One pass over adapted models: features, judgements, distances and pictures, in one file.

    python -m eval.observe --spec SPEC.json --out FILE.npz

One job observes all seeds of a condition (`eval.observe_runs`); the method "real" is that of the
reference images in two disjoint halves, the real-against-real bound of every metric (`eval.observe_real`). Everything is measured on images
rounded to uint8, as if they had been saved as PNG. Same run, same bytes.
"""

import argparse
import importlib
import sys

from eval.networks.observer import Observer, networks
from eval.observation import GALLERY_PSI, Observation, is_observation, save_observation
from nada.run.atomic import sha256
from nada.run.errors import command
from nada.run.former_spec import REAL, ObservationSpec, read_observation_spec
from nada.run.outputs import check_output

#: What observes runs, and the reference images; workflow/plan/stages.py names the same modules.
MODULES = {False: "eval.observe_runs", True: "eval.observe_real"}


def observe(spec: ObservationSpec) -> Observation:
    """Observe as told; see `eval.observation` for the arrays."""
    # by name, so that the code digest of either kind holds its own module alone
    kind = importlib.import_module(MODULES[spec.method == REAL])
    observer = Observer(spec)
    arrays = kind.observe(spec, observer)
    observed = {**networks(spec), **kind.files(spec)}
    meta = {
        "world": spec.world,
        "task": spec.task,
        "method": spec.method,
        "variant": spec.variant,
        "shots": spec.shots,
        "warm_start": spec.warm_start,
        "device": spec.device,
        "target": list(spec.target) if spec.target else None,
        "referee": list(networks(spec)),
        **observer.names(),
        "networks": observer.record(),
        "runs": [{"id": r.id, "seed": r.seed, "latent_seed": r.latent_seed} for r in spec.runs],
        "counts": {
            name: getattr(spec.counts, name)
            for name in (
                "fid_images",
                "diversity_images",
                "gallery_images",
                "snapshot_images",
                "truncation_psi",
            )
        },
        "gallery_psi": GALLERY_PSI,
        "hashes": {name: sha256(path) for name, path in observed.items()},
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
