"""StyleGAN-NADA: one generator moves, its frozen twin is the reference (Gal et al. 2021, §4, Fig. 2).

The codes and images of both are in `codes.py`, what the loss aims at in `objective.py`, the layer
policy in `layers.py`, the mapper in `mapper.py`.
"""

import copy
import dataclasses
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from nada.clip.steering import Steering
from nada.codes import Codes, draw_codes, noise_seeds, render_pair
from nada.layers import LayerHyperparameters, Layers
from nada.mapper import MapperHyperparameters, train_mapper
from nada.objective import NadaLoss, Seen, target_embeddings
from nada.run.artifact import AdaptedModel
from nada.run.hyperparameters import setting
from nada.run.job import Job
from nada.run.micro_batch import MicroBatches, Rows, split
from nada.run.precision import Precision, set_numerics, set_precision
from nada.stylegan2.generator import Generator
from nada.stylegan2.source_networks import source_networks


@dataclass
class NadaHyperparameters:
    """How a generator is adapted. Each default is the paper's; where it is silent, the public code's.

    'official' is what the public code does; what is called "ours" below neither of them does
    (docs/departures.md lists every switch).
    iterations: training steps (paper: 300 for textures, 2000 for animals). batch: codes per step
    (paper: 2). loss: 'directional' (Eq. 2) or 'global' (Eq. 1).
    lr, betas: Adam's. Paper: 0.002, with StyleGAN2's betas. Official: 0.0016 and (0, 0.99^0.8 =
    0.992), a lazy-regularisation factor of 4/5.
    direction: from the source text to the target 'text' (ΔT), or from images of the source
    generator to the run's few-shot images ('image', Eq. 3), `shots` of them. source_images: N_s,
    how many of the source's (paper: 16). global_target: with image directions, Eq. 1 (layer choice
    and mapper too) aims at the images' mean embedding ('direction', the paper's), or still at the
    target text ('text', official).
    style_mixing: probability that a step's codes mix two w (Table 3: 0 or 0.9).
    snapshots: models kept on the way: how many, evenly spaced, or a list of steps.
    checkpoint_every: steps between training states kept for resume; 0 keeps none.
    precision, tf32, deterministic: how numbers are computed, see nada/run/precision.py; the last two
    have an effect on a GPU alone.
    micro_batch: images rendered at once at most, in a step and in its layer choice, and in a step
    of the mapper; 0 for all. Less memory, the same draws, and the same results but for rounding. A
    step that runs out of memory on a GPU halves it for the rest of the run.
    codes: both generators render one W+ ('shared', the paper's one w), or each its own crossover of
    a step that mixes two w ('official').
    noise: both generators' images have noise 'drawn' anew (the paper is silent, so the public code
    decides), or ours: the same noise ('shared'). Then ΔI is exactly 0 before the first step, which
    asks for a guard that bounds the gradient.
    guard: where ΔI = 0. The paper is silent, so 'official' is the default: where a batch's (or a
    micro-batch's) ΔI sums to exactly 0, its trained images are shifted by 1e-6. With shared noise
    that is so at step 1, whose gradient is then some 1e6 times the next ones': Adam's second moment
    keeps the layers of that step nearly still for hundreds of steps (measured: docs/settings.md).
    Ours: 'epsilon', √(‖ΔI‖²+ε²) in place of ‖ΔI‖.
    epsilon: that ε, in the length of an embedding difference; read by guard 'epsilon' alone. 0.05
    is of the mini world's CLIPs: the ‖ΔI‖ of its published runs passes it within 10 steps and ends
    at 0.2 to 1.3 (`image_change` in curves.csv).
    clip_resize: 'antialias', as CLIP's own preprocessing, or 'official', bicubic without it.
    clips: names of the world's CLIPs that steer the run (Table 3 uses one or two); null: all of them.
    augment: CLIP sees both generators' images as they are ('none', the paper's). Ours: 'shared', in
    `augment_views` random views a step, the same of both (nada/augment.py; a mapper's images are
    never augmented).
    global_prompt: the texts of Eq. 1. The paper is silent, so 'official' is the default: the loss
    "global" reads "a {target}", layer choice and mapper the bare target text. Ours: 'templates',
    all three read the prompt templates.
    skipped_layer_state: Adam's state of a layer not chosen is left alone ('skip', the paper's), or
    decays as under the old zero gradients of the public code ('decay', official: its next step is
    up to 11x longer).
    layers: see LayerHyperparameters. mapper: see MapperHyperparameters; given, the run trains only a mapper, on
    its parent's model or on the source's.
    """

    iterations: int = setting(300, 1)
    batch: int = setting(2, 1)
    loss: Literal["directional", "global"] = "directional"
    lr: float = setting(0.002, above=0)
    betas: tuple[float, float] = setting((0.0, 0.99), 0, below=1)
    direction: Literal["text", "image"] = "text"
    source_images: int = setting(16, 1)
    global_target: Literal["direction", "text"] = "direction"
    style_mixing: float = setting(0.0, 0, 1)
    snapshots: int | list[int] = setting(5, 0)  # noqa: RUF009 (a frozen default)
    checkpoint_every: int = setting(100, 0)
    precision: Precision = "fp32"
    tf32: bool = False
    deterministic: bool = True
    micro_batch: int = setting(0, 0)
    codes: Literal["shared", "official"] = "shared"
    noise: Literal["drawn", "shared"] = "drawn"
    guard: Literal["official", "epsilon"] = "official"
    epsilon: float = setting(0.05, above=0)
    clip_resize: Literal["antialias", "official"] = "antialias"
    clips: list[str] | None = None
    augment: Literal["none", "shared"] = "none"
    augment_views: int = setting(1, 1)
    global_prompt: Literal["official", "templates"] = "official"
    skipped_layer_state: Literal["skip", "decay"] = "skip"
    layers: LayerHyperparameters = dataclasses.field(default_factory=LayerHyperparameters)
    mapper: MapperHyperparameters | None = None


def adapt_generator(job: Job, hparams: NadaHyperparameters) -> AdaptedModel:
    """Move the source generator towards the target and return it (§4.1-4.2, App. C)."""
    set_numerics(job.device, hparams.tf32, hparams.deterministic)
    # two generators with one frozen mapping network
    frozen = source_networks(job).G_ema.eval().requires_grad_(False)
    trained = copy.deepcopy(frozen)
    trained.mapping = frozen.mapping

    # what steers, and what is trained
    loss = NadaLoss(Steering(job), hparams, frozen)
    for clip in loss.clips:
        clip.forget_text()  # every text is encoded by now
    layers = Layers(trained, hparams.layers, loss.of_images, job.label)
    for generator in (frozen, trained):  # not before: the target's direction is full precision
        set_precision(generator, hparams.precision)
    trainable = layers.trainable()
    optimiser = torch.optim.Adam(trainable.values(), lr=hparams.lr, betas=hparams.betas)
    micro = micro_batches(job, hparams, layers)

    def as_snapshot() -> dict[str, Tensor]:
        return {f"generator.{name}": parameter for name, parameter in trainable.items()}

    job.seed_everything()
    state = {"trained": layers, "optimiser": optimiser, "micro_batch": micro}
    for _ in job.steps(
        hparams.iterations, hparams.snapshots, state, as_snapshot, hparams.checkpoint_every
    ):
        terms, chosen, images = micro.attempt(
            lambda size: forward_backward(frozen, trained, layers, loss, hparams, size),
            trainable.values(),
        )
        # one step of Adam
        if hparams.skipped_layer_state == "decay":
            fill_missing_gradients(trainable.values())
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        if layers.selects:
            terms["layers"] = " ".join(map(str, chosen))
        job.report(images=images, **terms)
    job.add_cost(micro_batch=micro.size)
    return AdaptedModel(trained)


def adapt_mapper(job: Job, hparams: NadaHyperparameters) -> AdaptedModel:
    """Train a latent mapper (§4.3) on the parent run's model, or on the source as it is.

    The model itself stays as it was. On the source, it is the control of the mapper: how far it
    gets without NADA.
    """
    set_numerics(job.device, hparams.tf32, hparams.deterministic)
    on_source = hparams.mapper.base == "source"
    model = AdaptedModel(source_networks(job).G_ema) if on_source else job.parent()
    set_precision(model.generator, hparams.precision)
    steering = Steering(job)
    clips = steering.clips(hparams.clip_resize, hparams.clips)
    targets = target_embeddings(steering, clips, hparams, "mapper")
    for clip in clips:
        clip.forget_text()
    return train_mapper(
        job, hparams.mapper, model, clips, targets, hparams.snapshots, hparams.checkpoint_every,
        hparams.micro_batch,
    )  # fmt: skip


def forward_backward(
    frozen: Generator,
    trained: Generator,
    layers: Layers,
    loss: NadaLoss,
    hparams: NadaHyperparameters,
    size: int = 0,
) -> tuple[dict, tuple, int]:
    """One step up to its gradients, which lie in the chosen parameters' `grad` alone.

    Returns the loss's terms, the chosen layers and how many images were rendered. Adaptive
    selection needs the gradient of Eq. 1 at W+ codes copied from one w, Eq. 2 the gradient at the
    weights. Where codes are shared (LayerHyperparameters.selection_codes), one forward pass of generator
    and CLIPs serves both, with every candidate layer in its graph. Codes of a step that mixes two w
    choose nothing: codes are then drawn apart, as without sharing.
    size: images rendered at once at most, 0 for all. The choice is known only after the last part:
    gradients of every candidate are then summed, and those of layers not chosen dropped.
    The host waits for the device once, to read the choice, and not at all where every layer trains
    (once more where ΔI may be 0 and the guard is 'official').
    """
    codes = draw_codes(frozen, hparams)
    sharing = layers.shares and not codes.mixed
    chosen = layers.candidates if sharing else layers.choose(size)
    layers.unfreeze(chosen)
    if sharing:
        codes = codes._replace(trained=codes.trained.clone().requires_grad_())
    parts = split(hparams.batch, size)
    pictures = Pictures(frozen, trained, codes, loss, hparams)
    sums, gradient = {}, 0
    for rows in parts:
        seen = pictures.see(rows)
        if sharing:
            gradient = gradient + choice_gradient(layers, codes, loss, seen, rows)
            if rows.whole:  # then the loss goes no further down than the first layer chosen
                chosen = layers.choose_by(gradient, size)
                layers.unfreeze(chosen)
        terms = loss(seen)
        if not rows.whole:
            terms = {name: term * rows.share for name, term in terms.items()}
        terms["loss"].backward(inputs=list(layers.parameters(chosen).values()))
        sums = {name: term.detach() + sums.get(name, 0) for name, term in terms.items()}
    if sharing and len(parts) > 1:
        chosen = layers.choose_by(gradient, size)
        layers.keep_gradients(chosen)
    images = hparams.batch * (2 if hparams.loss == "directional" else 1)
    return sums, chosen, images + layers.images_drawn(hparams.batch, sharing)


def choice_gradient(layers: Layers, codes: Codes, loss: NadaLoss, seen: Seen, rows: Rows):
    """A part's share of the gradient of Eq. 1 that chooses layers, [B,num_ws,style_dim]."""
    count = min(rows.stop, layers.shared(rows.batch)) - rows.start
    if count <= 0:  # none of them is among the n_w first
        return torch.zeros_like(codes.trained)
    few = loss.choice_term(seen.of_first(count, rows.count))
    return layers.code_gradient(codes.trained, few, count)


class Pictures:
    """Renders a step's images of both generators in parts, from one draw of noise and views."""

    def __init__(self, frozen, trained, codes: Codes, loss: NadaLoss, hparams: NadaHyperparameters):
        self.generators, self.codes = (frozen, trained), codes
        self.loss, self.hparams = loss, hparams
        self.seeds = noise_seeds()
        self.views = None

    def see(self, rows: Rows) -> Seen:
        """Render these codes with both generators, and embed the views of the images."""
        frozen_images, trained_images = render_pair(
            *self.generators, self.codes, self.hparams, self.seeds, rows
        )
        if self.views is None:
            self.views = self.loss.views(trained_images, rows.batch)
        return self.loss.see(trained_images, frozen_images, self.views.rows(rows))


def micro_batches(job: Job, hparams: NadaHyperparameters, layers: Layers) -> MicroBatches:
    """How many images a run renders at once: at first the whole batch and all codes that choose layers."""
    largest = max(hparams.batch, hparams.layers.n_w if layers.selects else 0)
    return MicroBatches(largest, hparams.micro_batch, job.label, job.log, job.device)


def fill_missing_gradients(parameters) -> None:
    """Zero gradients for parameters that have none, so that Adam's second moment decays."""
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
