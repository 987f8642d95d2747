"""The training loop of StyleGAN-NADA: one generator moves, its frozen twin is the reference (§4).

Gal et al. 2021, Fig. 2. The layer policy is in `layers.py`, the losses in `losses.py`.
"""

import copy
import dataclasses
from typing import Annotated, Literal, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from nada.augment import Views, draw_views
from nada.clip.encoder import Clip, text_direction, text_embedding
from nada.layers import LayerHyperparameters, Layers
from nada.losses import directional_loss, ensemble, global_loss, image_direction
from nada.mapper import MapperHyperparameters, train_mapper
from nada.run.artifact import AdaptedModel
from nada.run.errors import UserError
from nada.run.hyperparameters import Betas, Natural, Unique, Whole, hyperparameter, hyperparameters
from nada.run.job import Job
from nada.run.micro_batch import MicroBatches, NoiseRows, Rows, split
from nada.run.precision import Precision, set_numerics, set_precision
from nada.run.streams import stream_seed
from nada.stylegan2.generator import Generator

OFFICIAL_SHIFT = 1e-6  # what the public code adds to every pixel where the whole ΔI is zero
#: What the public code wraps around the target's text in Eq. 1, by who asks.
OFFICIAL_PROMPTS = {"loss": "a {}", "choice": "{}", "mapper": "{}"}
CHUNK = 16  # images rendered or encoded at once where no graph is kept; bounds memory


@hyperparameters
class NadaHyperparameters:
    """How a generator is adapted. Each default is the paper's; where it is silent, the public code's.

    'official' is what the public code does; what is called "ours" neither of them does
    (docs/departures.md lists every switch).
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
        "text", "What the training follows: from the source text to the target text (ΔT), or from images "
        "of the source generator to the run's few-shot images (Eq. 3).", source="paper",
    )
    source_images: Whole = hyperparameter(
        16, "N_s, images of the source generator in a direction of images.", unit="images",
        source="paper", ge=1,
    )
    global_target: Literal["direction", "text"] = hyperparameter(
        "direction", "With a direction of images, what Eq. 1 aims at (layer choice and mapper too): the "
        "images' mean embedding, or still the target text.", source="paper; official: text",
    )
    style_mixing: float = hyperparameter(
        0.0, "Probability that the codes of a step mix two w.", source="paper (Table 3: 0 or 0.9)",
        ge=0, le=1,
    )
    snapshots: Natural | list[Natural] = hyperparameter(
        5, "Models kept on the way: how many, evenly spaced, or a list of steps.", unit="models or steps",
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
        True, "Whether a GPU uses repeatable algorithms alone (nada/run/precision.py).", source="ours"
    )
    micro_batch: Whole = hyperparameter(
        0, "Images rendered at once at most, in a step, its layer choice and a step of the mapper; 0 for all. "
        "Less memory, the same draws, and the same results but for rounding. A step that runs out of "
        "memory on a GPU halves it for the rest of the run.", unit="images", source="ours", ge=0,
    )
    codes: Literal["shared", "official"] = hyperparameter(
        "shared", "Both generators render one W+, or each its own crossover of a step that mixes two w.",
        source="paper (one w); official: drawn independently",
    )
    noise: Literal["drawn", "shared"] = hyperparameter(
        "drawn", "Both generators' noise is drawn anew, or is the same. Shared noise makes ΔI exactly 0 "
        "before the first step, which asks for the guard 'epsilon'.",
        source="public code, where the paper is silent; ours: shared",
    )
    # With shared noise the official guard acts at step 1, whose gradient is then some 1e6 times the next
    # ones': Adam's second moment keeps the layers of that step nearly still for hundreds of steps
    # (measured: docs/settings.md).
    guard: Literal["official", "epsilon"] = hyperparameter(
        "official", "Where ΔI = 0: the trained images are shifted by 1e-6 if the ΔI of a batch (or "
        "micro-batch) sums to exactly 0, or √(‖ΔI‖²+ε²) replaces ‖ΔI‖.",
        source="public code, where the paper is silent; ours: epsilon",
    )
    epsilon: float = hyperparameter(
        0.05, "The ε of guard 'epsilon', which alone reads it.", unit="length of an embedding difference",
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
        "none", "CLIP sees both generators' images as they are, or in random views, the same of both "
        "(nada/augment.py); a mapper's images are never augmented.", source="paper; ours: shared",
    )
    augment_views: Whole = hyperparameter(
        1, "Random views of a step, where `augment` is 'shared'.", unit="views", source="ours", ge=1
    )
    global_prompt: Literal["official", "templates"] = hyperparameter(
        "official", "The texts of Eq. 1: the loss 'global' reads \"a {target}\", layer choice and mapper the "
        "bare target text; or all three read the prompt templates.",
        source="public code, where the paper is silent; ours: templates",
    )
    skipped_layer_state: Literal["skip", "decay"] = hyperparameter(
        "skip", "Adam's state of a layer that is not chosen: left alone, or decayed as under a zero "
        "gradient (its next step is up to 11x longer).", source="paper; official: decay",
    )
    layers: LayerHyperparameters = hyperparameter(
        LayerHyperparameters, "How layers are chosen (§4.2).", source="see each"
    )
    mapper: MapperHyperparameters | None = hyperparameter(
        None, "Given, the run trains only a latent mapper (§4.3), on its parent's model or the source's.",
        source="paper",
    )


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
