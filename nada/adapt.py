"""The training loop of StyleGAN-NADA: one generator moves, its frozen twin is the reference (§4).

Gal et al. 2021, Fig. 2. The layer policy is in `layers.py`, the losses in `losses.py`.
"""

import copy
import dataclasses
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from nada.artifact import AdaptedModel
from nada.clip import Clip, text_direction, text_embedding
from nada.errors import UserError
from nada.job import Job
from nada.layers import Layers, LayerSettings
from nada.losses import directional_loss, ensemble, global_loss
from nada.mapper import MapperSettings, train_mapper
from nada.settings import setting
from nada.stylegan2.generator import Generator

OFFICIAL_SHIFT = 1e-6  # what the public code adds to every pixel where the whole ΔI is zero
BARE = ("{}",)  # the template of a text without a prompt around it


@dataclass
class NadaSettings:
    """How a generator is adapted; defaults are the paper's, 'official' the public code's.

    iterations: training steps (paper: 300 for textures, 2000 for animals). batch: codes per step.
    loss: 'directional' (Eq. 2) or 'global' (Eq. 1).
    lr, betas: Adam's (official: 0.0016 and (0, 0.992), a lazy-regularisation factor of 4/5).
    style_mixing: probability that a step's codes mix two w (Table 3: 0 or 0.9).
    snapshots: models kept on the way: how many, evenly spaced, or a list of steps.
    checkpoint_every: steps between training states kept for resume; 0 keeps none.
    epsilon: ε of the guard where ΔI = 0, in the length of an embedding difference. Not from the
    paper, which has none: the ‖ΔI‖ of the mini world's published runs passes 0.05 within 10 steps
    and ends at 0.9 to 1.3 (`image_change` in curves.csv).
    guard: 'epsilon', or 'official': no ε, and the batch shifted by 1e-6 where ΔI sums to 0.
    codes: 'shared' W+ and noise of both generators, or each its own crossover and noise.
    clip_resize: 'antialias', or the official bicubic without it.
    global_prompt: Eq. 1 (layer choice and mapper too) sees the target text in the prompt
    'templates', or 'bare'.
    skipped_layer_state: Adam's state of a layer not chosen is left alone ('skip'), or decays as
    under the old zero gradients of the official runs ('decay': its next step is up to 11x longer).
    layers: see LayerSettings. mapper: see MapperSettings; given, the run trains only a mapper on
    its parent's model.
    """

    iterations: int = setting(300, 1)
    batch: int = setting(2, 1)
    loss: Literal["directional", "global"] = "directional"
    lr: float = setting(0.002, 0)
    betas: tuple[float, float] = setting((0.0, 0.99), 0, 1)
    style_mixing: float = setting(0.0, 0, 1)
    snapshots: int | list[int] = setting(5, 0)  # noqa: RUF009 (a frozen default)
    checkpoint_every: int = setting(100, 0)
    epsilon: float = setting(0.05, 0)
    guard: Literal["epsilon", "official"] = "epsilon"
    codes: Literal["shared", "official"] = "shared"
    clip_resize: Literal["antialias", "official"] = "antialias"
    global_prompt: Literal["templates", "bare"] = "templates"
    skipped_layer_state: Literal["skip", "decay"] = "skip"
    layers: LayerSettings = dataclasses.field(default_factory=LayerSettings)
    mapper: MapperSettings | None = None


def adapt_generator(job: Job, settings: NadaSettings) -> AdaptedModel:
    """Move the source generator towards the target text and return it (§4.1-4.2)."""
    # two generators with one frozen mapping network
    frozen = job.source().G_ema.eval().requires_grad_(False)
    trained = copy.deepcopy(frozen)
    trained.mapping = frozen.mapping

    # what steers, and what is trained
    loss = NadaLoss(job, settings)
    layers = Layers(trained, settings.layers, loss.global_term, job.label)
    trainable = layers.trainable()
    optimiser = torch.optim.Adam(trainable.values(), lr=settings.lr, betas=settings.betas)
    snapshots = snapshot_steps(settings.snapshots, settings.iterations, job.label)

    # a fresh start, or where an interrupted run stopped
    job.seed_everything()
    job.plan(settings.iterations, settings.checkpoint_every)
    start = 0
    if resumed := job.resume():
        start, state = resumed
        with torch.no_grad():
            for name, parameter in trainable.items():
                parameter.copy_(state["trained"][name])
        optimiser.load_state_dict(state["optimiser"])

    with job.running():
        if start == 0 and 0 in snapshots:
            job.snapshot(0, named_as_artifact(trainable))
        for step in range(start + 1, settings.iterations + 1):
            # the layers of this step
            chosen = layers.choose()
            layers.unfreeze(chosen)
            # the same codes and the same noise through both generators
            frozen_images, trained_images = render_pair(frozen, trained, settings)
            # one step of Adam
            terms = loss(trained_images, frozen_images)
            optimiser.zero_grad(set_to_none=True)
            terms["loss"].backward()
            if settings.skipped_layer_state == "decay":
                fill_missing_gradients(trainable.values())
            optimiser.step()
            # what is kept
            job.count(images=2 * settings.batch + (settings.layers.n_w if layers.selects else 0))
            if layers.selects:
                terms["layers"] = " ".join(map(str, chosen))
            job.progress(step, **terms)
            if step in snapshots:
                job.snapshot(step, named_as_artifact(trainable))
            job.checkpoint(step, {"trained": trainable, "optimiser": optimiser.state_dict()})
    return AdaptedModel(trained)


def adapt_mapper(job: Job, settings: NadaSettings) -> AdaptedModel:
    """Train a latent mapper on the parent run's model (§4.3), which stays as it is."""
    steps = snapshot_steps(settings.snapshots, settings.mapper.iterations, job.label)
    clips = job.clips(settings.clip_resize)
    texts = target_embeddings(job, clips, settings)
    return train_mapper(job, settings.mapper, clips, texts, steps, settings.checkpoint_every)


class NadaLoss:
    """The run's loss over its CLIP ensemble; text embeddings are made once, at the start."""

    def __init__(self, job: Job, settings: NadaSettings):
        self.settings = settings
        self.clips: list[Clip] = job.clips(settings.clip_resize)
        self.weights = [clip.weight for clip in self.clips]
        self.targets = target_embeddings(job, self.clips, settings)
        source, target = job.texts()
        templates = job.templates()
        self.directions = [text_direction(clip, source, target, templates) for clip in self.clips]

    def __call__(self, trained_images: Tensor, frozen_images: Tensor) -> dict[str, Tensor]:
        """{"loss", "image_change"} of a batch; image_change is the mean ‖ΔI‖ over CLIPs."""
        if self.settings.loss == "global":
            return {"loss": self.global_term(trained_images)}
        losses, changes = [], []
        for clip, direction in zip(self.clips, self.directions, strict=True):
            with torch.no_grad():
                frozen = clip.encode_images(frozen_images)
            trained = clip.encode_images(trained_images)
            epsilon = self.settings.epsilon
            if self.settings.guard == "official":
                epsilon = 0.0
                if (trained - frozen).sum() == 0:
                    trained = clip.encode_images(trained_images + OFFICIAL_SHIFT)
            losses.append(directional_loss(trained, frozen, direction, epsilon))
            changes.append((trained.detach() - frozen).norm(dim=-1).mean())
        return {
            "loss": ensemble(self.weights, losses),
            "image_change": torch.stack(changes).mean(),
        }

    def global_term(self, images: Tensor) -> Tensor:
        """Eq. 1 over the ensemble, a scalar; the layer choice uses it too."""
        pairs = zip(self.clips, self.targets, strict=True)
        losses = [global_loss(clip.encode_images(images), target) for clip, target in pairs]
        return ensemble(self.weights, losses)


def target_embeddings(job: Job, clips: list[Clip], settings: NadaSettings) -> list[Tensor]:
    """Each CLIP's unit embedding [E] of the target text, in the prompts the settings ask for."""
    templates = job.templates() if settings.global_prompt == "templates" else BARE
    return [text_embedding(clip, job.texts()[1], templates) for clip in clips]


def render_pair(frozen: Generator, trained: Generator, settings: NadaSettings):
    """(frozen, trained) images [N,3,R,R] of one batch of codes; only the second has a graph."""
    frozen_codes, trained_codes = draw_codes(frozen, settings)
    noise = torch.Generator(frozen.w_avg.device)
    seeds = torch.randint(2**62, (2,)).tolist()
    second = seeds[0] if settings.codes == "shared" else seeds[1]
    with torch.no_grad():
        frozen_images = frozen.synthesis(frozen_codes, "random", noise.manual_seed(seeds[0]))
    trained_images = trained.synthesis(trained_codes, "random", noise.manual_seed(second))
    return frozen_images, trained_images


@torch.no_grad()
def draw_codes(generator: Generator, settings: NadaSettings) -> tuple[Tensor, Tensor]:
    """W+ codes [N,num_ws,style_dim] for the frozen and the trained generator, mixed or not.

    With probability `style_mixing` the batch mixes two w at a crossover in 1..num_ws-1: one
    crossover for both generators, or (codes: 'official') each its own.
    """
    first, second = (
        generator.broadcast(
            generator.mapping(
                torch.randn(
                    settings.batch, generator.config["z_dim"], device=generator.w_avg.device
                )
            )
        )
        for _ in range(2)
    )
    mixes = bool(torch.rand(()) < settings.style_mixing)
    crossovers = torch.randint(1, generator.num_ws, (2,)).tolist()
    if not mixes:
        return first, first
    codes = [torch.cat([first[:, :c], second[:, c:]], dim=1) for c in crossovers]
    return (codes[0], codes[0]) if settings.codes == "shared" else (codes[0], codes[1])


def fill_missing_gradients(parameters) -> None:
    """Zero gradients for parameters that have none, so that Adam's second moment decays."""
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)


def snapshot_steps(asked: int | list[int], iterations: int, run: str) -> set[int]:
    """The steps to keep, without the last, which is the model itself.

    asked: a number of models, evenly spaced and the last included, or a list of steps
    0..iterations. Raises UserError for a step outside.
    """
    if isinstance(asked, int):
        steps = [round(i * iterations / asked) for i in range(1, asked + 1)]
    else:
        steps = asked
        outside = [step for step in steps if not 0 <= step <= iterations]
        if outside:
            raise UserError(
                f"{run}: snapshot of step {outside[0]} asked, but the run has {iterations} "
                f"iterations; set snapshots to steps 0..{iterations}, or to a number of models."
            )
    return set(steps) - {iterations}


def named_as_artifact(parameters: dict[str, Tensor]) -> dict[str, Tensor]:
    """Generator parameters by the name they have in the artifact."""
    return {f"generator.{name}": parameter for name, parameter in parameters.items()}
