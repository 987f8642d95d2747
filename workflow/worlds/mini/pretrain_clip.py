"""Train a CLIP of the mini world from scratch on contrastive pairs of pictures and captions.

The pictures come from a *shifted* camera (shifted_camera.py: other palettes and backgrounds, foreign
coats, chimeras, near misses, hybrids, missing combinations), so that neither colour nor a single
part determines the species. The loss is symmetric InfoNCE in which captions with the same tokens are
positives of each other (templates would otherwise be false negatives). An auxiliary loss trains linear
read-outs of each part's species, which speeds up learning from captions that name parts; the read-outs
are dropped. Every model is trained on one-step adversarial images within an L2 ball, so that its
gradients change shapes and not tints. The record has the accuracy on both cameras.

    python -m workflow.worlds.mini.pretrain_clip --name a --out results/world_build
"""

from __future__ import annotations

import argparse
import json
import math
import random
from pathlib import Path

from nada.run.errors import command
from workflow.worlds.mini.clock import Clock

# Sizes and recipe of each model: two transformers with different patch sizes, so that their errors
# differ, and a convolutional one, trained to be more robust.
# hybrids: share of training faces that show a second species as well.
# radius: of the adversarial L2 ball on [-1, 1] pixels at 32x32; 0 trains a standard model.
# noise: the largest standard deviation in a training view.
# max_logit_scale: low, so that a picture must lie close to its caption to win: then a direction
# between texts fits the direction between images.
# foreign_coats: share of training animals with the colours of another species: 0 makes coats count.
# pairs: of `pairs.py`, in each step. hardened: whether `harden_clip.py` trains it further.
RECIPES = {
    "a": {"hardened": True, "patch": 4, "width": 96, "layers": 3, "steps": 2200, "batch": 96, "pairs": 16, "lr": 1e-3, "radius": 1.5, "hybrids": 0.1, "foreign_coats": 0.0, "noise": 0.25, "max_logit_scale": 5.0, "seed": 101},
    "b": {"hardened": True, "patch": 8, "width": 128, "layers": 4, "steps": 2000, "batch": 96, "pairs": 16, "lr": 1e-3, "radius": 1.5, "hybrids": 0.1, "foreign_coats": 0.1, "noise": 0.25, "max_logit_scale": 5.0, "seed": 202},
    "c": {"hardened": False, "residual": [1, 1, 1, 1], "side": 64, "width": 16, "steps": 1400, "batch": 96, "pairs": 16, "lr": 1e-3, "radius": 1.5, "hybrids": 0.1, "foreign_coats": 0.1, "noise": 0.25, "max_logit_scale": 5.0, "seed": 505},
}  # fmt: skip
DIRECTION_WEIGHT, ALIGNMENT_WEIGHT = 1.0, 1.0  # of the pairs' losses
CHECKPOINT_EVERY = 200  # steps
POOL = 40_000  # pre-rendered training images
PAIR_BLOCKS = 320  # pre-rendered blocks of pairs, each of one palette
WEIGHT_DECAY = 0.05
NO_LABEL = -100  # of a hybrid's parts: cross-entropy leaves it out
READOUT_SCALE, READOUT_WEIGHT = 10.0, 1.0
HELD_OUT = 1400


def model_config(recipe: dict, resolution: int) -> dict:
    """The open_clip model configuration, with the mini world's tokenizer and pixel statistics."""
    from workflow.worlds.mini.captions import CONTEXT_LENGTH, VOCABULARY

    if "patch" in recipe:
        tower = {
            "image_size": resolution,
            "patch_size": recipe["patch"] * resolution // 32,
            "layers": recipe["layers"],
        }
    else:  # open_clip's residual network; its stem needs pictures of twice the side
        tower = {"image_size": recipe["side"] * resolution // 32, "layers": recipe["residual"]}
    return {
        "embed_dim": 64,
        "vision_cfg": {**tower, "width": recipe["width"], "head_width": 32},
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


def embed(model, images):
    """Unit embeddings [N, E] of images [N, 3, R, R] in [-1, 1], enlarged to the model's side."""
    from torch.nn import functional as F

    side = model.visual.image_size
    side = side if isinstance(side, int) else side[0]
    if side != images.shape[-1]:
        images = F.interpolate(
            images, size=side, mode="bicubic", align_corners=False, antialias=True
        )
    return model.encode_image(images, normalize=True)


def contrastive_loss(image_features, text_features, tokens, logit_scale):
    """Symmetric InfoNCE with multi-positives; features unit [N, E], tokens int [N, L]."""
    same = (tokens[:, None] == tokens[None]).all(dim=2).float()
    target = same / same.sum(dim=1, keepdim=True)
    logits = logit_scale * image_features @ text_features.T
    by_image = -(target * logits.log_softmax(dim=1)).sum(dim=1).mean()
    by_text = -(target * logits.T.log_softmax(dim=1)).sum(dim=1).mean()
    return (by_image + by_text) / 2


def adversarial(model, images, text, tokens, radius: float, generator):
    """One step up the loss within an L2 ball of a random radius up to `radius`; [N, 3, R, R] -> the same.

    The step starts near the image, so that its gradient cannot be memorised.
    """
    import torch
    from torch.nn import functional as F

    def unit(x):
        return F.normalize(x.flatten(1), dim=1).view_as(x)

    beside = images + 0.3 * unit(torch.randn(images.shape, generator=generator))
    beside.requires_grad_(True)
    scale = model.logit_scale.exp().detach()
    loss = contrastive_loss(embed(model, beside), text, tokens, scale)
    (gradient,) = torch.autograd.grad(loss, beside)
    length = radius * torch.rand(len(images), 1, 1, 1, generator=generator)
    return (beside + length * unit(gradient)).detach()


class PartReadout:
    """Linear read-outs of each part's species from the unit embedding: an auxiliary loss."""

    def __init__(self, embed_dim: int) -> None:
        import torch

        from workflow.worlds.mini.species import PARTS, SPECIES

        self.shape = (len(PARTS) - 1, len(SPECIES))  # all parts but the coat
        self.linear = torch.nn.Linear(embed_dim, self.shape[0] * self.shape[1])

    def loss(self, features, parts):
        """Cross-entropy, mean over parts; features unit [N, E], parts int64 [N, len(PARTS)]."""
        from torch.nn import functional as F

        logits = READOUT_SCALE * self.linear(features)
        return F.cross_entropy(
            logits.view(-1, self.shape[1]), parts[:, : self.shape[0]].reshape(-1)
        )


def degrade(images, noise: float, generator):
    """Blur half of the images by a random amount, add noise of up to `noise` to all; [N, 3, R, R] -> same."""
    import torch
    from torch.nn import functional as F

    n = len(images)
    blur, sigma = torch.rand(2, n, 1, 1, 1, generator=generator)
    blur = blur * (torch.rand(n, 1, 1, 1, generator=generator) < 0.5)
    soft = F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    grain = torch.randn(images.shape, generator=generator)
    return images + blur * (soft - images) + noise * sigma * grain


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
        features = torch.cat([embed(model, part) for part in images.split(200)])
        hit = (features @ text.T).argmax(dim=1) == labels
    return float((hit if keep is None else hit[keep]).float().mean())


def held_out_figures(model, tokenizer, seed: int, resolution: int) -> dict:
    """Zero-shot accuracies on fresh pictures of the standard camera and of the shifted one."""
    import torch

    from workflow.worlds.mini.captions import SPECIES_WORDS, STYLE_WORDS
    from workflow.worlds.mini.scenes import from_uint8, render_uint8, sample_scenes
    from workflow.worlds.mini.shifted_camera import shifted_scenes

    generator = torch.Generator().manual_seed(seed)
    kinds, manners = [w[0] for w in SPECIES_WORDS.values()], [w[0] for w in STYLE_WORDS.values()]
    species, style, u = sample_scenes(HELD_OUT, generator)
    images = from_uint8(render_uint8(species, style, u, resolution))
    scenes = shifted_scenes(HELD_OUT, generator, resolution)
    shifted, manner = from_uint8(scenes.images), scenes.style
    return {
        "zero_shot_species": zero_shot(model, tokenizer, images, species, kinds),
        "zero_shot_species_photo": zero_shot(model, tokenizer, images, species, kinds, style == 0),
        "zero_shot_style": zero_shot(model, tokenizer, images, style, manners),
        "shifted_zero_shot_species": zero_shot(
            model, tokenizer, shifted, scenes.species, kinds, scenes.whole
        ),
        "shifted_zero_shot_style": zero_shot(model, tokenizer, shifted, manner, manners),
        "held_out_images": HELD_OUT,
    }


class Lesson:
    """What a CLIP is taught: pre-rendered scenes and pairs, and the loss of a random batch of them.

    recipe: an entry of RECIPES. Draws from torch's generator and from `words`, a random.Random.
    """

    def __init__(self, recipe: dict, tokenizer, resolution: int, generator, words) -> None:
        import torch

        from workflow.worlds.mini.captions import part_words
        from workflow.worlds.mini.pairs import class_words, draw_pairs
        from workflow.worlds.mini.shifted_camera import shifted_scenes

        self.recipe, self.tokenizer, self.resolution = recipe, tokenizer, resolution
        self.generator, self.words = generator, words
        scenes = shifted_scenes(
            POOL, generator, resolution, recipe["hybrids"], recipe["foreign_coats"]
        )
        self.class_words = class_words()
        self.blocks = [draw_pairs(recipe["pairs"], generator, resolution) for _ in range(PAIR_BLOCKS)]
        species = [one if one >= 0 else None for one in scenes.species.tolist()]
        for row in (scenes.second >= 0).nonzero()[:, 0].tolist():  # hybrids
            species[row] = (species[row], int(scenes.second[row]))
        self.scenes, self.species, self.style = scenes, species, scenes.style.tolist()
        self.told, self.foreign = part_words(scenes.parts, scenes.u), scenes.foreign.tolist()
        self.labels = torch.where(scenes.second[:, None] >= 0, NO_LABEL, scenes.parts)

    def loss(self, model, readout) -> tuple:
        """(scalar to minimise, {name: value}) of a random batch; readout: a PartReadout, or None."""
        import torch

        from workflow.worlds.mini.captions import caption
        from workflow.worlds.mini.scenes import augment, from_uint8
        from workflow.worlds.mini.shifted_camera import erase, recolour

        recipe, generator = self.recipe, self.generator
        rows = torch.randint(POOL, (recipe["batch"],), generator=generator)
        images = recolour(from_uint8(self.scenes.images[rows]), self.scenes.style[rows], generator)
        images = augment(erase(images, generator), generator)
        images = degrade(images, recipe["noise"], generator)
        tokens = self.tokenizer(
            [
                caption(self.species[r], self.style[r], self.told[r], self.words, self.foreign[r])
                for r in rows.tolist()
            ]
        )
        text = model.encode_text(tokens, normalize=True)
        if recipe["radius"]:  # half of the images become adversarial
            count = len(images) // 2
            radius = recipe["radius"] * self.resolution / 32
            images[:count] = adversarial(
                model, images[:count], text[:count].detach(), tokens[:count], radius, generator
            )
        features = embed(model, images)
        loss = contrast = contrastive_loss(features, text, tokens, model.logit_scale.exp())
        direction, alignment = self.direction_losses(model)
        loss = loss + DIRECTION_WEIGHT * direction + ALIGNMENT_WEIGHT * alignment
        terms = {"contrast": contrast, "direction": direction, "alignment": alignment}
        if readout is not None:
            terms["parts"] = readout.loss(features, self.labels[rows])
            loss = loss + READOUT_WEIGHT * terms["parts"]
        return loss, {name: term.item() for name, term in terms.items()}

    def directions(self, model):
        """Unit embeddings of class_words in one random template, [W, E]."""
        from workflow.worlds.mini.captions import TEMPLATES

        template = self.words.choice(TEMPLATES)
        return model.encode_text(
            self.tokenizer([template.format(word) for word in self.class_words]), normalize=True
        )

    def direction_losses(self, model):
        """The two losses of a random block of pairs (pairs.py)."""
        import torch

        from workflow.worlds.mini.pairs import direction_loss, shared_views
        from workflow.worlds.mini.scenes import from_uint8

        pairs = self.blocks[int(torch.randint(len(self.blocks), (1,), generator=self.generator))]
        views = shared_views(from_uint8(pairs.images), self.recipe["noise"], self.generator)
        embeddings = embed(model, views).unflatten(0, pairs.images.shape[:2])
        return direction_loss(embeddings, self.directions(model), pairs.source, pairs.target)


def limit_scale(model, recipe: dict) -> None:
    """Keep CLIP's logit scale below the recipe's."""
    import torch

    with torch.no_grad():
        model.logit_scale.clamp_(max=math.log(recipe["max_logit_scale"]))


def save_clip(path: Path, model, config: dict) -> None:
    """Write a CLIP in half precision, with its configuration as metadata."""
    from safetensors.torch import save_file

    from nada.run.atomic import atomic_path

    weights = {
        key: (value.half() if value.is_floating_point() else value).contiguous()
        for key, value in model.state_dict().items()
    }
    with atomic_path(path) as temporary:
        save_file(weights, temporary, metadata={"config": json.dumps(config)})


def train(name: str, out: Path, resolution: int) -> None:
    """Train RECIPES[name], resuming where an earlier attempt stopped; write weights, config and record."""
    import open_clip
    import torch

    from nada.clip.encoder import WordTokenizer
    from nada.run.atomic import atomic_path
    from nada.run.training_state import TrainingState
    from workflow.worlds.mini.scenes import cosine

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
    readout = PartReadout(config["embed_dim"])
    optimizer = torch.optim.AdamW(
        [*model.parameters(), *readout.linear.parameters()],
        lr=recipe["lr"],
        weight_decay=WEIGHT_DECAY,
        betas=(0.9, 0.98),
    )
    lesson = Lesson(recipe, tokenizer, resolution, generator, words)
    state = TrainingState(out / "state", f"clip_{name}_{resolution}")
    start, clock = 0, Clock()
    if (saved := state.load()) is not None:
        start, payload = saved
        model.load_state_dict(payload["model"])
        readout.linear.load_state_dict(payload["readout"])
        optimizer.load_state_dict(payload["optimizer"])
        generator.set_state(payload["generator"])
        clock.load_state_dict(payload["clock"])
        words.setstate((3, tuple(payload["words"].tolist()), None))
        print(f"clip {name}: resumes at step {start}", flush=True)

    for step in range(start, recipe["steps"]):
        for group in optimizer.param_groups:
            group["lr"] = cosine(step, recipe["steps"], recipe["lr"])
        loss, terms = lesson.loss(model, readout)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        limit_scale(model, recipe)
        if step % 50 == 0:
            told = " ".join(f"{key} {value:.3f}" for key, value in terms.items())
            print(f"clip {name}: step {step}/{recipe['steps']} {told} {clock.seconds():.0f} s", flush=True)
        if (step + 1) % CHECKPOINT_EVERY == 0:
            payload = {"model": model.state_dict(), "readout": readout.linear.state_dict(), "optimizer": optimizer.state_dict(), "clock": clock.state_dict(),
                       "generator": generator.get_state(), "words": torch.tensor(words.getstate()[1])}  # fmt: skip
            state.save(step + 1, payload)

    model.eval()
    figures = held_out_figures(model, tokenizer, recipe["seed"] + 1, resolution)
    print(f"clip {name}: {figures}", flush=True)
    out.mkdir(parents=True, exist_ok=True)
    suffix = ".plain" if recipe["hardened"] else ""  # harden_clip.py then writes the file without it
    save_clip(out / f"clip_{name}{suffix}.safetensors", model, config)
    with atomic_path(out / f"clip_{name}.json") as path:
        path.write_text(json.dumps(config, indent=1) + "\n")
    record = {
        "recipe": recipe,
        "figures": figures,
        "seconds": round(clock.seconds()),
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
