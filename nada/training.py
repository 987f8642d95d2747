"""StyleGAN-NADA: train a generator against a frozen copy of it (Gal et al. 2021, §4, Fig. 2).

`codes.py` draws and renders the codes of both, `objective.py` has the loss and its targets, `layers.py`
the layer policy, `mapper.py` the latent mapper.
"""

import copy
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from nada.clip.steering import Steering
from nada.codes import Codes, draw_codes, noise_seeds, render_pair
from nada.layers import LayerHyperparameters, Layers
from nada.mapper import MapperHyperparameters, train_mapper
from nada.objective import NadaLoss, Seen, target_embeddings
from nada.run.artifact import AdaptedModel
from nada.run.hyperparameters import Betas, Natural, Unique, Whole, hyperparameter, hyperparameters
from nada.run.job import Job
from nada.run.micro_batch import MicroBatches, Rows, split
from nada.run.precision import Precision, set_numerics, set_precision
from nada.stylegan2.generator import Generator
from nada.stylegan2.source_networks import source_networks


@hyperparameters
class NadaHyperparameters:
    """How a generator is adapted. Each default is the paper's or, where the paper is silent, the public code's.

    'official' is what the public code does. "ours" is in neither of them. docs/departures.md lists
    every switch.
    """

    iterations: Whole = hyperparameter(
        300, "Training steps.", unit="steps", ge=1,
        source="paper: 300 for textures, 2000 for animals",
    )
    batch: Whole = hyperparameter(2, "Latent codes of a step.", unit="codes", source="paper", ge=1)
    loss: Literal["directional", "global"] = hyperparameter(
        "directional", "The loss: Eq. 2 ('directional') or Eq. 1 ('global').", source="paper"
    )
    lr: float = hyperparameter(
        0.002, "Adam's learning rate.", source="paper; official: 0.0016, a factor 4/5 of lazy regularisation",
        gt=0,
    )
    betas: Betas = hyperparameter(
        (0.0, 0.99), "Adam's decay rates.", source="paper, as StyleGAN2's; official: 0 and 0.99^0.8 = 0.992"
    )
    direction: Literal["text", "image"] = hyperparameter(
        "text", "The direction of Eq. 2: from the source text to the target text (ΔT), or from images "
        "of the source generator to the run's few-shot images (Eq. 3).", source="paper",
    )
    source_images: Whole = hyperparameter(
        16, "N_s, images of the source generator in an image direction.", unit="images",
        source="paper", ge=1,
    )
    global_target: Literal["direction", "text"] = hyperparameter(
        "direction", "With an image direction, the target of Eq. 1, of the layer choice and of the mapper: the "
        "images' mean embedding, or the target text.", source="paper; official: text",
    )
    style_mixing: float = hyperparameter(
        0.0, "Probability that the codes of a step mix two w.", source="paper (Table 3: 0 or 0.9)",
        ge=0, le=1,
    )
    snapshots: Natural | list[Natural] = hyperparameter(
        5, "Models kept during training: a number, evenly spaced, or a list of steps.", unit="models or steps",
        source="ours",
    )
    checkpoint_every: Whole = hyperparameter(
        100, "Steps between training states kept for resume; 0 keeps none.", unit="steps", source="ours", ge=0
    )
    precision: Precision = hyperparameter(
        "fp32", "float32 throughout, or the generator's highest resolutions in half precision "
        "(nada/run/precision.py).", source="ours",
    )
    tf32: bool = hyperparameter(
        False, "Whether a GPU may multiply in TF32 (nada/run/precision.py).", source="ours"
    )
    deterministic: bool = hyperparameter(
        True, "Whether a GPU uses only repeatable algorithms (nada/run/precision.py).", source="ours"
    )
    micro_batch: Whole = hyperparameter(
        0, "Most images rendered at once in a step, its layer choice and a step of the mapper; 0 for all. "
        "Saves memory; draws are the same, and results are the same up to rounding. A step that runs out of "
        "memory on a GPU halves it for the rest of the run.", unit="images", source="ours", ge=0,
    )
    codes: Literal["shared", "official"] = hyperparameter(
        "shared", "With style mixing, both generators render one W+, or each has its own crossover.",
        source="paper (one w); official: drawn independently",
    )
    noise: Literal["drawn", "shared"] = hyperparameter(
        "drawn", "Each generator draws its own noise, or both use the same. Shared noise makes ΔI exactly 0 "
        "before the first step, which needs the guard 'epsilon'.",
        source="public code, where the paper is silent; ours: shared",
    )
    # With shared noise the official guard acts at step 1, whose gradient is then some 1e6 times the next
    # ones': Adam's second moment keeps the layers of that step nearly still for hundreds of steps
    # (measured: docs/choosing-hyperparameters.md).
    guard: Literal["official", "epsilon"] = hyperparameter(
        "official", "Where ΔI = 0: the trained images are shifted by 1e-6 if the ΔI of a batch (or "
        "micro-batch) sums to exactly 0, or √(‖ΔI‖²+ε²) replaces ‖ΔI‖.",
        source="public code, where the paper is silent; ours: epsilon",
    )
    epsilon: float = hyperparameter(
        0.05, "The ε of guard 'epsilon'; not used otherwise.", unit="length of an embedding difference",
        source="ours, for the mini world's CLIPs: the ‖ΔI‖ of its published runs passes it within 10 steps "
        "and ends at 0.2 to 1.3 (`image_change` in curves.csv)", gt=0,
    )
    clip_resize: Literal["antialias", "official"] = hyperparameter(
        "antialias", "How images are resized for CLIP: as its own preprocessing does, or bicubic without "
        "antialias.", source="CLIP's preprocessing; official: without",
    )
    clips: Annotated[Unique[str], Field(min_length=1)] | None = hyperparameter(
        None, "Names of the world's CLIPs that steer the run; null for all.",
        source="ours; Table 3 uses one or two",
    )
    augment: Literal["none", "shared"] = hyperparameter(
        "none", "CLIP sees both generators' images as they are, or in the same random views "
        "(nada/augment.py). A mapper's images are never augmented.", source="paper; ours: shared",
    )
    augment_views: Whole = hyperparameter(
        1, "Random views of a step, where `augment` is 'shared'.", unit="views", source="ours", ge=1
    )
    global_prompt: Literal["official", "templates"] = hyperparameter(
        "official", "The texts of Eq. 1. official: \"a {target}\" in the loss 'global', and the bare target "
        "text in layer choice and mapper. templates: the prompt templates in all three.",
        source="public code, where the paper is silent; ours: templates",
    )
    skipped_layer_state: Literal["skip", "decay"] = hyperparameter(
        "skip", "Adam's state of a layer that is not chosen: unchanged, or decayed as with a zero "
        "gradient (its next step is up to 11x longer).", source="paper; official: decay",
    )
    layers: LayerHyperparameters = hyperparameter(
        LayerHyperparameters, "How layers are chosen (§4.2).", source="see each"
    )
    mapper: MapperHyperparameters | None = hyperparameter(
        None, "If given, the run trains only a latent mapper (§4.3), on its parent's model or on the source.",
        source="paper",
    )


def adapt_generator(job: Job, hparams: NadaHyperparameters) -> AdaptedModel:
    """Move the source generator towards the target and return it (§4.1-4.2, App. C)."""
    set_numerics(job.device, hparams.tf32, hparams.deterministic)
    # two generators with one frozen mapping network
    frozen = source_networks(job).G_ema.eval().requires_grad_(False)
    trained = copy.deepcopy(frozen)
    trained.mapping = frozen.mapping

    # the loss, and the parameters that are trained
    loss = NadaLoss(Steering(job), hparams, frozen)
    for clip in loss.clips:
        clip.forget_text()  # every text is encoded by now
    layers = Layers(trained, hparams.layers, loss.of_images, job.label)
    for generator in (frozen, trained):  # only now: the target's direction needs full precision
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
    """Train a latent mapper (§4.3) on the parent run's model, or on the unadapted source.

    The model itself does not change. A mapper on the source is a control: it shows what a mapper
    reaches without NADA.
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
    """Compute one step's gradients; only the chosen parameters have a `grad` afterwards.

    Returns the terms of the loss, the chosen layers and the number of rendered images. Adaptive
    selection needs the gradient of Eq. 1 at W+ codes copied from one w; Eq. 2 needs the gradient at
    the weights. With shared codes (LayerHyperparameters.selection_codes), one forward pass of
    generator and CLIPs gives both; every candidate layer is then in its graph. If the step mixes
    two w, its codes cannot choose layers; other codes are drawn, as without sharing.
    size: most images rendered at once, 0 for all. With several parts, the choice is known only
    after the last: the gradients of all candidates are summed, and those of the others dropped.
    The host waits for the device once, to read the choice. It does not wait if every layer trains,
    and waits once more if ΔI may be 0 and the guard is 'official'.
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
            if rows.whole:  # the loss then propagates only down to the first layer chosen
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
    if count <= 0:  # this part has none of the first n_w codes
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
    """How many images a run renders at once: initially the whole batch, or all codes that choose layers."""
    largest = max(hparams.batch, hparams.layers.n_w if layers.selects else 0)
    return MicroBatches(largest, hparams.micro_batch, job.label, job.log, job.device)


def fill_missing_gradients(parameters) -> None:
    """Zero gradients for parameters that have none, so that Adam's second moment decays."""
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
