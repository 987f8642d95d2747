"""Train the steering CLIPs of the mini world further against live adaptations: `a` and `b` together.

Several adaptations are in flight against the CLIPs as they are now: a source model moves towards a species or style
by the directional loss. The renderer knows the true counterpart of every picture that they make. The CLIPs learn
that an adapted picture lies less far along the text's direction than its counterpart, by a margin that grows with
its distance from the counterpart: a smear is told to be one, and a picture that is right is not. No adaptation goes
to the target of a task, neither of a test task nor of a development task.

    python -m workflow.worlds.mini.harden_clip --out results/world_build
"""

from __future__ import annotations

import argparse
import copy
import json
import random
from pathlib import Path

from nada.run.errors import UserError, command
from workflow.worlds.mini.clock import Clock

NAMES = ("a", "b")
# steps: of the CLIPs. runs: adaptations in flight. advances: their steps for each of the CLIPs'. length: steps
# after which an adaptation starts again. rates: Adam's learning rates, as in the benchmark. keep: pictures of an
# adaptation in a step. margin: of cosines, for a picture that is as far from its counterpart as its source is.
RECIPE = {"steps": 300, "runs": 6, "advances": 2, "length": (20, 200), "rates": (0.003, 0.006), "batch": 4, "keep": 16,
          "margin": 0.6, "weight": 3.0, "lr": 2e-4, "seed": 606}  # fmt: skip
CHECKPOINT_EVERY = 50
EPSILON = 0.05  # of the directional loss (nada/losses.py), as in the benchmark


class Adaptation:
    """A source model on its way to a random target: its adapted copy, optimiser, target, and steps left."""

    def __init__(self, sources: dict, generator) -> None:
        self.sources, self.generator = sources, generator
        self.left = 0

    def restart(self) -> None:
        """Draw a domain, a target, a rate and a length, and start from the source."""
        import torch

        def draw(count: int) -> int:
            return int(torch.randint(count, (1,), generator=self.generator))

        self.domain = list(self.sources)[draw(len(self.sources))]
        frozen, family = self.sources[self.domain]
        self.target = family.members[1 + draw(len(family.members) - 1)]
        self.trained = copy.deepcopy(frozen)
        self.trained.requires_grad_(False)
        parameters = [
            p for conv in self.trained.synthesis.convs for p in (conv.weight, conv.bias)
        ]
        for parameter in parameters:
            parameter.requires_grad_(True)
        low, high = RECIPE["rates"]
        rate = low + (high - low) * float(torch.rand(1, generator=self.generator))
        self.optimizer = torch.optim.Adam(parameters, lr=rate, betas=(0.0, 0.99))
        shortest, longest = RECIPE["length"]
        self.left = shortest + draw(longest - shortest)

    def render(self, count: int):
        """(source's, adapted) images [count, 3, R, R] of new codes, and their z [count, z_dim]."""
        import torch

        frozen, _ = self.sources[self.domain]
        z = torch.randn(count, frozen.config["z_dim"], generator=self.generator)
        with torch.no_grad():
            w_plus = frozen.broadcast(frozen.mapping(z))
            before = frozen.synthesis(w_plus, noise_mode="const")
        return before, self.trained.synthesis(w_plus, noise_mode="const"), z

    def advance(self, models, directions) -> None:
        """One step of NADA with all layers against the CLIPs; directions: unit ΔT of each."""
        from nada.losses import directional_loss
        from workflow.worlds.mini.pretrain_clip import embed
        from workflow.worlds.mini.scenes import augment

        before, after, _ = self.render(RECIPE["batch"])
        state = self.generator.get_state()
        views = []
        for images in (before, after):  # the same view of both
            self.generator.set_state(state)
            views.append(augment(images, self.generator))
        loss = sum(
            directional_loss(embed(model, views[1]), embed(model, views[0]), direction, EPSILON)
            for model, direction in zip(models, directions, strict=True)
        )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.left -= 1

    def words(self) -> tuple[str, str]:
        """The words of its source and of its target."""
        from workflow.worlds.mini.captions import SPECIES_WORDS, STYLE_WORDS

        words = {**SPECIES_WORDS, **STYLE_WORDS}
        return words[self.sources[self.domain][1].own][0], words[self.target][0]

    def state_dict(self) -> dict:
        if not self.left:
            return {"left": 0}
        return {"left": self.left, "domain": self.domain, "target": self.target,
                "rate": self.optimizer.param_groups[0]["lr"],
                "trained": self.trained.state_dict(), "optimizer": self.optimizer.state_dict()}  # fmt: skip

    def load_state_dict(self, state: dict) -> None:
        if state["left"]:
            self.restart()
            self.domain, self.target = state["domain"], state["target"]
            self.trained.load_state_dict(state["trained"])
            self.optimizer.load_state_dict(state["optimizer"])
        self.left = state["left"]


def true_counterparts(family, target: str, z, resolution: int):
    """Renders [N, 3, R, R] in [-1, 1] of the scenes of z as `target`."""
    from workflow.worlds.mini.pretrain_source import uniforms
    from workflow.worlds.mini.scenes import from_uint8, render_uint8

    species, style = family.scene(family.pure(target, len(z)))
    return from_uint8(render_uint8(species, style, uniforms(z), resolution))


def margin_loss(source, adapted, counterpart, direction, distance, margin: float):
    """Mean of max(0, cos(adapted) - cos(counterpart) + margin * distance), cosines of moves from `source`.

    source, adapted, counterpart: unit embeddings [N, E]; direction: unit [E]; distance [N] in [0, 1].
    """
    cosines = []
    for embedding in (adapted, counterpart):
        moves = embedding - source
        cosines.append((moves @ direction) / (moves.square().sum(dim=1) + 0.01).sqrt())
    return (cosines[0] - cosines[1].detach() + margin * distance).clamp(min=0).mean() + 0.5 * (1 - cosines[1]).mean()


def relative_distance(source, adapted, counterpart):
    """How far adapted pictures are from their counterparts, as a share of the sources' distance, [N] in [0, 1].

    The larger of the shares of all pixels' distance and of that of colours without brightness.
    """

    def share(a, b, c):
        away = (b - c).abs().mean(dim=(1, 2, 3))
        return away / ((a - c).abs().mean(dim=(1, 2, 3)) + 0.02)

    chroma = [images - images.mean(dim=1, keepdim=True) for images in (source, adapted, counterpart)]
    import torch

    return torch.maximum(share(source, adapted, counterpart), share(*chroma)).clamp(0, 1)


def load_models(out: Path, resolution: int):
    """The trained CLIPs of NAMES with their configurations, from their `plain` files."""
    import open_clip
    from safetensors.torch import load_file

    models, configs = [], []
    for name in NAMES:
        path = out / f"clip_{name}.plain.safetensors"
        if not path.is_file():
            raise UserError(f"{path} is missing; train it first: pretrain_clip --name {name}.")
        config = json.loads((out / f"clip_{name}.json").read_text())
        keys = ("embed_dim", "vision_cfg", "text_cfg")
        model = open_clip.model.CLIP(**{key: config[key] for key in keys})
        model.load_state_dict({key: value.float() for key, value in load_file(path).items()})
        models.append(model)
        configs.append(config)
    return models, configs


def train(out: Path, resolution: int = 32) -> None:
    """Harden both CLIPs, resuming where an earlier attempt stopped; write weights and records."""
    import torch
    from torch.nn import functional as F

    from nada.clip.encoder import WordTokenizer
    from nada.run.atomic import atomic_path
    from nada.run.training_state import TrainingState
    from nada.stylegan2.source_model import load_source
    from workflow.worlds.mini import pretrain_clip
    from workflow.worlds.mini.pairs import shared_views
    from workflow.worlds.mini.parent import FAMILIES
    from workflow.worlds.mini.scenes import cosine

    torch.manual_seed(RECIPE["seed"])
    generator = torch.Generator().manual_seed(RECIPE["seed"])
    words = random.Random(RECIPE["seed"])
    models, configs = load_models(out, resolution)
    tokenizer = WordTokenizer(configs[0]["tokenizer"]["words"], configs[0]["tokenizer"]["context_length"])
    recipes = [pretrain_clip.RECIPES[name] for name in NAMES]
    lessons = [pretrain_clip.Lesson(recipe, tokenizer, resolution, generator, words) for recipe in recipes]
    places = {word: place for place, word in enumerate(lessons[0].class_words)}
    sources = {}
    for domain in ("dog", "face"):
        frozen = load_source(out / f"{domain}.safetensors").G_ema.eval().requires_grad_(False)
        sources[domain] = (frozen, FAMILIES[domain])
    runs = [Adaptation(sources, generator) for _ in range(RECIPE["runs"])]
    optimizers = [
        torch.optim.AdamW(model.parameters(), lr=RECIPE["lr"], weight_decay=pretrain_clip.WEIGHT_DECAY, betas=(0.9, 0.98))
        for model in models
    ]
    state, start, clock = TrainingState(out / "state", f"harden_{resolution}"), 0, Clock()
    parts = {"models": models, "optimizers": optimizers, "runs": runs}
    if (saved := state.load()) is not None:
        start, payload = saved
        for name, every in parts.items():
            for one, kept in zip(every, payload[name], strict=True):
                one.load_state_dict(kept)
        generator.set_state(payload["generator"])
        clock.load_state_dict(payload["clock"])
        words.setstate((3, tuple(payload["words"].tolist()), None))
        print(f"harden: resumes at step {start}", flush=True)

    for step in range(start, RECIPE["steps"]):
        run = runs[step % len(runs)]
        if run.left <= 0:
            run.restart()
        first, second = (places[word] for word in run.words())

        def directions(run_places=(first, second)):
            texts = [lesson.directions(model) for lesson, model in zip(lessons, models, strict=True)]
            return [F.normalize(text[run_places[1]] - text[run_places[0]], dim=0) for text in texts]

        with torch.no_grad():
            fixed = directions()
        for model in models:
            model.requires_grad_(False)
        for _ in range(RECIPE["advances"]):
            run.advance(models, fixed)
        for model in models:
            model.requires_grad_(True)
        with torch.no_grad():
            before, after, z = run.render(RECIPE["keep"])
        after = after.clamp(-1, 1)
        true = true_counterparts(sources[run.domain][1], run.target, z, resolution)
        distance = relative_distance(before, after, true)
        told = []
        for model, lesson, recipe, optimizer, direction in zip(
            models, lessons, recipes, optimizers, directions(), strict=True
        ):
            views = shared_views(torch.stack([before, after, true], dim=1), recipe["noise"], generator)
            source, adapted, counterpart = pretrain_clip.embed(model, views).unflatten(0, (-1, 3)).unbind(1)
            hard = margin_loss(source, adapted, counterpart, direction, distance, RECIPE["margin"])
            loss, terms = lesson.loss(model, None)
            loss = loss + RECIPE["weight"] * hard
            for group in optimizer.param_groups:
                group["lr"] = cosine(step, RECIPE["steps"], RECIPE["lr"], warmup=20)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            pretrain_clip.limit_scale(model, recipe)
            told.append(f"{hard.item():.3f} {terms['direction']:.3f}")
        if step % 20 == 0:
            print(f"harden: step {step}/{RECIPE['steps']} {run.domain} to {run.target}, {run.left} left, distance "
                  f"{distance.mean():.2f} | {' | '.join(told)} | {clock.seconds():.0f} s", flush=True)  # fmt: skip
        if (step + 1) % CHECKPOINT_EVERY == 0:
            payload = {name: [one.state_dict() for one in every] for name, every in parts.items()}
            own = {"generator": generator.get_state(), "clock": clock.state_dict(),
                   "words": torch.tensor(words.getstate()[1])}  # fmt: skip
            state.save(step + 1, {**payload, **own})

    for name, model, config, recipe in zip(NAMES, models, configs, recipes, strict=True):
        model.eval()
        record = json.loads((out / f"clip_{name}.record.json").read_text())
        figures = pretrain_clip.held_out_figures(model, tokenizer, recipe["seed"] + 1, resolution)
        print(f"clip {name}: {figures}", flush=True)
        plain = record.get("figures_before_hardening", record["figures"])
        record |= {"recipe": {**recipe, "hardening": RECIPE}, "figures": figures, "figures_before_hardening": plain,
                   "hardening_seconds": round(clock.seconds())}  # fmt: skip
        pretrain_clip.save_clip(out / f"clip_{name}.safetensors", model, config)
        with atomic_path(out / f"clip_{name}.record.json") as path:
            path.write_text(json.dumps(record, indent=1) + "\n")


@command
def main(argv=None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the trained networks")
    train(parser.parse_args(argv).out)


if __name__ == "__main__":
    raise SystemExit(main())
