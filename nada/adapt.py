"""The training loop of StyleGAN-NADA: one generator moves, its frozen twin is the reference (§4).

Gal et al. 2021, Fig. 2. The layer policy is in `layers.py`, the losses in `losses.py`.
"""

import copy
import dataclasses
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from nada.augment import Views, draw_views
from nada.clip.encoder import Clip, text_direction, text_embedding
from nada.layers import LayerHyperparameters, Layers
from nada.losses import directional_loss, ensemble, global_loss, image_direction
from nada.mapper import MapperHyperparameters, train_mapper
from nada.run.artifact import AdaptedModel
from nada.run.errors import UserError
from nada.run.hyperparameters import setting
from nada.run.job import Job
from nada.run.micro_batch import MicroBatches, NoiseRows, Rows, split
from nada.run.precision import Precision, set_numerics, set_precision
from nada.run.streams import stream_seed
from nada.stylegan2.generator import Generator

OFFICIAL_SHIFT = 1e-6  # what the public code adds to every pixel where the whole ΔI is zero
#: What the public code wraps around the target's text in Eq. 1, by who asks.
OFFICIAL_PROMPTS = {"loss": "a {}", "choice": "{}", "mapper": "{}"}
CHUNK = 16  # images rendered or encoded at once where no graph is kept; bounds memory


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
    keeps the layers of that step nearly still for hundreds of steps (measured: docs/choosing-hyperparameters.md).
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
    frozen = job.source().G_ema.eval().requires_grad_(False)
    trained = copy.deepcopy(frozen)
    trained.mapping = frozen.mapping

    # what steers, and what is trained
    loss = NadaLoss(job, hparams, frozen)
    forget_texts(loss.clips)
    layers = Layers(trained, hparams.layers, loss.of_images, job.label)
    for generator in (frozen, trained):  # not before: the target's direction is full precision
        set_precision(generator, hparams.precision)
    trainable = layers.trainable()
    optimiser = torch.optim.Adam(trainable.values(), lr=hparams.lr, betas=hparams.betas)
    snapshots = snapshot_steps(hparams.snapshots, hparams.iterations, job.label)
    micro = micro_batches(job, hparams, layers)

    # a fresh start, or where an interrupted run stopped
    job.seed_everything()
    job.plan(hparams.iterations, hparams.checkpoint_every)
    start = 0
    if resumed := job.resume():
        start, state = resumed
        with torch.no_grad():
            for name, parameter in trainable.items():
                parameter.copy_(state["trained"][name])
        optimiser.load_state_dict(state["optimiser"])
        micro.size = state["micro_batch"]

    with job.running():
        if start == 0 and 0 in snapshots:
            job.snapshot(0, named_as_artifact(trainable))
        for step in range(start + 1, hparams.iterations + 1):
            terms, chosen, images = micro.attempt(
                lambda size: forward_backward(frozen, trained, layers, loss, hparams, size),
                trainable.values(),
            )
            # one step of Adam
            if hparams.skipped_layer_state == "decay":
                fill_missing_gradients(trainable.values())
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
            # what is kept
            job.count(images=images)
            if layers.selects:
                terms["layers"] = " ".join(map(str, chosen))
            job.progress(step, **terms)
            if step in snapshots:
                job.snapshot(step, named_as_artifact(trainable))
            state = {"optimiser": optimiser.state_dict(), "micro_batch": micro.size}
            job.checkpoint(step, {"trained": trainable, **state})
    job.add_cost(micro_batch=micro.size)
    return AdaptedModel(trained)


def adapt_mapper(job: Job, hparams: NadaHyperparameters) -> AdaptedModel:
    """Train a latent mapper (§4.3) on the parent run's model, or on the source as it is.

    The model itself stays as it was. On the source, it is the control of the mapper: how far it
    gets without NADA.
    """
    set_numerics(job.device, hparams.tf32, hparams.deterministic)
    on_source = hparams.mapper.base == "source"
    model = AdaptedModel(job.source().G_ema) if on_source else job.parent()
    set_precision(model.generator, hparams.precision)
    steps = snapshot_steps(hparams.snapshots, hparams.mapper.iterations, job.label)
    clips = job.clips(hparams.clip_resize, hparams.clips)
    targets = target_embeddings(job, clips, hparams, "mapper")
    forget_texts(clips)
    return train_mapper(
        job, hparams.mapper, model, clips, targets, steps, hparams.checkpoint_every,
        hparams.micro_batch,
    )  # fmt: skip


def forward_backward(
    frozen: Generator,
    trained: Generator,
    layers: Layers,
    loss: "NadaLoss",
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


def choice_gradient(layers: Layers, codes: "Codes", loss: "NadaLoss", seen: "Seen", rows: Rows):
    """A part's share of the gradient of Eq. 1 that chooses layers, [B,num_ws,style_dim]."""
    count = min(rows.stop, layers.shared(rows.batch)) - rows.start
    if count <= 0:  # none of them is among the n_w first
        return torch.zeros_like(codes.trained)
    few = loss.choice_term(seen.of_first(count, rows.count))
    return layers.code_gradient(codes.trained, few, count)


def micro_batches(job: Job, hparams: NadaHyperparameters, layers: Layers) -> MicroBatches:
    """How many images a run renders at once: at first all of a batch, and all codes that choose."""
    largest = max(hparams.batch, hparams.layers.n_w if layers.selects else 0)
    return MicroBatches(largest, hparams.micro_batch, job.label, job.log, job.device)


class Seen(NamedTuple):
    """A step's images as every CLIP sees them, [V·B,E] each, view by view; one list per CLIP."""

    trained: list[Tensor]
    frozen: list[Tensor]  # without graph; empty where the loss does not ask for them

    def of_first(self, count: int, batch: int) -> list[Tensor]:
        """The embeddings of the first `count` of `batch` trained images, in every view."""
        if count == batch:
            return self.trained
        return [e.unflatten(0, (-1, batch))[:, :count].flatten(0, 1) for e in self.trained]


class NadaLoss:
    """The run's loss over its CLIP ensemble; embeddings of the target are made once, at the start.

    source: the source generator, whose images are where an image direction starts.
    targets, choice_targets: each CLIP's unit embedding [E] of what Eq. 1 aims at, as a loss and in
    the layer choice. directions: that of Eq. 2.
    """

    def __init__(self, job: Job, hparams: NadaHyperparameters, source: Generator):
        self.hparams = hparams
        self.clips: list[Clip] = job.clips(hparams.clip_resize, hparams.clips)
        self.weights = [clip.weight for clip in self.clips]
        self.targets = target_embeddings(job, self.clips, hparams, "loss")
        self.choice_targets = self.targets
        if aims_at_text(hparams) and hparams.global_prompt == "official":
            self.choice_targets = target_embeddings(job, self.clips, hparams, "choice")
        # two draws of a noise that shows make two images: then nothing needs to be asked
        strengths = torch.stack([conv.noise_strength for conv in source.synthesis.convs])
        differ = hparams.noise == "drawn" and bool((strengths != 0).any())
        self.may_coincide = hparams.guard == "official" and not differ
        self.directions = target_directions(job, self.clips, hparams, source)

    def see(self, trained_images: Tensor, frozen_images: Tensor | None, views=None) -> Seen:
        """Unit embeddings of a step's images [B,3,R,R]; only those of the trained have a graph.

        views: what CLIP is shown of them, drawn here where it is left out.
        """
        views = views or self.views(trained_images, len(trained_images))
        trained_views = views(trained_images)
        trained = [clip.encode_images(trained_views) for clip in self.clips]
        if frozen_images is None:
            return Seen(trained, [])
        with torch.no_grad():
            frozen_views = views(frozen_images)
            frozen = [clip.encode_images(frozen_views) for clip in self.clips]
        if self.may_coincide:
            pairs = zip(trained, frozen, strict=True)
            sums = torch.stack([(a - b).sum() for a, b in pairs]).tolist()
            for i, clip in enumerate(self.clips):
                if sums[i] == 0:
                    trained[i] = clip.encode_images(trained_views + OFFICIAL_SHIFT)
        return Seen(trained, frozen)

    def __call__(self, seen: Seen) -> dict[str, Tensor]:
        """{"loss", "image_change"} of a batch; image_change is the mean ‖ΔI‖ over CLIPs."""
        if self.hparams.loss == "global":
            return {"loss": self.global_term(seen.trained)}
        epsilon = self.hparams.epsilon if self.hparams.guard == "epsilon" else 0.0
        losses, changes = [], []
        for trained, frozen, direction in zip(*seen, self.directions, strict=True):
            losses.append(directional_loss(trained, frozen, direction, epsilon))
            changes.append((trained.detach() - frozen).norm(dim=-1).mean())
        return {
            "loss": ensemble(self.weights, losses),
            "image_change": torch.stack(changes).mean(),
        }

    def global_term(self, embeddings: list[Tensor]) -> Tensor:
        """Eq. 1 as a loss over the ensemble, a scalar; embeddings: unit, [N,E] for each CLIP."""
        return self._global_term(embeddings, self.targets)

    def choice_term(self, embeddings: list[Tensor]) -> Tensor:
        """Eq. 1 as `global_term`, with the text by which layers are chosen."""
        return self._global_term(embeddings, self.choice_targets)

    def _global_term(self, embeddings: list[Tensor], targets: list[Tensor]) -> Tensor:
        pairs = zip(embeddings, targets, strict=True)
        return ensemble(self.weights, [global_loss(image, target) for image, target in pairs])

    def of_images(self, images: Tensor, rows: Rows | None = None) -> Tensor:
        """Eq. 1 of images [N,3,R,R], for a layer choice on codes of its own; rows: see `Layers`."""
        views = self.views(images, rows.batch if rows else len(images))
        shown = (views.rows(rows) if rows else views)(images)
        return self.choice_term([clip.encode_images(shown) for clip in self.clips])

    def views(self, images: Tensor, batch: int) -> "Views | AsTheyAre":
        """What CLIP is shown of `batch` images like these: the same of both generators'."""
        if self.hparams.augment == "none":
            return AsTheyAre()
        return draw_views(images[:1].expand(batch, -1, -1, -1), self.hparams.augment_views)


class AsTheyAre:
    """The views of a run without any."""

    def __call__(self, images: Tensor) -> Tensor:
        return images

    def rows(self, _: Rows) -> "AsTheyAre":
        return self


class Pictures:
    """A step's images of both generators, part by part, from one draw of noise and of views."""

    def __init__(self, frozen, trained, codes: "Codes", loss: NadaLoss, hparams: NadaHyperparameters):
        self.generators, self.codes = (frozen, trained), codes
        self.loss, self.hparams = loss, hparams
        self.seeds = noise_seeds()
        self.views = None

    def see(self, rows: Rows) -> Seen:
        """Render these codes in both generators and embed what CLIP is shown."""
        frozen_images, trained_images = render_pair(
            *self.generators, self.codes, self.hparams, self.seeds, rows
        )
        if self.views is None:
            self.views = self.loss.views(trained_images, rows.batch)
        return self.loss.see(trained_images, frozen_images, self.views.rows(rows))


def aims_at_text(hparams: NadaHyperparameters) -> bool:
    """Whether Eq. 1 aims at the target's text, not at target images."""
    return hparams.direction == "text" or hparams.global_target == "text"


def target_embeddings(
    job: Job, clips: list[Clip], hparams: NadaHyperparameters, use: str
) -> list[Tensor]:
    """Each CLIP's unit embedding [E] of the target that Eq. 1 aims at.

    That of the target text, in the prompts the hyperparameters ask for, or the mean of the target images.
    use: who asks, one of OFFICIAL_PROMPTS.
    """
    if not aims_at_text(hparams):
        images = target_images(job)
        means = [encode_targets(clip, images).mean(dim=0) for clip in clips]
        return [F.normalize(mean, dim=-1) for mean in means]
    official = hparams.global_prompt == "official"
    templates = [OFFICIAL_PROMPTS[use]] if official else job.templates()
    return [text_embedding(clip, job.texts()[1], templates) for clip in clips]


def target_directions(
    job: Job, clips: list[Clip], hparams: NadaHyperparameters, source: Generator
) -> list[Tensor]:
    """Each CLIP's unit direction [E] from the source to the target: ΔT (§4.1) or ΔI_real (Eq. 3)."""
    if hparams.direction == "text":
        source_text, target_text = job.texts()
        templates = job.templates()
        return [text_direction(clip, source_text, target_text, templates) for clip in clips]
    images = target_images(job)
    drawn = source_images(source, hparams.source_images, stream_seed("source images", job.name))
    return [image_direction(encode_targets(clip, images), encode(clip, drawn)) for clip in clips]


def forget_texts(clips: list[Clip]) -> None:
    """Give back the memory of the text towers: every text is encoded by now."""
    for clip in clips:
        clip.forget_text()


def target_images(job: Job) -> Tensor:
    """The run's few-shot images [n,3,R,R]. Raises UserError where it has none."""
    if job.shots < 1:
        raise UserError(
            f"{job.label}: hyperparameters.direction is 'image', but the run has no target images "
            f"(shots is {job.shots}); set shots to 1 or more, or direction to 'text'."
        )
    return job.few_shot_images()


@torch.no_grad()
def source_images(source: Generator, count: int, seed: int) -> Tensor:
    """Images [count,3,R,R] of fresh codes of the source generator, untruncated, random noise."""
    stream = torch.Generator(source.w_avg.device).manual_seed(seed)
    images = []
    for size in chunks(count):
        z = torch.randn(size, source.config["z_dim"], generator=stream, device=source.w_avg.device)
        codes = source.broadcast(source.mapping(z))
        images.append(source.synthesis(codes, "random", stream))
    return torch.cat(images)


@torch.no_grad()
def encode(clip: Clip, images: Tensor) -> Tensor:
    """Unit embeddings [N,E] of any number of images [N,3,R,R], without graph."""
    return torch.cat([clip.encode_images(part) for part in images.split(CHUNK)])


@torch.no_grad()
def encode_targets(clip: Clip, images: Tensor) -> Tensor:
    """As `encode`, for target images: the public code antialiases those whatever it does else."""
    prepare = dataclasses.replace(clip, resize="antialias").preprocess
    raw = [clip.embed_images(part, prepare) for part in images.split(CHUNK)]
    return F.normalize(torch.cat(raw), dim=-1)


def chunks(count: int) -> list[int]:
    """`count` in parts of CHUNK and a rest."""
    return [min(CHUNK, count - start) for start in range(0, count, CHUNK)]


def noise_seeds() -> list[int]:
    """The seeds of a step's noise: of the frozen generator's, and of the trained one's if drawn anew."""
    return torch.randint(2**62, (2,)).tolist()


def render_pair(
    frozen: Generator,
    trained: Generator,
    codes: "Codes",
    hparams: NadaHyperparameters,
    seeds: list[int] | None = None,
    rows: Rows | None = None,
):
    """(frozen, trained) images [N,3,R,R] of one batch of codes; only the second has a graph.

    The frozen ones are None under the global loss, which does not look at them. seeds: of the
    noise, drawn here where they are left out. rows: render these codes alone, with their share of
    the batch's noise.
    """
    stream = torch.Generator(frozen.w_avg.device)
    seeds = seeds or noise_seeds()
    second = seeds[0] if hparams.noise == "shared" else seeds[1]

    def render(generator: Generator, w_plus: Tensor, seed: int) -> Tensor:
        noise = stream.manual_seed(seed)
        if rows is None or rows.whole:
            return generator.synthesis(w_plus, "random", noise)
        return generator.synthesis(rows.of(w_plus), "random", NoiseRows(noise, rows))

    frozen_images = None
    if hparams.loss == "directional":
        with torch.no_grad():
            frozen_images = render(frozen, codes.frozen, seeds[0])
    return frozen_images, render(trained, codes.trained, second)


class Codes(NamedTuple):
    """W+ codes [N,num_ws,style_dim] of one batch; mixed: they hold two w each."""

    frozen: Tensor
    trained: Tensor
    mixed: bool


@torch.no_grad()
def draw_codes(generator: Generator, hparams: NadaHyperparameters) -> Codes:
    """A batch of codes for the frozen and the trained generator, mixed or not.

    With probability `style_mixing` the batch mixes two w at a crossover in 1..num_ws-1: one
    crossover for both generators, or (codes: 'official') each its own.
    """
    first, second = (
        generator.broadcast(
            generator.mapping(
                torch.randn(
                    hparams.batch, generator.config["z_dim"], device=generator.w_avg.device
                )
            )
        )
        for _ in range(2)
    )
    mixes = bool(torch.rand(()) < hparams.style_mixing)
    crossovers = torch.randint(1, generator.num_ws, (2,)).tolist()
    if not mixes:
        return Codes(first, first, mixed=False)
    codes = [torch.cat([first[:, :c], second[:, c:]], dim=1) for c in crossovers]
    return Codes(codes[0], codes[0 if hparams.codes == "shared" else 1], mixed=True)


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
