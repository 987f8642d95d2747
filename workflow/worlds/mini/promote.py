"""Promote freshly trained networks into the shipped weights, if they pass the bars.

Pre-training writes to results/world_build/; this step measures what the records do not say yet (how the
referee sees the source model), holds everything against the bars, copies the files and writes the manifest:
hash, recipe, seed, held-out figures, date and cost of each file.

    python -m workflow.worlds.mini.promote --build results/world_build
"""

from __future__ import annotations

import argparse
import datetime
import json
import shutil
from pathlib import Path

from nada.errors import UserError, command

WEIGHTS = Path(__file__).parent / "weights"
SIZE_LIMIT = 22 * 2**20  # bytes of all shipped weights
MEASURED = 1000  # images a side in the figures below

# figure -> the least it must be
BARS = {
    "clip_a.zero_shot_species_photo": 0.90,
    "clip_a.zero_shot_style": 0.90,
    "perceptual.species": 0.95,
    "judge.species": 0.97,
    "judge.none_of_these_on_junk": 0.90,
    "dog.judged_own_class": 0.95,
}
CEILINGS = {"dog.fid_share_of_dog_to_cat": 0.25}  # figure -> the most it may be
NETWORKS = ("dog", "clip_a", "clip_b", "perceptual", "judge")


def source_figures(build: Path, domain: str) -> dict:
    """How the new referee sees the new source: judge's verdict and FID to fresh renders, against dog to cat."""
    import torch

    from eval.fid import fid, gaussian_statistic
    from eval.referee import load_judge, load_perceptual
    from nada.images import to_tensor, to_uint8
    from nada.stylegan2.checkpoints import load_source
    from workflow.worlds.mini.pretrain_source import DOMAINS
    from workflow.worlds.mini.references import reference_images

    judge, perceptual = (
        load_judge(build / "judge.safetensors"),
        load_perceptual(build / "perceptual.safetensors"),
    )
    G = load_source(build / f"{domain}.safetensors").G_ema
    z = torch.randn(MEASURED, G.config["z_dim"], generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        fake = torch.cat(
            [G.synthesis(G.broadcast(G.mapping(part)), noise_mode="const") for part in z.split(100)]
        )
        fake = to_tensor(to_uint8(fake))

        def look(images):
            verdict = torch.cat(
                [judge(part)["class_logits"].argmax(1) for part in images.split(200)]
            )
            features = torch.cat([perceptual.features(part) for part in images.split(200)]).numpy()
            return verdict, gaussian_statistic(features)

        verdict, generated = look(fake)
        own = to_tensor(
            reference_images(domain, DOMAINS[domain], "photo", MEASURED, fake.shape[-1])
        )
        other = to_tensor(reference_images("cat", "cat", "photo", MEASURED, fake.shape[-1]))
        renders, cats = look(own)[1], look(other)[1]
    between = fid(renders, cats)
    return {
        "judged_own_class": float(
            (verdict == judge.class_names.index(DOMAINS[domain])).float().mean()
        ),
        "judged_none_of_these": float((verdict == len(judge.class_names) - 1).float().mean()),
        "fid_to_renders": round(fid(generated, renders), 4),
        "fid_dog_to_cat_renders": round(between, 4),
        "fid_share_of_dog_to_cat": round(fid(generated, renders) / between, 4),
    }


def failures(figures: dict[str, float]) -> list[str]:
    """One sentence for every bar that the flat figures miss."""
    missed = [
        f"{k} is {figures[k]:.3f}, the bar is at least {v}"
        for k, v in BARS.items()
        if figures[k] < v
    ]
    return missed + [
        f"{k} is {figures[k]:.3f}, the bar is at most {v}"
        for k, v in CEILINGS.items()
        if figures[k] > v
    ]


def promote(build: Path) -> None:
    """Check the bars, copy the files and write the manifest."""
    from nada.atomic import sha256, write_json

    records = {}
    for name in NETWORKS:
        if not (build / f"{name}.safetensors").is_file():
            raise UserError(
                f"{build / (name + '.safetensors')} is missing; train it first (see docs/mini-world.md)."
            )
        records[name] = json.loads((build / f"{name}.record.json").read_text())
    records["dog"]["figures"] = source_figures(build, "dog")
    flat = {
        f"{name}.{key}": value
        for name, record in records.items()
        for key, value in record["figures"].items()
    }
    for key, value in flat.items():
        print(f"{key}: {value}")
    if missed := failures(flat):
        raise UserError("not promoted: " + "; ".join(missed) + ".")
    total = sum((build / f"{name}.safetensors").stat().st_size for name in NETWORKS)
    if total > SIZE_LIMIT:
        raise UserError(
            f"not promoted: the weights weigh {total / 2**20:.1f} MiB, the limit is {SIZE_LIMIT / 2**20:.0f}."
        )
    WEIGHTS.mkdir(exist_ok=True)
    files = {}
    for name, record in records.items():
        for suffix in (".safetensors", ".json"):
            source = build / f"{name}{suffix}"
            if source.is_file():
                shutil.copyfile(source, WEIGHTS / source.name)
                files[source.name] = {"sha256": sha256(source), "bytes": source.stat().st_size}
        files[f"{name}.safetensors"].update(
            recipe=record["recipe"], seed=record["recipe"]["seed"], figures=record["figures"],
            seconds=record["seconds"], threads=record["threads"], device="cpu",
        )  # fmt: skip
    write_json(
        WEIGHTS / "manifest.json", {"date": datetime.date.today().isoformat(), "files": files}
    )
    print(f"promoted {len(files)} files, {total / 2**20:.1f} MiB -> {WEIGHTS}")


@command
def main(argv=None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--build",
        type=Path,
        default=Path("results/world_build"),
        help="folder of the pre-trainings",
    )
    promote(parser.parse_args(argv).build)


if __name__ == "__main__":
    raise SystemExit(main())
