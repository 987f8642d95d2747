"""Speed of StyleGAN2's inner forms (run by `make bench`).

Each group compares two forms of the same numbers, forward and backward, at sizes of the mini world;
read the ratios within a group, not the times.
"""

import copy

import pytest
import torch

from nada.stylegan2 import ops
from nada.stylegan2.adversarial import AdversarialTrainer
from nada.stylegan2.discriminator import Discriminator
from nada.stylegan2.generator import Generator

BATCH, C_IN, C_OUT, SIDE = 8, 80, 40, 16  # the 32x32 block of the mini world's generator


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


def forward_backward(function, *inputs):
    def run():
        out = function(*inputs)
        return torch.autograd.grad(out.sum(), inputs)

    return run


def maps(layout=torch.channels_last):
    x = torch.randn(BATCH, C_IN, SIDE, SIDE).to(memory_format=layout)
    return x.requires_grad_(), torch.randn(C_OUT, C_IN, 3, 3, requires_grad=True)


@pytest.mark.parametrize("form", ["shared_weights", "grouped_weights"])
@pytest.mark.parametrize("up", [False, True], ids=["same", "up"])
def test_modulated_convolution(benchmark, reference, form, up):
    benchmark.group = f"modulated convolution, {'up' if up else 'same size'}"
    style = torch.randn(BATCH, C_IN, requires_grad=True)
    forms = {
        "shared_weights": ops.modulated_conv2d,
        "grouped_weights": reference.grouped_modulated_conv,
    }
    benchmark(forward_backward(lambda *a: forms[form](*a, True, up), *maps(), style))


@pytest.mark.parametrize("form", ["used", "folded_6x6", "zero_insertion"])
def test_up_convolution(benchmark, reference, form):
    benchmark.group = "up-convolution"
    forms = {
        "used": ops.up_conv2d,
        "folded_6x6": reference.folded_up_conv,
        "zero_insertion": reference.zero_insert_up_conv,
    }
    benchmark(forward_backward(forms[form], *maps()))


@pytest.mark.parametrize("layout", ["channels_last", "contiguous_format"])
def test_up_convolution_layout(benchmark, layout):
    benchmark.group = "memory layout of the up-convolution"
    benchmark(forward_backward(ops.up_conv2d, *maps(getattr(torch, layout))))


@pytest.mark.parametrize(("resolution", "batch"), [(32, 8), (64, 4)])
def test_training_step(benchmark, resolution, batch):
    benchmark.group = "adversarial step of the mini world, with its share of regularisation"
    size = {"resolution": resolution, "channel_base": 1280, "channel_max": 96}
    G = Generator(z_dim=64, style_dim=64, mapping_layers=4, mapping_lr_mul=1.0, **size)
    trainer = AdversarialTrainer(G, Discriminator(**size), copy.deepcopy(G))
    images = torch.rand(batch, 3, resolution, resolution) * 2 - 1
    benchmark.pedantic(trainer.step, args=(images,), rounds=16, warmup_rounds=1)
