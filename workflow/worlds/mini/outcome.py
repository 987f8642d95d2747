"""Compare a finished run of the benchmark with the mini world's required outcome.

The judge must recognise the target in the adapted images, whose colours must be the target's and whose FID to the
target's real images must be better than that of any junk: a metric that ranks junk higher is broken. The global
loss must collapse, and the directional one keep diversity and correspondence, or the world shows nothing of the
paper.

    python -m workflow.worlds.mini.outcome --results results/mini --out results/mini/outcome.csv
"""

from __future__ import annotations

import argparse
from pathlib import Path

from nada.run.errors import UserError, command

REFERENCES = {"dog2cat": "cat", "dog2bear": "bear", "face2sketch": "sketch"}
# task, variant, metric, bound: means over seeds. "of source" divides by the value of the unadapted source.
# Sketches train all layers, as in the paper (Table 3), and need no mapper.
VARIANT = {"dog2cat": "mapper", "dog2bear": "mapper", "face2sketch": "all_layers"}
AT_LEAST = (
    *((task, variant, "target_rate", 0.9) for task, variant in VARIANT.items()),
    *((task, "adaptive", "intra_cluster_lpips of source", 0.8) for task in ("dog2cat", "dog2bear")),
    *((task, "adaptive", "retrieval_top1", 0.4) for task in ("dog2cat", "dog2bear")),
)
AT_MOST = (
    *((task, "global", "intra_cluster_lpips of source", 0.6) for task in ("dog2cat", "dog2bear")),
    *((task, "global", "retrieval_top1", 0.2) for task in ("dog2cat", "dog2bear")),
)
SATURATION = 2.0  # most saturation of adapted sketches, in that of real ones
OF_SOURCE = " of source"
EXAMINED = 300  # images per set in the FID of junk


def mean_of(scores, task: str, method: str, variant: str, metric: str) -> float:
    """Mean over seeds of a metric of the last models."""
    of_run = scores[(scores.task == task) & (scores.method == method) & (scores.variant == variant)]
    last = of_run[(of_run.metric == metric) & (of_run.step.astype(str) == "last")]
    if last.empty:
        raise UserError(f"scores.csv has no {metric} of {task} {variant}; run that variant first.")
    return float(last.value.mean())


def bar_rows(scores) -> list[dict]:
    """One row per requirement on scores: the measured value, the bound, and whether it holds."""
    rows = []
    for bars, least in ((AT_LEAST, True), (AT_MOST, False)):
        for task, variant, what, bar in bars:
            metric = what.removesuffix(OF_SOURCE)
            value = mean_of(scores, task, "nada", variant, metric)
            if metric != what:
                value /= mean_of(scores, task, "source", "unchanged", metric)
            rows.append({"what": f"{what} of {task} {variant}, {'at least' if least else 'at most'}",
                         "value": value, "bar": bar, "holds": value >= bar if least else value <= bar})  # fmt: skip
    return rows


def saturation(images) -> float:
    """Mean over pixels of the largest minus the smallest channel, uint8 [N, H, W, 3] -> [0, 1]."""
    import numpy as np

    images = np.asarray(images, dtype=np.float32) / 255
    return float((images.max(axis=3) - images.min(axis=3)).mean())


def saturation_row(results: Path) -> dict:
    """The colours left in the sketches of NADA, against those of real sketches."""
    import numpy as np

    from eval.observation import load_observation
    from nada.images.arrays import load_images

    variant = VARIANT["face2sketch"]
    observed = load_observation(results / f"observations/face2sketch/nada-{variant}.npz", only=("images",))
    adapted = np.concatenate([observed[f"seed{run['seed']}/images"] for run in observed.meta["runs"]])
    bar = SATURATION * saturation(load_images(results / "references/sketch.npz"))
    value = saturation(adapted)
    return {"what": f"mean saturation of face2sketch {variant}, at most", "value": value, "bar": bar,
            "holds": value <= bar}  # fmt: skip


def junk_rows(results: Path) -> list[dict]:
    """FID to the target's real images: the adapted model and every kind of junk, per task."""
    import numpy as np
    import torch

    from eval.metrics.fid import fid, gaussian_statistic
    from eval.networks.referee import load_perceptual
    from eval.observation import load_observation
    from nada.images.arrays import load_images
    from nada.images.tensors import to_tensor, to_uint8
    from workflow.worlds.mini.junk_set import adversarial, corrupted, of_runs, world_clips
    from workflow.worlds.mini.promote import WEIGHTS

    perceptual = load_perceptual(WEIGHTS / "perceptual.safetensors")

    @torch.no_grad()
    def statistic(images):
        pixels = to_tensor(to_uint8(images)) if torch.is_tensor(images) else to_tensor(images)
        features = torch.cat([perceptual.features(part) for part in pixels.split(100)])
        return gaussian_statistic(features.numpy())

    resolution = load_images(results / "references/cat.npz").shape[1]
    junk = corrupted(EXAMINED, resolution)
    junk["adversarial"] = adversarial(EXAMINED, resolution, world_clips())
    seen = {name: statistic(images) for name, images in junk.items()}
    rows = []
    for task, domain in REFERENCES.items():
        real = statistic(load_images(results / f"references/{domain}.npz"))
        observed = load_observation(results / f"observations/{task}/nada-{VARIANT[task]}.npz")
        run = observed.meta["runs"][0]
        features = observed[f"seed{run['seed']}/features"][:EXAMINED]
        adapted = fid(gaussian_statistic(np.asarray(features)), real)
        collapsed = of_runs([results / f"runs/{task}/nada-global/seed{run['seed']}"], EXAMINED)
        for name, junk_statistic in {**seen, "global_loss": statistic(collapsed)}.items():
            distance = fid(junk_statistic, real)
            rows.append({"what": f"FID of {name} junk to {domain}, above the adapted model's",
                         "value": distance, "bar": adapted, "holds": distance > adapted})  # fmt: skip
    return rows


@command
def main(argv=None) -> None:
    about = __doc__.split("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m workflow.worlds.mini.outcome", description=about)
    parser.add_argument("--results", type=Path, required=True, help="folder of a finished run")
    parser.add_argument("--out", type=Path, required=True, help=".csv file to write")
    arguments = parser.parse_args(argv)
    import pandas as pd

    from nada.run.atomic import atomic_path
    from nada.run.outputs import check_output

    if not (arguments.results / "scores.csv").is_file():
        raise UserError(f"{arguments.results}/scores.csv is missing; run `snakemake all` first.")
    check_output(arguments.out, inputs=[arguments.results / "scores.csv"])
    scores = pd.read_csv(arguments.results / "scores.csv")
    table = pd.DataFrame([*bar_rows(scores), saturation_row(arguments.results), *junk_rows(arguments.results)])
    with atomic_path(arguments.out) as path:
        table.round(4).to_csv(path, index=False)
    print(table.round(3).to_string(index=False))


if __name__ == "__main__":
    raise SystemExit(main())
