"""MineGAN (Wang et al. 2020): a miner shifts z towards what the target images need, then all train."""

import itertools
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from baselines.few_shot import FewShotSettings, fine_tune, plain_trainer
from baselines.registry import Method
from baselines.warm_starts import warm_start
from nada.artifact import AdaptedModel
from nada.job import Job
from nada.miner import Miner
from nada.settings import setting
from nada.stylegan2.generator import Generator
from nada.stylegan2.ops import EqualizedConv2d

METHOD = Method(
    name="minegan",
    paper="Wang et al. 2020, MineGAN: effective knowledge transfer from GANs to few images",
    licence="MIT",
    supervision="images",
)


@dataclass
class MineGanSettings(FewShotSettings):
    """FewShotSettings, and the miner's.

    miner_iterations (s): steps of the first stage, in which G is frozen.
    gradients: 'zeroed' at each step, or the 'official' code's, which are never zeroed and
    accumulate over the run.
    semantic: whether a second miner replaces the learned constant, as the public code for
    StyleGAN2 does; it is drawn at random, so the first images are destroyed.
    """

    miner_iterations: int = setting(1000, 0)
    gradients: Literal["zeroed", "official"] = "zeroed"
    semantic: bool = False


class AccumulatedGradients:
    """What the public code does to its miners: every gradient is added to all those before it."""

    def __init__(self, parameters: list[nn.Parameter]):
        self.sums = [torch.zeros_like(parameter) for parameter in parameters]
        for parameter, total in zip(parameters, self.sums, strict=True):
            parameter.register_hook(lambda gradient, total=total: total.add_(gradient).clone())

    def state_dict(self) -> dict:
        return {"sums": self.sums}

    def load_state_dict(self, state: dict) -> None:
        for total, saved in zip(self.sums, state["sums"], strict=True):
            total.copy_(saved)


class SemanticMiner(nn.Module):
    """A learned constant [8,4,4] and three 1x1 convolutions in place of G's own [C,4,4].

    It does not depend on z, so the generator that is kept holds its result.
    """

    WIDTHS = (8, 32, 128)

    def __init__(self, channels: int):
        super().__init__()
        self.const = nn.Parameter(torch.randn(1, self.WIDTHS[0], 4, 4))
        widths = [*self.WIDTHS, channels]
        self.convs = nn.Sequential(
            *(
                EqualizedConv2d(before, after, 1, activate=after != channels)
                for before, after in itertools.pairwise(widths)
            )
        )

    def forward(self) -> Tensor:
        return self.convs(self.const)[0]

    def replace_constant(self, G: Generator, G_ema: Generator) -> None:
        """Let G take its constant from here at every pass; G_ema copies it as a buffer."""
        for generator in (G, G_ema):
            del generator.synthesis.const
            generator.synthesis.register_buffer("const", self().detach())
        G.synthesis.register_forward_pre_hook(
            lambda synthesis, _: setattr(synthesis, "const", self())
        )


def adapt(job: Job) -> AdaptedModel:
    """Train the miner against D while G is frozen, then everything; the model samples through it."""
    settings = job.read_settings(MineGanSettings)
    start = warm_start(job)
    job.seed_everything()  # the miners' initialisation is the run's own
    G = start.G
    miner = Miner(G.config["z_dim"]).to(job.device)
    parts = {"miner": miner}
    if settings.semantic:
        semantic = SemanticMiner(G.synthesis.const.shape[0]).to(job.device)
        semantic.replace_constant(G, start.G_ema)
        parts["semantic"] = semantic
    miners = [parameter for part in parts.values() for parameter in part.parameters()]
    if settings.gradients == "official":
        parts["accumulated"] = AccumulatedGradients(miners)

    def latent(n: int) -> Tensor:
        return miner.map_z(torch.randn(n, G.config["z_dim"], device=job.device))

    trainer = plain_trainer(start, settings, latent=latent, g_parameters=[*G.parameters(), *miners])
    alone = settings.length("miner_iterations")

    def stage(step: int) -> None:
        G.requires_grad_(step > alone)

    return fine_tune(
        job, settings, trainer, job.few_shot_images(), catches_up=start.catches_up,
        latent_map=miner, parts=parts, before_step=stage,
    )  # fmt: skip
