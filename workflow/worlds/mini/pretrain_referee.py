"""Train the mini world's referee from scratch: the perceptual network or the judge.

The perceptual network learns species, style and factors; its stages are the LPIPS trunk and its pooled
features those of FID. The judge also learns the class "none of these" from junk pictures and from faces
half-way between two species. It is trained on one-step adversarial images and blur, since a plain classifier
accepts a coloured ball as a cat. The two networks, the CLIPs and the reference sets have different renders,
seeds and architectures.

    python -m workflow.worlds.mini.pretrain_referee --name judge --out results/world_build
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from nada.run.errors import command
from workflow.worlds.mini.clock import Clock

RECIPES = {
    "perceptual": {"steps": 1100, "batch": 96, "lr": 2e-3, "junk": 0.0, "radius": 0.0, "seed": 303},
    "judge": {"steps": 2600, "batch": 96, "lr": 2e-3, "junk": 0.35, "radius": 1.2, "seed": 404},
}
CHECKPOINT_EVERY = 200  # steps
POOL = 24_000
HALF_WAY = 10_000  # faces between two species, for the judge
FACTOR_WEIGHT = 2.0
FOREIGN_COAT = 0.15  # share of animals in the colours of another species, which keep their name
HELD_OUT = 1400
HELD_OUT_JUNK = 300


def soften(images, generator, noise: float = 0.10):
    """Noise and, for half of the images, blur: [N, 3, R, R] -> the same shape. Factors stay readable."""
    import torch
    from torch.nn import functional as F

    n = len(images)
    share = torch.rand(n, 1, 1, 1, generator=generator) * (
        torch.rand(n, 1, 1, 1, generator=generator) < 0.5
    )
    blurred = F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    images = images + share * (blurred - images)
    return images + noise * torch.rand(n, 1, 1, 1, generator=generator) * torch.randn(
        images.shape, generator=generator
    )


def loss_of(output: dict, classes, styles, factors, junk_rows):
    """Cross-entropy of class and style plus squared error of the factors (these two on pictures of something)."""
    from torch.nn import functional as F

    real = ~junk_rows
    return (
        F.cross_entropy(output["class_logits"], classes)
        + 0.5 * F.cross_entropy(output["style_logits"][real], styles[real])
        + FACTOR_WEIGHT * F.mse_loss(output["factors"][real], factors[real])
    )


def correlations(predicted, truth) -> list[float]:
    """Pearson correlation of each factor over held-out pictures, rounded to 3 digits."""
    import torch

    a, b = predicted - predicted.mean(0), truth - truth.mean(0)
    values = (a * b).sum(0) / torch.sqrt((a**2).sum(0) * (b**2).sum(0))
    return [round(float(v), 3) for v in values]


def train(name: str, out: Path, resolution: int) -> None:
    """Train RECIPES[name], resuming where an earlier attempt stopped; write weights and record."""
    import torch
    from torch.nn import functional as F

    from eval.networks.referee import JudgeNet, PerceptualNet, save_network
    from nada.run.atomic import atomic_path
    from nada.run.training_state import TrainingState
    from workflow.worlds.mini.junk import half_way, junk
    from workflow.worlds.mini.renderer import factors
    from workflow.worlds.mini.scenes import cosine, from_uint8, render_uint8, sample_scenes
    from workflow.worlds.mini.species import ANIMALS, FACTORS, PARTS, SPECIES, STYLES

    recipe = RECIPES[name]
    torch.manual_seed(recipe["seed"])
    generator = torch.Generator().manual_seed(recipe["seed"])
    network = {"perceptual": PerceptualNet, "judge": JudgeNet}[name](SPECIES, STYLES, FACTORS)
    print(
        f"{name}: {sum(p.numel() for p in network.parameters()):,} parameters, {recipe}", flush=True
    )
    optimizer = torch.optim.AdamW(network.parameters(), lr=recipe["lr"], weight_decay=0.02)
    species, style, u = sample_scenes(POOL, generator)
    parts = species[:, None].repeat(1, len(PARTS))
    foreign = torch.rand(POOL, generator=generator) < FOREIGN_COAT
    foreign &= species < len(ANIMALS)
    coats = torch.randint(len(ANIMALS), (POOL,), generator=generator)
    parts[:, PARTS.index("coat")] = torch.where(foreign, coats, species)
    pool, labels = render_uint8(parts, style, u, resolution), factors(parts, u)
    none_class = len(SPECIES)
    between = half_way(HALF_WAY, generator, resolution) if recipe["junk"] else None

    state = TrainingState(out / "state", f"{name}_{resolution}")
    start, clock = 0, Clock()
    if (saved := state.load()) is not None:
        start, payload = saved
        network.load_state_dict(payload["network"])
        optimizer.load_state_dict(payload["optimizer"])
        generator.set_state(payload["generator"])
        clock.load_state_dict(payload["clock"])
        print(f"{name}: resumes at step {start}", flush=True)

    for step in range(start, recipe["steps"]):
        rows = torch.randint(POOL, (recipe["batch"],), generator=generator)
        images, classes = from_uint8(pool[rows]), species[rows].clone()
        junk_rows = torch.zeros(len(rows), dtype=torch.bool)
        if count := int(recipe["junk"] * recipe["batch"]):
            between_rows = torch.randint(HALF_WAY, (count // 2,), generator=generator)
            images[: count // 2] = from_uint8(between[between_rows])
            images[count // 2 : count] = junk(images[count // 2 : count], generator)
            classes[:count], junk_rows[:count] = none_class, True
        images = soften(images, generator)
        for group in optimizer.param_groups:
            group["lr"] = cosine(step, recipe["steps"], recipe["lr"])
        network.train()
        if recipe["radius"] and step % 2:
            images.requires_grad_(True)
            attack = F.cross_entropy(network(images)["class_logits"], classes)
            (gradient,) = torch.autograd.grad(attack, images)
            radius = recipe["radius"] * torch.rand(len(images), 1, 1, 1, generator=generator)
            images = (
                images + radius * F.normalize(gradient.flatten(1), dim=1).view_as(images)
            ).detach()
        loss = loss_of(network(images), classes, style[rows], labels[rows], junk_rows)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if step % 50 == 0:
            print(
                f"{name}: step {step}/{recipe['steps']} loss {loss.item():.3f} {clock.seconds():.0f} s",
                flush=True,
            )
        if (step + 1) % CHECKPOINT_EVERY == 0:
            payload = {
                "network": network.state_dict(),
                "optimizer": optimizer.state_dict(),
                "generator": generator.get_state(),
                "clock": clock.state_dict(),
            }
            state.save(step + 1, payload)

    network.eval()
    held_out = torch.Generator().manual_seed(recipe["seed"] + 1)
    species, style, u = sample_scenes(HELD_OUT, held_out)
    images = from_uint8(render_uint8(species, style, u, resolution))
    with torch.no_grad():
        answers = [network(part) for part in images.split(200)]
        output = {key: torch.cat([answer[key] for answer in answers]) for key in answers[0]}
        figures = {
            "species": float((output["class_logits"].argmax(1) == species).float().mean()),
            "style": float((output["style_logits"].argmax(1) == style).float().mean()),
            "factor_correlation": dict(
                zip(FACTORS, correlations(output["factors"], factors(species, u)), strict=True)
            ),
            "held_out_images": HELD_OUT,
        }
        if recipe["junk"]:
            neither = from_uint8(half_way(HELD_OUT_JUNK, held_out, resolution))
            for kind, pictures in (
                ("junk", junk(images[:HELD_OUT_JUNK], held_out)),
                ("chimeras", neither[: HELD_OUT_JUNK // 2]),
                ("half_species", neither[HELD_OUT_JUNK // 2 : 3 * HELD_OUT_JUNK // 4]),
                ("half_styles", neither[3 * HELD_OUT_JUNK // 4 :]),
            ):
                verdict = network(pictures)["class_logits"].argmax(1)
                share = float((verdict == none_class).float().mean())
                figures[f"none_of_these_on_{kind}"] = share
            figures["held_out_junk"] = HELD_OUT_JUNK
    print(f"{name}: {figures}", flush=True)
    out.mkdir(parents=True, exist_ok=True)
    record = {
        "recipe": recipe,
        "figures": figures,
        "seconds": round(clock.seconds()),
        "threads": torch.get_num_threads(),
    }
    save_network(out / f"{name}.safetensors", network, {"recipe": json.dumps(recipe)})
    with atomic_path(out / f"{name}.record.json") as path:
        path.write_text(json.dumps(record, indent=1) + "\n")


@command
def main(argv=None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--name", choices=sorted(RECIPES), required=True, help="which network")
    parser.add_argument("--out", type=Path, required=True, help="folder for weights and record")
    parser.add_argument("--resolution", type=int, default=32, help="image side in pixels")
    arguments = parser.parse_args(argv)
    train(arguments.name, arguments.out, arguments.resolution)


if __name__ == "__main__":
    raise SystemExit(main())
