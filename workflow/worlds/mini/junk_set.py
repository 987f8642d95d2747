"""Make the committed set of 200 junk images that test the judge.

25 each of eight kinds, in this order: noise, patch shuffles, cross-fades, over-saturated pictures,
chimeras, fades between species or styles, pictures optimised against a CLIP in pixel space ("adversarial"),
and images of late adaptations: every loss and layer policy, several sources, long after the chosen length. Seeds
differ from the judge's training, which does not include the last two kinds.

Some late pictures still show an animal, and what people name is no junk. So a pool of late pictures is drawn
first, people name it, and those to which most give a name of this world are left out:

    snakemake ablation --cores 2 --config preset=junk
    python -m workflow.worlds.mini.junk_set --runs results/junk/runs/*/nada-*/seed0 --pool results/junk/pool
    python -m workflow.worlds.mini.junk_set --runs results/junk/runs/*/nada-*/seed0 --named results/junk/pool
"""

from __future__ import annotations

import argparse
from pathlib import Path

from nada.run.errors import UserError, command

HERE = Path(__file__).parent
JUNK_SET = HERE / "junk.npz"
EACH = 25
KINDS = ("noise", "shuffle", "cross_fade", "drowned", "chimera", "half_way", "adversarial", "adaptation")  # fmt: skip
SEED = 9001
POOL = 60  # late pictures that people name
STEPS, RATE = 150, 0.03  # of the pixel optimisation


def corrupted(count: int, resolution: int, seed: int = SEED) -> dict:
    """`count` images [N, 3, R, R] in [-1, 1] of each kind that is made from renders."""
    import torch

    from workflow.worlds.mini.junk import JUNK, half_way, junk
    from workflow.worlds.mini.scenes import from_uint8, render_uint8, sample_scenes

    generator = torch.Generator().manual_seed(seed)
    kind, style, u = sample_scenes(count * len(JUNK), generator)
    spoilt = junk(from_uint8(render_uint8(kind, style, u, resolution)), generator)
    neither = from_uint8(half_way(2 * count, generator, resolution))
    kinds = {name: spoilt[i :: len(JUNK)] for i, name in enumerate(JUNK) if name in KINDS}
    return {**kinds, "chimera": neither[:count], "half_way": neither[count:]}


def adversarial(count: int, resolution: int, clips, seed: int = SEED):
    """Noise and blobs moved in pixel space until every CLIP calls them an animal; [N, 3, R, R] in [-1, 1].

    clips: nada.clip.encoder.Clip models. Such images are junk to people, although CLIP accepts them.
    """
    import torch
    from torch.nn import functional as F

    from workflow.worlds.mini.captions import SPECIES_WORDS

    generator = torch.Generator().manual_seed(seed + 1)
    noise = torch.randn(count, 3, resolution, resolution, generator=generator)
    coarse = torch.randn(count, 3, 5, 5, generator=generator)
    blobs = F.interpolate(coarse, size=resolution, mode="bicubic", align_corners=False)
    half = torch.arange(count)[:, None, None, None] % 2 == 0
    images = torch.where(half, 0.5 * noise, 0.6 * blobs).clamp(-1, 1).requires_grad_(True)
    words = [words[0] for words in list(SPECIES_WORDS.values())[:6]]
    texts = [clip.encode_texts([f"a {words[i % 6]}" for i in range(count)]) for clip in clips]
    optimizer = torch.optim.Adam([images], lr=RATE)
    for _ in range(STEPS):
        pairs = zip(clips, texts, strict=True)
        loss = sum((1 - (clip.encode_images(images) * text).sum(1)).sum() for clip, text in pairs)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            images.clamp_(-1, 1)
    return images.detach()


def of_runs(folders: list[Path], count: int, seed: int = SEED):
    """`count` images in equal shares from finished runs, [N, 3, R, R] in [-1, 1]."""
    import torch

    from nada.run.artifact import load_artifact

    images = []
    for i, folder in enumerate(folders):
        share = count // len(folders) + (i < count % len(folders))
        model = load_artifact(folder)
        generator = torch.Generator().manual_seed(seed + 2 + i)
        z = torch.randn(share, model.generator.config["z_dim"], generator=generator)
        with torch.no_grad():
            images.append(model.sample(z))
    return torch.cat(images).clamp(-1, 1)


def world_clips() -> list:
    """The CLIPs of the mini world's adaptations, as nada.clip.encoder.Clip models on the CPU."""
    import torch
    import yaml

    from nada.clip.encoder import load_clip

    world = yaml.safe_load((HERE / "world.yaml").read_text())
    files = ("config", "weights")
    specs = [{**clip, **{key: HERE / clip[key] for key in files}} for clip in world["clips"]]
    return [load_clip(spec, torch.device("cpu")) for spec in specs]


def unnamed(folder: Path) -> list[int]:
    """Rows of the pool to which no majority of people gave a name of this world; folder: sheet and answers."""
    import pandas as pd

    from eval.study.blind_naming import answer_files
    from workflow.worlds.mini.people_set import NONE_OF_THESE, majority

    answers = [pd.read_csv(path, dtype={"name": str}).set_index("number")["name"] for path in answer_files(folder)]
    if not answers:
        raise UserError(f"{folder} has no answers_1.csv, …; let people name the pictures of sheet.png first.")
    for one in answers:
        if missing := sorted(set(range(1, POOL + 1)) - set(one.dropna().index)):
            raise UserError(f"{folder}: somebody gave picture {missing[0]} no name.")
    return [row for row in range(POOL) if majority([one[row + 1] for one in answers]) == NONE_OF_THESE]


@command
def main(argv=None) -> None:
    about = __doc__.split("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m workflow.worlds.mini.junk_set", description=about)
    parser.add_argument("--runs", type=Path, nargs="+", required=True, help="folders of late runs")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--pool", type=Path, help="folder for the sheet of late pictures that people name")
    what.add_argument("--named", type=Path, help="that folder, with people's answers: write the set")
    parser.add_argument("--out", type=Path, default=JUNK_SET, help=".npz file to write")
    arguments = parser.parse_args(argv)
    import torch
    import yaml

    from nada.images.arrays import save_images
    from nada.images.tensors import to_uint8
    from nada.run.outputs import check_output

    for folder in arguments.runs:
        if not (folder / "model.safetensors").is_file():
            raise UserError(f"--runs {folder} has no model.safetensors; name finished runs.")
    if arguments.out != JUNK_SET:
        check_output(arguments.out)
    late = of_runs(arguments.runs, POOL)
    late = late[torch.randperm(POOL, generator=torch.Generator().manual_seed(SEED))]
    if arguments.pool:
        from eval.study.blind_naming import answer_files, draw_sheet

        for path in answer_files(arguments.pool):
            raise UserError(f"{path} has answers to the sheet that is there; choose another folder.")
        arguments.pool.mkdir(parents=True, exist_ok=True)
        draw_sheet(to_uint8(late), arguments.pool / "sheet.png")
        print(f"{POOL} late pictures -> {arguments.pool / 'sheet.png'}")
        return
    rows = unnamed(arguments.named)
    if len(rows) < EACH:
        raise UserError(f"people gave names to all but {len(rows)} of {POOL} late pictures; train longer runs.")
    resolution = yaml.safe_load((HERE / "world.yaml").read_text())["resolution"]
    kinds = corrupted(EACH, resolution)
    kinds["adversarial"] = adversarial(EACH, resolution, world_clips())
    kinds["adaptation"] = late[rows[:EACH]]
    images = torch.cat([kinds[name] for name in KINDS])
    save_images(arguments.out, to_uint8(images))
    print(f"{len(images)} junk pictures, {EACH} each of {', '.join(KINDS)} -> {arguments.out}")


if __name__ == "__main__":
    raise SystemExit(main())
