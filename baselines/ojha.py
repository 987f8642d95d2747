"""Ojha et al. 2021: fine-tuning that preserves distances between images, with a relaxed D.

Cross-domain distance consistency (§3.1, Eq. 1-2) and the anchor strategy (§3.2): D judges whole images
around a few fixed codes, the anchors, and only patches for all other codes.
"""

import copy
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.adversarial.few_shot import FewShotHyperparameters, fine_tune
from baselines.adversarial.warm_starts import Start, warm_start
from baselines.registry import Method
from nada.images.training_images import few_shot_images
from nada.run.artifact import AdaptedModel
from nada.run.hyperparameters import Whole, hyperparameter, hyperparameters
from nada.run.job import Job
from nada.stylegan2.adversarial import AdversarialTrainer, r1_penalty
from nada.stylegan2.discriminator import Discriminator
from nada.stylegan2.generator import Generator
from nada.stylegan2.ops import EqualizedConv2d


@hyperparameters
class OjhaHyperparameters(FewShotHyperparameters):
    """FewShotHyperparameters, and those of the method; defaults are those of the public code."""

    batch: Whole = hyperparameter(
        4, "Images of a step: 2 or more, since the method compares the images of a batch.",
        unit="images", source="public code", ge=2,
    )
    consistency_weight: float = hyperparameter(
        1000.0, "λ, the weight of the distance consistency (§3.1).",
        source="public code (paper: 1000 to 10000)", ge=0,
    )
    anchor_std: float = hyperparameter(
        0.1, "Standard deviation of the noise around an anchor.", source="public code", ge=0
    )
    kl: Literal["entries", "samples"] = hyperparameter(
        "entries", "The divergence is a mean over all entries of the similarities [N, N-1], or over samples, "
        "which is N-1 times as large.", source="public code",
    )
    patch_features: Literal["first", "all"] = hyperparameter(
        "first", "The feature map of D for patches: the first candidate, or one of all, drawn at each step for "
        "both real and generated images.", source="public code",
    )
    patch_r1: bool = hyperparameter(
        False, "Whether R1 also acts on the logits of patches.", source="public code"
    )


METHOD = Method(
    name="ojha",
    paper="Ojha et al. 2021, Few-shot image generation via cross-domain correspondence",
    licence="Adobe Research License (non-commercial)",
    supervision="images",
    hyperparameters=OjhaHyperparameters,
)

CYCLE = 4  # one step in four is an anchor step, the others see patches


# Distance consistency ------------------------------------------------------------------------------


def features(generator: Generator, w_plus: Tensor, noise_mode: str = "random") -> list[Tensor]:
    """Outputs of every styled convolution, after noise and activation, [N,C,H,W] each."""
    found: list[Tensor] = []
    hooks = [
        conv.register_forward_hook(lambda module, inputs, output: found.append(output))
        for conv in generator.synthesis.convs
    ]
    try:
        generator.synthesis(w_plus, noise_mode)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def similarity_logits(maps: list[Tensor], layers: Tensor) -> Tensor:
    """Cosine similarity of each sample to all others, [N, N-1] (Eq. 1).

    Row p is computed on maps[layers[p]], flattened; its columns keep the order of the batch. Maps in
    half precision are converted to float32.
    """
    rows = []
    for p, layer in enumerate(layers.tolist()):
        flat = maps[layer].flatten(1)
        flat = flat.to(torch.promote_types(flat.dtype, torch.float32))
        others = torch.cat([flat[:p], flat[p + 1 :]])
        rows.append(F.cosine_similarity(flat[p : p + 1], others, dim=1))
    return torch.stack(rows)


def distance_consistency(source_logits: Tensor, logits: Tensor, kl: str = "entries") -> Tensor:
    """KL(source || adapted) of the softmax over similarities [N, N-1] (Eq. 2), a scalar.

    kl: the mean over 'entries' or over 'samples'; see OjhaHyperparameters.
    """
    adapted, source = logits.log_softmax(dim=1), source_logits.softmax(dim=1)
    total = F.kl_div(adapted, source, reduction="sum")
    return total / {"samples": len(logits), "entries": logits.numel()}[kl]


# Patches -------------------------------------------------------------------------------------------


class PatchHeads(nn.Module):
    """Patch discriminators: one 3x3 convolution to a map of logits on each candidate map of D.

    Candidates are the outputs of D's convolutions of 32 and 16 px, before the residual sum, from
    high to low resolution, at every resolution of the image from 64 px (public code). A smaller D
    takes those of 1/2 and 1/4 of the image (ours), whose receptive fields are patches as well. The
    logits pass a leaky ReLU as in the public code: times √2, negative ones times 0.2·√2.
    """

    def __init__(self, D: Discriminator):
        super().__init__()
        side = D.config["resolution"]
        sizes = {32, 16} if side >= 64 else {side // 2, side // 4}
        self.places = []  # (block, convolution 0 or 1) with the map's channels
        channels = []
        for i, block in enumerate(D.blocks):
            here = side // 2**i
            for j, conv in enumerate((block.conv0, block.conv1)):
                if here // 2**j in sizes:
                    self.places.append((i, j))
                    channels.append(conv.weight.shape[0])
        self.heads = nn.ModuleList(EqualizedConv2d(c, 1, 3, activate=True) for c in channels)

    def forward(self, D: Discriminator, images: Tensor, index: int) -> Tensor:
        """Logits [N,1,h,w] of images on candidate `index`; D runs only as far as needed."""
        block, conv = self.places[index]
        x = D.from_rgb(images)
        for earlier in D.blocks[:block]:
            x = earlier(x)
        x = D.blocks[block].conv0(x)
        if conv == 1:
            x = D.blocks[block].conv1(x)
        return self.heads[index](x)


# Training ------------------------------------------------------------------------------------------


class OjhaTrainer(AdversarialTrainer):
    """The adversarial trainer with anchors, patches and the distance consistency."""

    def __init__(self, start: Start, hparams: OjhaHyperparameters, anchors: Tensor, heads: PatchHeads):
        self.source = copy.deepcopy(start.G).eval().requires_grad_(False)
        self.own, self.anchors, self.heads = hparams, anchors, heads
        self.at_anchor, self.place = True, 0
        super().__init__(
            start.G, start.D, start.G_ema, hparams.training(),
            discriminate=self._judge, extra_generator_loss=self._consistency,
            d_parameters=[*start.D.parameters(), *heads.parameters()],
        )  # fmt: skip

    def step(self, real_images: Tensor, train_generator: bool = True) -> dict:
        """One step of the base class: an anchor step with whole images, or any codes with patches."""
        self.at_anchor = self.steps % CYCLE == 0
        if self.own.patch_features == "all":
            self.place = int(torch.randint(len(self.heads.places), ()))
        return super().step(real_images, train_generator)

    def sample_w_plus(self, n: int, move_w_avg: bool = True) -> Tensor:
        """In an anchor step, codes around anchors without mixing; otherwise as in the base class."""
        if not self.at_anchor:
            return super().sample_w_plus(n, move_w_avg)
        rows = torch.randint(len(self.anchors), (n,), device=self.anchors.device)
        z = self.anchors[rows]
        z = z + self.own.anchor_std * torch.randn_like(z)
        return self.G.broadcast(self.G.mapping(z, skip_w_avg_update=not move_w_avg))

    def r1_step(self, real_images: Tensor) -> dict:
        """R1 of D; with patch_r1 also of the logits of patches.

        The published interval (16) is a multiple of the cycle, so R1 is only in anchor steps.
        """
        report = super().r1_step(real_images)
        if self.own.patch_r1:
            images = real_images.detach().requires_grad_(True)
            logits = self.heads(self.D, images, self.place).mean(dim=(1, 2, 3))
            penalty = r1_penalty(images, logits)
            loss = penalty * (self.hparams.r1_gamma / 2 * self.hparams.r1_interval)
            self._optimise(self.d_optimizer, loss, "R1 penalty of patches")
            report["patch_r1"] = self.shown(penalty)
        return report

    def _judge(self, images: Tensor) -> Tensor:
        if self.at_anchor:
            return self.D(images)
        return self.heads(self.D, images, self.place)

    def _consistency(self, images: Tensor) -> Tensor:
        """λ KL of similarities between new codes under both generators (Eq. 2).

        Each generator draws its own noise; the layers are all but the first, at 4x4 (public code).
        """
        z = self.normal_latent(self.own.batch)
        with torch.no_grad():
            source_maps = features(self.source, self.source.broadcast(self.source.mapping(z)))
        w = self.G.mapping(z, skip_w_avg_update=True)
        maps = features(self.G, self.G.broadcast(w))
        layers = torch.randint(1, len(maps), (self.own.batch,))
        divergence = distance_consistency(
            similarity_logits(source_maps, layers), similarity_logits(maps, layers), self.own.kl
        )
        return self.own.consistency_weight * divergence


def adapt(job: Job) -> AdaptedModel:
    """Fine-tune with distance consistency to the networks that training starts from."""
    hparams = job.hyperparameters(OjhaHyperparameters)
    start = warm_start(job)
    job.seed_everything()  # also for anchors and heads
    images = few_shot_images(job)
    # seeded by the run's name, so a resumed run draws the same
    anchors = torch.randn(len(images), start.G.config["z_dim"], device=job.device)
    heads = PatchHeads(start.D).to(job.device)
    trainer = OjhaTrainer(start, hparams, anchors, heads)
    return fine_tune(
        job, hparams, trainer, images, catches_up=start.catches_up,
        parts={"heads": heads},
    )  # fmt: skip
