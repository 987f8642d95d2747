"""Training of the latent mapper (Gal et al. 2021, §4.3, App. I).

The mapper moves codes into the region of an adapted model that shows the target. The network is in
`nada/latent_maps.py`.
"""

import functools
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import model_validator
from torch import Tensor

from nada.clip.encoder import Clip
from nada.images.resize import repeat_and_pool
from nada.latent_maps import LatentMapper
from nada.losses import embedding_distance_loss, embedding_norm_loss, ensemble, global_loss
from nada.ranger import Ranger
from nada.run.errors import UserError
from nada.run.hyperparameters import Betas, Whole, hyperparameter, hyperparameters
from nada.run.micro_batch import MicroBatches, split
from nada.run.streams import stream_seed
from nada.stylegan2.generator import Generator

OPTIMISERS = {"ranger": Ranger, "radam": torch.optim.RAdam}
POOL_UNIT = 32  # StyleCLIP's code repeats a pixel 224/32 = 7 times, then pools R/32


@hyperparameters
class MapperHyperparameters:
    """How the mapper is trained. Defaults: the paper's or, where it is silent, StyleCLIP's code's."""

    base: Literal["parent", "source"] = hyperparameter(
        "parent", "The model that it is trained on: the parent run's, or the unadapted source model, which "
        "needs no parent and is the control without NADA.", source="paper; ours: source",
    )
    iterations: Whole = hyperparameter(
        50_000, "Training steps.", unit="steps", source="StyleCLIP: 50 000 at 1024 px", ge=1
    )
    batch: Whole = hyperparameter(2, "Latent codes of a step.", unit="codes", source="StyleCLIP", ge=1)
    optimiser: Literal["ranger", "radam"] = hyperparameter(
        "ranger", "Ranger (nada/ranger.py), or RAdam, without Ranger's slow weights and centred gradients.",
        source="StyleCLIP; ours: radam",
    )
    lr: float = hyperparameter(
        0.5, "The optimiser's learning rate; large, because the layers' own multiplier is 0.01.",
        source="StyleCLIP", gt=0,
    )
    betas: Betas = hyperparameter((0.95, 0.999), "The optimiser's decay rates.", source="StyleCLIP")
    lambda_l2: float = hyperparameter(
        0.5, "Weight of the mean of (ŵ − w)².", source="paper; official: 0.8", ge=0
    )
    lambda_norm: float = hyperparameter(0.2, "Weight of Eq. 5.", source="paper; official: 0.5", ge=0)
    norm_loss: Literal["distance", "official"] = hyperparameter(
        "distance", "Eq. 5 as printed: the squared distance of raw embeddings, summed over the CLIPs; or the "
        "squared difference of their norms under the first CLIP, as the paper's text describes "
        "Eq. 5.", source="paper; official: the second",
    )
    clip_input: Literal["clip", "official"] = hyperparameter(
        "clip", "CLIP reads images through its own preprocessing (the paper's E_I); or in [-1,1] without "
        "normalisation, each pixel repeated 7 times and averaged over squares of R/32 (R a multiple of 32).",
        source="paper; official: the second",
    )
    code_pool: Whole = hyperparameter(
        0, "0 samples new codes at each step; otherwise the size of a fixed pool of codes (`CodePool`), "
        "a batch or more.", unit="codes", source="paper; official: 5000", ge=0,
    )
    normalise: Literal["features", "official"] = hyperparameter(
        "features", "Each level divides a code by the root mean square over its features, or over the level's "
        "slots (dimension 1 of W+).",
        source="StyleGAN's mapping network, as StyleCLIP describes it; official: the second",
    )
    truncation_psi: float = hyperparameter(
        0.7, "Truncation of the training codes; 0 would make all of them equal.", source="StyleCLIP", gt=0
    )

    @model_validator(mode="after")
    def _pool_holds_a_batch(self):
        if 0 < self.code_pool < self.batch:
            raise ValueError(
                f"code_pool is {self.code_pool}, less than a batch of {self.batch}; set it to "
                f"{self.batch} or more, or to 0 for fresh codes"
            )
        return self


@dataclass
class MapperLoss:
    """The mapper's objective on one batch; a call returns {"loss": …} and its terms.

        L = Σ_m weight_m L_global,m(G(ŵ)) + λ_L2 mean (ŵ − w)² + λ_norm L_norm

    clips: the CLIP ensemble; targets: each one's unit embedding [E] of the target text or images.
    """

    generator: Generator
    clips: list[Clip]
    targets: list[Tensor]
    hparams: MapperHyperparameters

    def __call__(self, w_plus: Tensor, mapped: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            base = self._embed(self.generator.synthesis(w_plus, noise_mode="const"))
        embeddings = self._embed(self.generator.synthesis(mapped, noise_mode="const"))

        units = [F.normalize(embedding, dim=-1) for embedding in embeddings]
        weights = [clip.weight for clip in self.clips]
        pairs = zip(units, self.targets, strict=True)
        clip_loss = ensemble(weights, [global_loss(unit, target) for unit, target in pairs])
        l2 = F.mse_loss(mapped, w_plus)
        norm = self._norm_loss(base, embeddings, weights)
        loss = clip_loss + self.hparams.lambda_l2 * l2 + self.hparams.lambda_norm * norm
        return {"loss": loss, "clip_loss": clip_loss, "l2": l2, "norm_loss": norm}

    def _embed(self, images: Tensor) -> list[Tensor]:
        """Raw embeddings [B,E] of images [B,3,R,R] under every CLIP."""
        if self.hparams.clip_input == "clip":
            return [clip.embed_images(images) for clip in self.clips]
        return [clip.embed_images(images, official_input(clip.image_size)) for clip in self.clips]

    def _norm_loss(self, base, mapped, weights) -> Tensor:
        if self.hparams.norm_loss == "official":
            return embedding_norm_loss(base[0], mapped[0])
        pairs = zip(base, mapped, strict=True)
        return ensemble(weights, [embedding_distance_loss(a, b) for a, b in pairs])


def check_input(hparams: MapperHyperparameters, resolution: int, clips: list[Clip], run: str) -> None:
    """Raise UserError if the official input does not fit the image size of the generator or of a CLIP."""
    if hparams.clip_input != "official":
        return
    sizes = {"the generator": resolution, **{f"CLIP '{c.name}'": c.image_size for c in clips}}
    for who, size in sizes.items():
        if size % POOL_UNIT:
            raise UserError(
                f"{run}: mapper.clip_input is 'official', which pools squares of a {POOL_UNIT}th of "
                f"the side, but {who} has {size} pixels a side; set it to 'clip'."
            )


def official_input(size: int):
    """The public code's input for a CLIP of `size` pixels: pixels repeated, then pooled, in [-1,1]."""
    return functools.partial(repeat_and_pool, size=size, unit=POOL_UNIT)


class CodePool:
    """The public code's fixed pool of codes: overlapping windows of `batch` codes out of `count`.

    `count` codes z are drawn. Window b holds z_b … z_(b+batch-1): count // batch windows use
    count // batch + batch - 1 different codes, most of them `batch` times. An epoch shows all codes
    of all windows once, in a new random order. Seeds derive from the run's name.
    name: the run's. count: a batch or more; MapperHyperparameters refuses less.
    """

    def __init__(self, name: str, count: int, batch: int, z_dim: int):
        self.name, self.batch = name, batch
        stream = torch.Generator().manual_seed(stream_seed("code pool", name))
        self.z = torch.randn(count, z_dim, generator=stream)
        starts = torch.arange(count // batch)
        self.windows = (starts[:, None] + torch.arange(batch)).flatten()

    def draw(self, step: int) -> Tensor:
        """The codes z [batch,z_dim] of a step, counted from 1, on the CPU."""
        epoch, place = divmod(step - 1, len(self.windows) // self.batch)
        stream = torch.Generator().manual_seed(stream_seed("code pool", self.name, epoch))
        order = torch.randperm(len(self.windows), generator=stream)
        chosen = order[place * self.batch : (place + 1) * self.batch]
        return self.z[self.windows[chosen]]


def forward_backward(
    objective: MapperLoss, mapper: LatentMapper, w_plus: Tensor, size: int = 0
) -> dict[str, Tensor]:
    """Compute a batch's gradients into the mapper's `grad`; returns the terms of its loss.

    size: most images rendered at once, 0 for all. Every term is a mean over the batch, so parts add
    up to it. Noise is constant: nothing is drawn.
    """
    sums = {}
    for rows in split(len(w_plus), size):
        codes = rows.of(w_plus)
        terms = objective(codes, mapper.map_w_plus(codes))
        if not rows.whole:
            terms = {name: term * rows.share for name, term in terms.items()}
        terms["loss"].backward()
        sums = {name: term.detach() + sums.get(name, 0) for name, term in terms.items()}
    return sums


def train_mapper(
    job,
    hparams: MapperHyperparameters,
    parent,
    clips: list[Clip],
    targets: list[Tensor],
    snapshots: int | list[int],
    checkpoint_every: int,
    micro_batch: int = 0,
):
    """Train a mapper on a model and return both as one adapted model.

    job: nada.run.job.Job. parent: the nada.run.artifact.AdaptedModel whose codes are mapped; its
    generator does not change. clips, targets: the ensemble and its unit embeddings [E] of the
    target. snapshots: number of models that are kept, or their steps. checkpoint_every: steps between
    training states. micro_batch: most codes rendered at once, 0 for all.
    """
    if parent.latent_map is not None:
        raise UserError(f"{job.name}: the parent's model already has a latent map; choose another parent.")
    generator = parent.generator.requires_grad_(False)
    check_input(hparams, generator.config["resolution"], clips, job.label)
    z_dim, pool = generator.config["z_dim"], None
    if hparams.code_pool:
        pool = CodePool(job.name, hparams.code_pool, hparams.batch, z_dim)
    objective = MapperLoss(generator, clips, targets, hparams)

    job.seed_everything()
    mapper = LatentMapper(generator.num_ws, generator.config["style_dim"], hparams.normalise)
    mapper = mapper.to(job.device)
    make = OPTIMISERS[hparams.optimiser]
    optimiser = make(mapper.parameters(), lr=hparams.lr, betas=hparams.betas)
    micro = MicroBatches(hparams.batch, micro_batch, job.label, job.log, job.device)

    def as_snapshot() -> dict[str, Tensor]:
        return {f"latent_map.{name}": tensor for name, tensor in mapper.state_dict().items()}

    state = {"mapper": mapper, "optimiser": optimiser, "micro_batch": micro}
    for step in job.steps(hparams.iterations, snapshots, state, as_snapshot, checkpoint_every):
        # codes of the adapted model, and the mapped codes
        if pool is None:
            z = torch.randn(hparams.batch, z_dim, device=job.device)
        else:
            z = pool.draw(step).to(job.device, non_blocking=True)
        with torch.no_grad():
            w_plus = parent.w_plus(z, hparams.truncation_psi)
        terms = micro.attempt(
            lambda size, w_plus=w_plus: forward_backward(objective, mapper, w_plus, size),
            mapper.parameters(),
        )
        # one step of the mapper; the generator is frozen
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        job.report(images=2 * hparams.batch, **terms)
    job.add_cost(micro_batch=micro.size)
    return parent.with_latent_map(mapper)
