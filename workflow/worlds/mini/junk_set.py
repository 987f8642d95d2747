"""Make the committed set of 200 junk images that test the judge.

25 each of eight kinds, in this order: noise, patch shuffles, cross-fades, over-saturated pictures,
chimeras, fades between species, pictures optimised against a CLIP in pixel space ("adversarial"),
and images of generators trained with the global loss. Seeds differ from the judge's training, which
does not include the last two kinds. The runs with the global loss are long and without shared views:

    snakemake ablation_global --cores 2 --config preset=junk
    python -m workflow.worlds.mini.junk_set --global-runs results/junk/runs/*/nada-global/seed0
"""

from __future__ import annotations

import argparse
from pathlib import Path

from nada.run.errors import UserError, command

HERE = Path(__file__).parent
JUNK_SET = HERE / "junk.npz"
EACH = 25
KINDS = ("noise", "shuffle", "cross_fade", "drowned", "chimera", "half_way", "adversarial", "global_loss")  # fmt: skip
SEED = 9001
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


@command
def main(argv=None) -> None:
    about = __doc__.split("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m workflow.worlds.mini.junk_set", description=about)
    parser.add_argument("--global-runs", type=Path, nargs="+", required=True, help="run folders")
    parser.add_argument("--out", type=Path, default=JUNK_SET, help=".npz file to write")
    arguments = parser.parse_args(argv)
    import torch
    import yaml

    from nada.images.arrays import save_images
    from nada.images.tensors import to_uint8
    from nada.run.outputs import check_output

    for folder in arguments.global_runs:
        if not (folder / "model.safetensors").is_file():
            raise UserError(
                f"--global-runs {folder} has no model.safetensors; name finished runs."
            )
    if arguments.out != JUNK_SET:
        check_output(arguments.out)
    resolution = yaml.safe_load((HERE / "world.yaml").read_text())["resolution"]
    kinds = corrupted(EACH, resolution)
    kinds["adversarial"] = adversarial(EACH, resolution, world_clips())
    kinds["global_loss"] = of_runs(arguments.global_runs, EACH)
    images = torch.cat([kinds[name] for name in KINDS])
    save_images(arguments.out, to_uint8(images))
    print(f"{len(images)} junk pictures, {EACH} each of {', '.join(KINDS)} -> {arguments.out}")


if __name__ == "__main__":
    raise SystemExit(main())
