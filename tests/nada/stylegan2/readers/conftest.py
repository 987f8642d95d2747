"""A checkpoint in rosinality's layout; tests of other layouts define a `write` of their own."""

import argparse

import pytest
import torch

from tests.nada.stylegan2.readers.rosinality_files import (
    COUNT,
    W,
    discriminator_state,
    generator_state,
)


@pytest.fixture
def content():
    torch.manual_seed(0)
    return {
        "g": generator_state(COUNT, 4),
        "d": discriminator_state(COUNT),
        "g_ema": generator_state(COUNT, 4),
        "g_optim": {"state": {0: {"step": 3, "exp_avg": torch.zeros(4)}}, "param_groups": [{}]},
        "args": argparse.Namespace(size=32, ckpt=None),
        "ada_aug_p": 0.1,
        "latent_avg": torch.randn(W),
    }


@pytest.fixture
def write(tmp_path):
    def save(content, **options):
        torch.save(content, tmp_path / "dog.pt", **options)
        return tmp_path / "dog.pt"

    return save
