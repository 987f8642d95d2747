"""Train a source model (G, G_ema, D) of the mini world: a parent's regression on known factors, then a GAN.

A pure GAN would need millions of images, hours of CPU. The mini world knows the factors of its
pictures, so the generator first learns the map from z to pictures as a regression (z gives the
uniform numbers that the renderer draws from), coarse resolutions first, and stops while it is still
blurry. It draws a whole family (`parent.py`), whose shifts then shrink. Then G and D train against each
other, on the family first and at the end on the source's own domain alone. The weight of the regression's loss
falls to a small value, which preserves the map from z to the factors.

    python -m workflow.worlds.mini.pretrain_source --domain dog --out results/world_build
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from nada.run.errors import command
from workflow.worlds.mini.clock import Clock

CHECKPOINT_EVERY = 250  # steps
AFFINE_START = 0.3  # scale of the initial modulation weights
STAGES = ("coarse", "fine", "shrink", "adversarial")


@dataclass(frozen=True)
class Recipe:
    """Sizes and lengths of one source training; every length is counted in steps."""

    resolution: int = 32
    z_dim: int = 64
    style_dim: int = 64
    channel_base: int = 1280
    channel_max: int = 96
    mapping_layers: int = 4
    mapping_lr_mul: float = 1.0  # at 0.01 the map from z to factors is never learnt
    pool: int = 40_000  # (z, member of the family, picture)
    mapping_steps: int = 2500
    coarse_steps: int = 4000  # regression at half the resolution
    fine_steps: int = 4500
    shrink_steps: int = 3500  # regression while the family's shifts shrink,
    shrink_to: float = 0.2  # to this share,
    shrink_share: float = 0.3  # over this part of the steps
    batch: int = 16
    lr: float = 1.2e-2  # equalised weights are N(0, 1): the usual 2e-3 hardly moves a regression
    lr_end: float = 3e-3
    shrink_lr: float = 6e-3
    shrink_lr_end: float = 1.5e-3
    ema: float = 0.995  # decay a step during regression
    warmup_steps: int = 600  # of D alone, against the blurry G
    blur_share: float = 0.7  # of the warm-up, over which a blur of its fakes fades away
    adversarial_steps: int = 2000  # with the own steps, without the warm-up
    own_steps: int = 600  # the last of them, on the own domain alone
    fade_steps: int = 1600  # over which the regression's weight falls
    instance_noise: float = 0.1  # standard deviation, on all that D sees
    g_lr: float = 2e-4
    d_lr: float = 4e-3
    r1_gamma: float = 0.1
    r1_interval: int = 4
    pixel_start: float = 3.0  # weight of the regression's loss when G starts to move,
    pixel_end: float = 0.3  # and at the end of its fading
    ema_kimg: float = 3.0
    seed: int = 11


def uniforms(z):
    """z [N, z_dim] -> the renderer's uniform numbers [N, NUM_UNIFORMS]: Phi of the normalised z."""
    import torch

    from workflow.worlds.mini.species import NUM_UNIFORMS

    normal = z * (z.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()
    return torch.special.ndtr(normal[:, :NUM_UNIFORMS])


def mapping_targets(family, u):
    """Smooth descriptions of a scene that w should hold linearly, [N, NUM_UNIFORMS + 3 + 3 M], about unit size.

    The uniform numbers, the background's colour, and the coat that each of the family's M species would have.
    """
    import torch

    from workflow.worlds.mini.renderer import factors
    from workflow.worlds.mini.species import FACTORS, SPECIES

    names = family.members if family.varies == "species" else ("person",)
    colours = FACTORS.index("background_r")
    coats = [factors(torch.full((len(u),), SPECIES.index(name)), u)[:, colours:] for name in names]
    return torch.cat([(u - 0.5) * 3.4, coats[0], *(coat[:, 3:] for coat in coats[1:])], dim=1)


def reconstruction_loss(image, target):
    """L1 + half the squared error + L1 of finite differences (edges), on [N, 3, R, R] in [-1, 1]."""
    edges = 0.0
    for dim in (2, 3):
        edges = edges + (image.diff(dim=dim) - target.diff(dim=dim)).abs().mean()
    return (image - target).abs().mean() + 0.5 * (image - target).square().mean() + edges


class _Regression:
    """The warm-up: the mapping learns the factors, then the synthesis learns to draw the family."""

    def __init__(self, domain: str, recipe: Recipe) -> None:
        import torch

        from workflow.worlds.mini.parent import FAMILIES
        from workflow.worlds.mini.scenes import render_uint8

        self.domain, self.recipe, self.clock = domain, recipe, Clock()
        self.family = FAMILIES[domain]
        self.generator = torch.Generator().manual_seed(recipe.seed)
        self.z = torch.randn(recipe.pool, recipe.z_dim, generator=self.generator)
        self.weights = self.family.draw(recipe.pool, self.generator)
        own = self.family.pure(self.family.own, 1)
        self.own_rows = (self.weights == own).all(dim=1).nonzero()[:, 0]
        self.u = uniforms(self.z)
        species, style = self.family.scene(self.weights)
        self.pool = {
            r: render_uint8(species, style, self.u, r)
            for r in (recipe.resolution // 2, recipe.resolution)
        }

    def build(self, resolution: int):
        import torch

        from nada.stylegan2.generator import Generator
        from workflow.worlds.mini.parent import Parent

        r = self.recipe
        G = Generator(
            resolution,
            r.z_dim,
            r.style_dim,
            r.channel_base,
            r.channel_max,
            r.mapping_layers,
            r.mapping_lr_mul,
        )
        with torch.no_grad():  # a regression starts better from weak modulation
            for name, weight in G.synthesis.named_parameters():
                if name.endswith("affine.weight"):
                    weight.mul_(AFFINE_START)
        return Parent(G, self.family)

    def learn_mapping(self, G) -> None:
        import torch
        from torch.nn import functional as F

        r = self.recipe
        optimizer = torch.optim.Adam(G.mapping.parameters(), lr=5e-3, betas=(0.9, 0.99))
        for step in range(r.mapping_steps):
            optimizer.param_groups[0]["lr"] = 5e-3 * (1 - 0.95 * step / r.mapping_steps)
            z = torch.randn(512, r.z_dim, generator=self.generator)
            target = mapping_targets(self.family, uniforms(z))[:, : r.style_dim]
            loss = F.mse_loss(G.mapping(z)[:, : target.shape[1]], target)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            if step % 500 == 0:
                print(
                    f"{self.domain}: mapping {step}/{r.mapping_steps} mse {loss.item():.4f}",
                    flush=True,
                )

    def learn_drawing(self, parent, average, resolution: int, state, tag: str) -> None:
        """One stage of regression; `average` follows `parent`."""
        import torch

        from nada.stylegan2.adversarial import update_ema
        from workflow.worlds.mini.scenes import from_uint8

        r, shrinks = self.recipe, tag == "shrink"
        steps = {"coarse": r.coarse_steps, "fine": r.fine_steps, "shrink": r.shrink_steps}[tag]
        first_lr, last_lr = (r.shrink_lr, r.shrink_lr_end) if shrinks else (r.lr, r.lr_end)
        frozen = {id(p) for p in parent.entry()} if shrinks else set()
        drawing = [parent.shifts, *parent.G.synthesis.parameters()]
        optimizer = torch.optim.Adam(
            [
                {"params": [p for p in drawing if id(p) not in frozen], "scale": 1.0},
                {"params": parent.G.mapping.parameters(), "scale": 0.1},
            ],
            lr=first_lr, betas=(0.9, 0.99), fused=True,
        )  # fmt: skip
        shifts = parent.shifts.detach().clone()
        start, began, running = 0, time.time(), 0.0
        if (saved := state.load()) is not None and saved[1]["stage"] == tag:
            start, shifts = saved[0], saved[1]["shifts"]
            restore(
                saved[1], parent=parent, average=average, optimizer=optimizer,
                generator=self.generator, clock=self.clock,
            )  # fmt: skip
            print(f"{self.domain}: {tag} resumes at step {start}", flush=True)
        for step in range(start, steps):
            lr = first_lr * (last_lr / first_lr) ** (step / steps)
            for group in optimizer.param_groups:
                group["lr"] = lr * group["scale"]
            if shrinks:
                share = r.shrink_to ** min(1.0, step / (r.shrink_share * steps))
                with torch.no_grad():
                    parent.shifts.copy_(shifts * share)
            rows = torch.randint(r.pool, (r.batch,), generator=self.generator)
            image = parent.draw(self.z[rows], self.weights[rows])
            loss = reconstruction_loss(image, from_uint8(self.pool[resolution][rows]))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            update_ema(average, parent, min(r.ema, (step + 1) / (step + 10)))
            running = loss.item() if step == start else 0.99 * running + 0.01 * loss.item()
            if step % 100 == 0:
                rate = (step - start + 1) * r.batch / (time.time() - began)
                print(
                    f"{self.domain}: {tag} {step}/{steps} loss {running:.4f} {rate:.0f} img/s",
                    flush=True,
                )
            if (step + 1) % CHECKPOINT_EVERY == 0:
                parts = {"parent": parent, "average": average, "optimizer": optimizer}
                saved = snapshot(tag, generator=self.generator, clock=self.clock, **parts)
                state.save(step + 1, {**saved, "shifts": shifts})


def snapshot(stage: str, *, generator, **parts) -> dict:
    """The state of a stage for resume, as plain tensors and dicts."""
    return {
        "stage": stage,
        "generator": generator.get_state(),
        **{k: v.state_dict() for k, v in parts.items()},
    }


def restore(saved: dict, *, generator, **parts) -> None:
    """Inverse of `snapshot`."""
    generator.set_state(saved["generator"])
    for name, part in parts.items():
        part.load_state_dict(saved[name])


def copy_shared(target, source) -> None:
    """Copy every parameter and buffer that both generators have in the same shape (coarse to fine)."""
    own = target.state_dict()
    shared = {k: v for k, v in source.state_dict().items() if k in own and own[k].shape == v.shape}
    target.load_state_dict({**own, **shared})


def measure_w_avg(G) -> None:
    """Set w_avg to the mean of 10,000 mapped z, [style_dim]."""
    import torch

    with torch.no_grad():
        z = torch.randn(10_000, G.config["z_dim"], generator=torch.Generator().manual_seed(0))
        G.mapping.w_avg.copy_(G.mapping(z, skip_w_avg_update=True).mean(dim=0))


def blurred(images, amount: float):
    """Mix images [N, 3, R, R] with their 3x3 mean; amount 0 leaves them, 1 is the mean alone."""
    from torch.nn import functional as F

    mean = F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    return images + amount * (mean - images)


def learn_adversarially(regression: _Regression, parent, average, state, out: Path):
    """Train G and D against each other, G also with a fading regression loss; returns (D, last losses).

    D cannot distinguish renders from a converged regression, so the regression stops early. D then starts
    alone, on fakes whose blur decreases. Real and fake images of a step show the same scenes: common content
    cancels in D's gradient and would otherwise be noise. R1 runs from the start: without it D becomes steep,
    and the first penalty flattens it permanently. The last steps show the own domain alone.
    """
    import torch

    from nada.stylegan2.adversarial import AdversarialTrainer, TrainingHyperparameters
    from nada.stylegan2.discriminator import Discriminator
    from workflow.worlds.mini.scenes import from_uint8

    r, generator, name = regression.recipe, regression.generator, regression.domain
    pool, rows, real = regression.pool[r.resolution], None, None  # the scenes of this step
    parent.shifts.requires_grad_(False)

    def pixel_loss(images):
        faded = min(1.0, (trainer.steps - r.warmup_steps) / r.fade_steps)
        weight = r.pixel_start * (r.pixel_end / r.pixel_start) ** faded
        return weight * reconstruction_loss(images, real)

    def noisy(images):  # instance noise: invisible differences must not separate real from fake
        noise = torch.randn(images.shape, generator=generator)
        return images + r.instance_noise * noise

    class FamilyTrainer(AdversarialTrainer):
        """Fakes are members of the family, those that the real images of the step show."""

        def sample_w_plus(self, n: int, move_w_avg: bool = True):
            w = self.G.mapping(regression.z[rows[:n]], skip_w_avg_update=not move_w_avg)
            return parent.w_plus(w, regression.weights[rows[:n]])

    D = Discriminator(r.resolution, r.channel_base, r.channel_max, mbstd_group_size=4)
    hparams = TrainingHyperparameters(
        g_lr=r.g_lr, d_lr=r.d_lr, r1_gamma=r.r1_gamma, r1_interval=r.r1_interval,
        path_length_weight=0.0, style_mixing=0.0, ema_kimg=r.ema_kimg,
    )  # fmt: skip
    G, G_ema = parent.G, average.G
    trainer = FamilyTrainer(G, D, G_ema, hparams, extra_generator_loss=pixel_loss, augment=noisy)
    if (saved := state.load()) is not None and saved[1]["stage"] == "adversarial":
        restore(
            saved[1], trainer=trainer, parent=parent, average=average, generator=generator,
            clock=regression.clock,
        )  # fmt: skip
        print(f"{name}: adversarial phase resumes at step {trainer.steps}", flush=True)
    steps, running, began = r.warmup_steps + r.adversarial_steps, {}, time.time()
    start = trainer.steps
    while trainer.steps < steps:
        rows = torch.randint(r.pool, (r.batch,), generator=generator)
        if trainer.steps >= steps - r.own_steps:
            rows = regression.own_rows[rows % len(regression.own_rows)]
        real = from_uint8(pool[rows])
        if trainer.steps < r.warmup_steps:
            with torch.no_grad():
                fake = G.synthesis(trainer.sample_w_plus(r.batch, move_w_avg=False))
            blur = max(0.0, 1 - trainer.steps / (r.blur_share * r.warmup_steps))
            report = trainer.discriminator_step(real, blurred(fake, blur))
            if trainer.steps % r.r1_interval == 0:
                report |= trainer.r1_step(real)
            trainer.steps += 1
        else:
            report = trainer.step(real)
        for key, value in report.items():
            running[key] = running.get(key, value) + 0.04 * (value - running.get(key, value))
        if trainer.steps % 50 == 0:
            rate = (trainer.steps - start) * r.batch / (time.time() - began)
            losses = " ".join(f"{key} {value:.3f}" for key, value in running.items())
            print(
                f"{name}: adversarial {trainer.steps}/{steps} {losses} {rate:.0f} img/s", flush=True
            )
        if trainer.steps % CHECKPOINT_EVERY == 0:
            # the generators of parent and average are the trainer's; their shifts are not
            parts = {"trainer": trainer, "parent": parent, "average": average, "clock": regression.clock}
            state.save(trainer.steps, snapshot("adversarial", generator=generator, **parts))
            write_sheet(regression, average, out / f"{name}.png")
    return D, {key: round(value, 3) for key, value in running.items()}


def train(domain: str, out: Path, recipe: Recipe) -> None:
    """Train one source model, resuming where an earlier attempt stopped; write weights and record."""
    import torch

    from nada.run.atomic import atomic_path
    from nada.run.training_state import TrainingState
    from nada.stylegan2.source_model import SourceModel, save_source

    torch.manual_seed(recipe.seed)
    regression = _Regression(domain, recipe)
    half = recipe.resolution // 2
    state = TrainingState(out / "state", f"source_{domain}_{recipe.resolution}_{recipe.seed}")
    coarse = regression.build(half)
    coarse_average = copy.deepcopy(coarse)
    parent = regression.build(recipe.resolution)
    average = copy.deepcopy(parent)
    saved = state.load()  # after the networks are drawn, since it also restores the random streams
    reached = STAGES.index(saved[1]["stage"]) if saved else -1
    if reached < 1:
        if reached < 0:
            regression.learn_mapping(coarse.G)
        regression.learn_drawing(coarse, coarse_average, half, state, "coarse")
        copy_shared(parent, coarse)
        copy_shared(average, coarse)
    for place, stage in enumerate(("fine", "shrink"), start=1):
        if reached <= place:
            regression.learn_drawing(parent, average, recipe.resolution, state, stage)
            # a regression's average is better than its last state
            parent.load_state_dict(average.state_dict())
            write_sheet(regression, average, out / f"{domain}.{stage}.png")
    D, losses = learn_adversarially(regression, parent, average, state, out)
    G, G_ema = parent.G, average.G
    measure_w_avg(G_ema)
    write_sheet(regression, average, out / f"{domain}.png")
    save_parent(out / f"{domain}.parent.safetensors", average)

    record = {"recipe": asdict(recipe), "seconds": round(regression.clock.seconds()), "threads": torch.get_num_threads(),
              "last_losses": losses}  # fmt: skip
    model = SourceModel(
        G=G, G_ema=G_ema, D=D, metadata={"domain": domain, "recipe": json.dumps(asdict(recipe))}
    )
    save_source(out / f"{domain}.safetensors", model, dtype=torch.float16)
    with atomic_path(out / f"{domain}.record.json") as path:
        path.write_text(json.dumps(record, indent=1) + "\n")


def save_parent(path: Path, average) -> None:
    """The averaged generator of the whole family, for pictures of what the parent draws."""
    from safetensors.torch import save_file

    from nada.run.atomic import atomic_path

    tensors = {key: value.half().contiguous() for key, value in average.state_dict().items()}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary)


def write_sheet(regression: _Regression, average, path: Path) -> None:
    """A pair of rows for each member of the family: renders above, generated below, for the same fresh z."""
    import torch
    from PIL import Image

    from workflow.worlds.mini.scenes import render_uint8

    r, family = regression.recipe, regression.family
    z = torch.randn(12, r.z_dim, generator=torch.Generator().manual_seed(r.seed + 1))
    rows = []
    for member in family.members:
        weights = family.pure(member, len(z))
        rows.append(render_uint8(*family.scene(weights), uniforms(z), r.resolution))
        with torch.no_grad():
            fake = average.draw(z, weights, noise_mode="const")
        rows.append(((fake + 1) * 127.5 + 0.5).clamp(0, 255).to(torch.uint8))
    grid = torch.stack(rows).permute(0, 3, 1, 4, 2)
    grid = grid.reshape(len(rows) * r.resolution, len(z) * r.resolution, 3)
    path.parent.mkdir(parents=True, exist_ok=True)
    size = (3 * len(z) * r.resolution, 3 * len(rows) * r.resolution)
    Image.fromarray(grid.numpy()).resize(size, Image.NEAREST).save(path)


@command
def main(argv=None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    from workflow.worlds.mini.parent import FAMILIES

    parser.add_argument(
        "--domain", choices=sorted(FAMILIES), required=True, help="which source domain"
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for weights, sheet and record"
    )
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    arguments = parser.parse_args(argv)
    import torch

    torch.set_num_threads(arguments.threads)
    train(arguments.domain, arguments.out, Recipe())


if __name__ == "__main__":
    raise SystemExit(main())
