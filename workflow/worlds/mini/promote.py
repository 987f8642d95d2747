"""Copy newly trained networks to the shipped weights if they meet the requirements.

Pre-training writes to results/world_build/. This step measures the referee's figures of the source models,
checks all requirements, copies the files and writes the manifest: hash, recipe, seed, held-out figures, date
and cost of each file.

    python -m workflow.worlds.mini.promote --build results/world_build
"""

from __future__ import annotations

import argparse
import datetime
import json
import shutil
from pathlib import Path

from nada.run.errors import UserError, command

WEIGHTS = Path(__file__).parent / "weights"
DOCS = Path(__file__).parents[3] / "docs/mini-world"
SHEETS = ("dog", "face")  # sources whose sheets of the parent's family are shown in docs/mini-world.md
SIZE_LIMIT = 22 * 2**20  # bytes of all shipped weights
MEASURED = 1000  # images per set in the measurements below

SOURCES = ("dog", "face", "dog_without_parent", "dog_with_targets")
CLIPS = ("a", "b", "c")
NETWORKS = (*SOURCES, *(f"clip_{name}" for name in CLIPS), "perceptual", "judge")

# measurement -> smallest allowed value
BARS = {
    **{f"clip_{name}.zero_shot_species": 0.90 for name in CLIPS},
    **{f"clip_{name}.zero_shot_style": 0.90 for name in CLIPS},
    "perceptual.species": 0.95,
    "judge.species": 0.97,
    "judge.style": 0.97,
    "judge.none_of_these_on_committed_junk": 0.90,
    "judge.agreement_with_people": 0.90,
    **{f"{domain}.judged_own_class": 0.95 for domain in SOURCES},
    **{f"{domain}.recall": 0.5 for domain in SOURCES},
}
# measurement -> largest allowed value
CEILINGS = {f"{domain}.fid_share_of_dog_to_cat": 0.05 for domain in SOURCES}


def judged_as(judge, images, class_name: str | None) -> float:
    """Share of images [N, 3, R, R] that the judge assigns to a class; None: to "none of these"."""
    import torch

    place = len(judge.class_names) - 1
    if class_name is not None:
        place = judge.class_names.index(class_name)
    with torch.no_grad():
        verdict = torch.cat([judge(part)["class_logits"].argmax(1) for part in images.split(200)])
    return float((verdict == place).float().mean())


def source_figures(build: Path, domain: str, judge, perceptual) -> dict:
    """The new referee's comparison of a new source with new renders; dogs and cats give the scale."""
    import torch

    from eval.metrics.fid import fid, gaussian_statistic
    from eval.metrics.precision_recall import precision_recall
    from nada.images.tensors import to_tensor, to_uint8
    from nada.stylegan2.source_model import load_source
    from workflow.worlds.mini.parent import FAMILIES
    from workflow.worlds.mini.references import reference_images

    G = load_source(build / f"{domain}.safetensors").G_ema.eval()
    z = torch.randn(MEASURED, G.config["z_dim"], generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        fake = torch.cat(
            [G.synthesis(G.broadcast(G.mapping(part)), noise_mode="const") for part in z.split(100)]
        )
    fake = to_tensor(to_uint8(fake))

    def renders(species: str):
        return to_tensor(reference_images(species, species, "photo", MEASURED, fake.shape[-1]))

    @torch.no_grad()
    def features(images):
        return torch.cat([perceptual.features(part) for part in images.split(200)]).numpy()

    species = FAMILIES[domain].species
    generated, real = features(fake), features(renders(species))
    distance = fid(gaussian_statistic(generated), gaussian_statistic(real))
    between = fid(*(gaussian_statistic(features(renders(name))) for name in ("dog", "cat")))
    precision, recall = precision_recall(real, generated)
    return {
        "judged_own_class": judged_as(judge, fake, species),
        "judged_none_of_these": judged_as(judge, fake, None),
        "fid_to_renders": round(distance, 4),
        "fid_dog_to_cat_renders": round(between, 4),
        "fid_share_of_dog_to_cat": round(distance / between, 4),
        "precision": round(precision, 3),
        "recall": round(recall, 3),
    }


def failures(figures: dict[str, float]) -> list[str]:
    """One sentence for every requirement that the measurements miss."""
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
    """Check the requirements, copy the files and write the manifest."""
    from eval.networks.referee import load_judge, load_perceptual
    from nada.images.arrays import load_images
    from nada.images.tensors import to_tensor
    from nada.run.atomic import sha256, write_json
    from workflow.worlds.mini.junk_set import JUNK_SET
    from workflow.worlds.mini.people_set import agreement, load_people

    records = {}
    for name in NETWORKS:
        if not (build / f"{name}.safetensors").is_file():
            raise UserError(
                f"{build / (name + '.safetensors')} is missing; train it first (see docs/mini-world.md)."
            )
        records[name] = json.loads((build / f"{name}.record.json").read_text())
    judge = load_judge(build / "judge.safetensors")
    perceptual = load_perceptual(build / "perceptual.safetensors")
    for domain in SOURCES:
        records[domain]["figures"] = source_figures(build, domain, judge, perceptual)
    junk = to_tensor(load_images(JUNK_SET))
    of_judge = records["judge"]["figures"]
    of_judge["none_of_these_on_committed_junk"] = judged_as(judge, junk, None)
    people = load_people()
    shares = agreement(judge, people)
    of_judge["agreement_with_people"] = shares["adapted"]
    of_judge["agreement_with_people_on_all"] = shares["all"]
    of_judge["named_by_people"] = int((people.groups == "adapted").sum())
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
            f"not promoted: the weights take {total / 2**20:.1f} MiB, the limit is {SIZE_LIMIT / 2**20:.0f}."
        )
    WEIGHTS.mkdir(exist_ok=True)
    files = {}
    for name, record in records.items():
        for suffix in (".safetensors", ".json"):
            source = build / f"{name}{suffix}"
            if source.is_file():
                shipped, digest = WEIGHTS / source.name, sha256(source)
                if not shipped.is_file() or sha256(shipped) != digest:  # else keep the time stamp
                    shutil.copyfile(source, shipped)
                files[source.name] = {"sha256": digest, "bytes": source.stat().st_size}
        files[f"{name}.safetensors"].update(
            recipe=record["recipe"], seed=record["recipe"]["seed"], figures=record["figures"],
            seconds=record["seconds"], threads=record["threads"], device="cpu",
        )  # fmt: skip
    write_json(
        WEIGHTS / "manifest.json", {"date": datetime.date.today().isoformat(), "files": files}
    )
    draw_species_and_styles(DOCS / "renders.png")
    for name in SHEETS:
        shutil.copyfile(build / f"{name}.png", DOCS / f"{name}.png")
    print(f"promoted {len(files)} files, {total / 2**20:.1f} MiB -> {WEIGHTS}")


def draw_species_and_styles(path: Path, columns: int = 10) -> None:
    """Renders of the same `columns` scenes: a row for each species as a photograph, then each style of a person."""
    import torch
    from PIL import Image

    from workflow.worlds.mini.scenes import render_uint8
    from workflow.worlds.mini.species import NUM_UNIFORMS, SPECIES, STYLES

    u = torch.rand(columns, NUM_UNIFORMS, generator=torch.Generator().manual_seed(3))
    scenes = [(species, 0) for species in range(len(SPECIES))]
    scenes += [(SPECIES.index("person"), style) for style in range(1, len(STYLES))]
    rows = [
        render_uint8(torch.full((columns,), species), torch.full((columns,), style), u, 32)
        for species, style in scenes
    ]
    grid = torch.stack(rows).permute(0, 3, 1, 4, 2).reshape(len(rows) * 32, columns * 32, 3)
    size = (columns * 64, len(rows) * 64)
    Image.fromarray(grid.numpy()).resize(size, Image.NEAREST).save(path, optimize=True)


@command
def main(argv=None) -> None:
    about = __doc__.split("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m workflow.worlds.mini.promote", description=about)
    parser.add_argument(
        "--build",
        type=Path,
        default=Path("results/world_build"),
        help="folder of the newly trained networks",
    )
    promote(parser.parse_args(argv).build)


if __name__ == "__main__":
    raise SystemExit(main())
