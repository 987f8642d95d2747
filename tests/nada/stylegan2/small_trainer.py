"""A small generator, discriminator and trainer for the tests of adversarial training."""

import copy

import torch

from nada.stylegan2.adversarial import (
    AdversarialTrainer,
)
from nada.stylegan2.discriminator import Discriminator
from nada.stylegan2.generator import Generator


def networks(seed=0):
    """A generator and a discriminator of 16x16 with at most 8 channels."""
    torch.manual_seed(seed)
    size = {"channel_base": 128, "channel_max": 8}
    return (
        Generator(16, z_dim=8, style_dim=8, mapping_layers=2, mapping_lr_mul=1.0, **size),
        Discriminator(16, mbstd_group_size=2, **size),
    )


def trainer_of(hparams=None, seed=0, **hooks):
    G, D = networks(seed)
    return AdversarialTrainer(G, D, copy.deepcopy(G), hparams, **hooks)


def batch(n=4):
    return torch.rand(n, 3, 16, 16) * 2 - 1


def values(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def same(module, before):
    return all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


def in_double(trainer):
    """The trainer with its networks, and what it draws, in float64."""
    for network in (trainer.G, trainer.D, trainer.G_ema):
        network.double()
    return AdversarialTrainer(trainer.G, trainer.D, trainer.G_ema, trainer.hparams)


class Late:
    """A trainer whose second head on D's input is first used at step `first`, from then on always."""

    def __init__(self, first, seed=0):
        G, D = networks(seed)
        self.head = torch.nn.Linear(3, 1).double()
        self.first = first
        self.trainer = AdversarialTrainer(
            G.double(), D.double(), None, discriminate=self.judge,
            d_parameters=[*D.parameters(), *self.head.parameters()],
        )  # fmt: skip

    def judge(self, images):
        logits = self.trainer.D(images)
        if self.trainer.steps < self.first:
            return logits
        return logits + self.head(images.mean(dim=(2, 3)))
