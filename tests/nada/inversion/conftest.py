"""A random 32 px generator of 8 slots, and a difference that stands in for LPIPS."""

import pytest
import torch
import torch.nn.functional as F

from nada.stylegan2.generator import Generator


@pytest.fixture
def generator():
    """32 px, 8 W+ slots of 8 numbers; noise strength 0.1, so that noise shows."""
    torch.manual_seed(0)
    network = Generator(
        32, z_dim=8, style_dim=8, channel_base=256, channel_max=8, mapping_layers=2, mapping_lr_mul=1.0
    ).eval()
    with torch.no_grad():
        for conv in network.synthesis.convs:
            conv.noise_strength.fill_(0.1)
        network.w_avg.copy_(network.mapping(torch.randn(2000, 8)).mean(dim=0))
    return network.requires_grad_(False)


def blurred_difference(x, y):
    """The mean squared difference of 4x4 means, of each pair: [N,3,H,W] twice -> [N]."""
    return (F.avg_pool2d(x, 4) - F.avg_pool2d(y, 4)).square().mean(dim=(1, 2, 3))


@pytest.fixture
def lpips():
    return blurred_difference
