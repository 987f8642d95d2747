"""Train a CLIP of the mini world from nothing: contrastive pairs of renders and captions.

Symmetric InfoNCE in which captions with the same tokens count as positives of each other (templates
would otherwise be false negatives). A *robust* model also sees one-step adversarial images within an
L2 ball, so that its gradients move shapes rather than tints; its cost in accuracy is reported.

    python -m workflow.worlds.mini.pretrain_clip --name a --out results/world_build
"""

from __future__ import annotations

import argparse
import json
import random
import time
from pathlib import Path

from nada.errors import command

# Sizes and recipe of each model. Patch sizes differ so that the two do not share blind spots.
RECIPES = {
    "a": {"patch": 4, "width": 96, "layers": 3, "steps": 1400, "batch": 128, "lr": 1e-3, "radius": 0.0, "seed": 101},
    "b": {"patch": 8, "width": 128, "layers": 4, "steps": 1600, "batch": 96, "lr": 1e-3, "radius": 1.5, "seed": 202},
}  # fmt: skip
CHECKPOINT_EVERY = 200  # steps
POOL = 24_000  # pre-rendered training images
WEIGHT_DECAY = 0.05
MAX_LOGIT_SCALE = 60.0
HELD_OUT = 1400


def model_config(recipe: dict, resolution: int) -> dict:
    """The open_clip model configuration, with the mini world's tokenizer and pixel statistics."""
    from workflow.worlds.mini.captions import CONTEXT_LENGTH, VOCABULARY

    return {
        "embed_dim": 64,
        "vision_cfg": {
            "image_size": resolution,
            "patch_size": recipe["patch"] * resolution // 32,
            "width": recipe["width"],
            "layers": recipe["layers"],
            "head_width": 32,
        },
        "text_cfg": {
            "context_length": CONTEXT_LENGTH,
            "vocab_size": len(VOCABULARY) + 3,
            "width": 64,
            "heads": 2,
            "layers": 2,
        },
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "tokenizer": {"type": "words", "words": list(VOCABULARY), "context_length": CONTEXT_LENGTH},
    }


def contrastive_loss(image_features, text_features, tokens, logit_scale):
    """Symmetric InfoNCE with multi-positives; features unit [N, E], tokens int [N, L]."""
    same = (tokens[:, None] == tokens[None]).all(dim=2).float()
    target = same / same.sum(dim=1, keepdim=True)
    logits = logit_scale * image_features @ text_features.T
    by_image = -(target * logits.log_softmax(dim=1)).sum(dim=1).mean()
    by_text = -(target * logits.T.log_softmax(dim=1)).sum(dim=1).mean()
    return (by_image + by_text) / 2


def zero_shot(model, tokenizer, images, labels, words, keep=None) -> float:
    """Zero-shot accuracy over class words with the neutral templates; images in [-1, 1]."""
    import torch

    from workflow.worlds.mini.captions import TEMPLATES

    with torch.no_grad():
        text = torch.stack(
            [
                model.encode_text(tokenizer([t.format(w) for t in TEMPLATES]), normalize=True).mean(
                    0
                )
                for w in words
            ]
        )
        features = torch.cat(
            [model.encode_image(part, normalize=True) for part in images.split(200)]
        )
        hit = (features @ text.T).argmax(dim=1) == labels
    return float((hit if keep is None else hit[keep]).float().mean())


def train(name: str, out: Path, resolution: int) -> None:
    """Train RECIPES[name], resuming where an earlier attempt stopped; write weights, config and record."""
    import open_clip
    import torch
    from safetensors.torch import save_file
    from torch.nn import functional as F

    from nada.atomic import atomic_path
    from nada.clip import WordTokenizer
    from nada.training_state import TrainingState
    from workflow.worlds.mini.captions import SPECIES_WORDS, STYLE_WORDS, caption
    from workflow.worlds.mini.scenes import augment, cosine, from_uint8, render_uint8, sample_scenes

    recipe = RECIPES[name]
    config = model_config(recipe, resolution)
    torch.manual_seed(recipe["seed"])
    generator = torch.Generator().manual_seed(recipe["seed"])
    words = random.Random(recipe["seed"])
    tokenizer = WordTokenizer(config["tokenizer"]["words"], config["tokenizer"]["context_length"])
    model = open_clip.model.CLIP(
        embed_dim=config["embed_dim"], vision_cfg=config["vision_cfg"], text_cfg=config["text_cfg"]
    )
    print(
        f"clip {name}: {sum(p.numel() for p in model.parameters()):,} parameters, {recipe}",
        flush=True,
    )
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe["lr"], weight_decay=WEIGHT_DECAY, betas=(0.9, 0.98)
    )

    species, style, u = sample_scenes(POOL, generator)
    pool = render_uint8(species, style, u, resolution)
    state = TrainingState(out / "state", f"clip_{name}_{resolution}")
    start, began = 0, time.time()
    if (saved := state.load()) is not None:
        start, payload = saved
        model.load_state_dict(payload["model"])
        optimizer.load_state_dict(payload["optimizer"])
        generator.set_state(payload["generator"])
        words.setstate((3, tuple(payload["words"].tolist()), None))
        print(f"clip {name}: resumes at step {start}", flush=True)

    for step in range(start, recipe["steps"]):
        rows = torch.randint(POOL, (recipe["batch"],), generator=generator)
        images = augment(from_uint8(pool[rows]), generator)
        tokens = tokenizer([caption(int(species[r]), int(style[r]), words) for r in rows])
        for group in optimizer.param_groups:
            group["lr"] = cosine(step, recipe["steps"], recipe["lr"])
        text = model.encode_text(tokens, normalize=True)
        if recipe["radius"] and step % 2:  # every other step on adversarial images
            images.requires_grad_(True)
            attack = contrastive_loss(
                model.encode_image(images, normalize=True),
                text.detach(),
                tokens,
                model.logit_scale.exp().detach(),
            )
            (gradient,) = torch.autograd.grad(attack, images)
            radius = recipe["radius"] * torch.rand(len(images), 1, 1, 1, generator=generator)
            images = (
                images + radius * F.normalize(gradient.flatten(1), dim=1).view_as(images)
            ).detach()
        loss = contrastive_loss(
            model.encode_image(images, normalize=True), text, tokens, model.logit_scale.exp()
        )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(max=float(torch.tensor(MAX_LOGIT_SCALE).log()))
        if step % 50 == 0:
            print(
                f"clip {name}: step {step}/{recipe['steps']} loss {loss.item():.3f} {time.time() - began:.0f} s",
                flush=True,
            )
        if (step + 1) % CHECKPOINT_EVERY == 0:
            payload = {"model": model.state_dict(), "optimizer": optimizer.state_dict(),
                       "generator": generator.get_state(), "words": torch.tensor(words.getstate()[1])}  # fmt: skip
            state.save(step + 1, payload)

    model.eval()
    held_out = torch.Generator().manual_seed(recipe["seed"] + 1)
    species, style, u = sample_scenes(HELD_OUT, held_out)
    images = from_uint8(render_uint8(species, style, u, resolution))
    kinds, manners = [w[0] for w in SPECIES_WORDS.values()], [w[0] for w in STYLE_WORDS.values()]
    figures = {
        "zero_shot_species": zero_shot(model, tokenizer, images, species, kinds),
        "zero_shot_species_photo": zero_shot(model, tokenizer, images, species, kinds, style == 0),
        "zero_shot_style": zero_shot(model, tokenizer, images, style, manners),
        "held_out_images": HELD_OUT,
    }
    print(f"clip {name}: {figures}", flush=True)
    out.mkdir(parents=True, exist_ok=True)
    weights = {
        key: value.half().contiguous()
        for key, value in model.state_dict().items()
        if value.is_floating_point()
    }
    with atomic_path(out / f"clip_{name}.safetensors") as path:
        save_file(weights, path, metadata={"config": json.dumps(config)})
    with atomic_path(out / f"clip_{name}.json") as path:
        path.write_text(json.dumps(config, indent=1) + "\n")
    record = {
        "recipe": recipe,
        "figures": figures,
        "seconds": round(time.time() - began),
        "threads": torch.get_num_threads(),
    }
    with atomic_path(out / f"clip_{name}.record.json") as path:
        path.write_text(json.dumps(record, indent=1) + "\n")


@command
def main(argv=None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--name", choices=sorted(RECIPES), required=True, help="which model")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for weights, config and record"
    )
    parser.add_argument("--resolution", type=int, default=32, help="image side in pixels")
    arguments = parser.parse_args(argv)
    train(arguments.name, arguments.out, arguments.resolution)


if __name__ == "__main__":
    raise SystemExit(main())
