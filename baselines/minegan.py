"""MineGAN (Wang et al. 2020): first miners train in front of a frozen G, then all networks train.

One miner maps z. A second makes G's constant, as in the public code for StyleGAN2.
"""

import itertools
from typing import Literal

import torch
from torch import Tensor, nn

from baselines.adversarial.few_shot import FewShotHyperparameters, fine_tune, plain_trainer
from baselines.adversarial.scaling import LENGTHS
from baselines.adversarial.warm_starts import Start, warm_start
from baselines.registry import Method
from nada.images.training_images import few_shot_images
from nada.latent_maps import Miner
from nada.run.artifact import AdaptedModel
from nada.run.hyperparameters import Whole, hyperparameter, hyperparameters
from nada.run.job import Job
from nada.stylegan2.ops import EqualizedConv2d


@hyperparameters
class MineGanHyperparameters(FewShotHyperparameters):
    """FewShotHyperparameters, and those of the miners."""

    miner_iterations: Whole = hyperparameter(
        1000, "Steps of the first stage, in which G is frozen.", unit="steps", source="public code",
        shortened=LENGTHS["miner_iterations"], ge=0,
    )
    gradients: Literal["zeroed", "official"] = hyperparameter(
        "zeroed", "Gradients of the miners are zeroed at each step, or never and add up over the run.",
        source="paper (gradient descent); official: never",
    )
    semantic: bool = hyperparameter(
        True, "Whether a second miner replaces the learned constant. It is initialised at random, which destroys "
        "the first images.", source="public code for StyleGAN2",
    )


METHOD = Method(
    name="minegan",
    paper="Wang et al. 2020, MineGAN: effective knowledge transfer from GANs to few images",
    licence="MIT",
    supervision="images",
    hyperparameters=MineGanHyperparameters,
)


class AccumulatedGradients:
    """As in the public code, gradients of the miners are never zeroed: each is added to all earlier ones."""

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
    """A learned constant [8,4,4] and three 1x1 convolutions that turn it into G's constant [C,4,4].

    Widths 8, 32, 128, C; the first two convolutions have a bias and a leaky ReLU, the last has
    neither (public code for StyleGAN2).
    """

    WIDTHS = (8, 32, 128)

    def __init__(self, channels: int):
        super().__init__()
        self.const = nn.Parameter(torch.randn(1, self.WIDTHS[0], 4, 4))
        hidden = [EqualizedConv2d(*pair, 1) for pair in itertools.pairwise(self.WIDTHS)]
        last = EqualizedConv2d(self.WIDTHS[-1], channels, 1, bias=False, activate=False)
        self.convs = nn.Sequential(*hidden, last)

    def forward(self) -> Tensor:
        """The constant [C,4,4]."""
        return self.convs(self.const)[0]


class Mining:
    """The miners of a run and the generators behind them.

    Before `join` both generators are unchanged: codes are not mined, and they use their own constant.
    The mined constant does not depend on z; `settle` stores it in the generators that are kept.
    """

    def __init__(self, start: Start, semantic: bool, device):
        self.G, self.G_ema = start.G, start.G_ema
        self.miner = Miner(self.G.config["z_dim"]).to(device)
        channels = self.G.synthesis.const.shape[0]
        self.semantic = SemanticMiner(channels).to(device) if semantic else None
        mined = {"synthesis.const"} if semantic else set()
        self._of_g = [p for name, p in self.G.named_parameters() if name not in mined]
        self.joined = False

    def parts(self) -> dict[str, nn.Module]:
        """The miners by name, for the training state."""
        semantic = {} if self.semantic is None else {"semantic": self.semantic}
        return {"miner": self.miner, **semantic}

    def parameters(self) -> list[nn.Parameter]:
        """The parameters of the miners."""
        return [parameter for part in self.parts().values() for parameter in part.parameters()]

    def trained(self) -> list[nn.Parameter]:
        """The parameters of G that no miner replaces, and the miners'."""
        return [*self._of_g, *self.parameters()]

    def latent(self, n: int) -> Tensor:
        """Latent codes [n,z_dim] for G; mined after `join`."""
        w_avg = self.G.w_avg
        z = torch.randn(n, self.G.config["z_dim"], device=w_avg.device, dtype=w_avg.dtype)
        return self.miner.map_z(z) if self.joined else z

    def join(self) -> None:
        """Put the miners in front of G; its constant becomes a buffer that every pass computes."""
        if self.joined:
            return
        self.joined = True
        if self.semantic is None:
            return
        for generator in (self.G, self.G_ema):
            del generator.synthesis.const
            generator.synthesis.register_buffer("const", self.semantic().detach())
        self.G.synthesis.register_forward_pre_hook(
            lambda synthesis, _: setattr(synthesis, "const", self.semantic())
        )

    def settle(self) -> None:
        """Store the current constant, after the miner's last update, in both generators."""
        if self.semantic is not None and self.joined:
            self.G.synthesis.const = self.semantic().detach()
            self.G_ema.synthesis.const = self.semantic().detach()


def adapt(job: Job) -> AdaptedModel:
    """Train the miners against D with G frozen, then all networks; the model samples through the miners.

    During D's catch-up on NADA's images (Gal et al. 2021, App. C), the generator has no miner.
    """
    hparams = job.hyperparameters(MineGanHyperparameters)
    start = warm_start(job)
    job.seed_everything()  # also for the miners' initialisation
    mining = Mining(start, hparams.semantic, job.device)
    if not start.catches_up:
        mining.join()
    parts = mining.parts()
    if hparams.gradients == "official":
        parts["accumulated"] = AccumulatedGradients(mining.parameters())
    trainer = plain_trainer(start, hparams, latent=mining.latent, g_parameters=mining.trained())
    alone = hparams.length("miner_iterations")

    def stage(step: int) -> None:
        mining.join()
        start.G.requires_grad_(step > alone)

    def settle(_: dict) -> dict:
        mining.settle()
        return {}

    return fine_tune(
        job, hparams, trainer, few_shot_images(job), catches_up=start.catches_up,
        latent_map=mining.miner, parts=parts, before_step=stage, after_step=settle,
    )  # fmt: skip
