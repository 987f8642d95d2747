"""Files in rosinality's layout with random tensors, and an independent forward pass by its names."""

import math
from collections import OrderedDict

import torch
import torch.nn.functional as F

W = 12  # size of z and w


FIR = torch.outer(torch.tensor([1.0, 3, 3, 1]), torch.tensor([1.0, 3, 3, 1])) / 64


# Files as public code writes them -----------------------------------------------------------------


def generator_state(count: dict[int, int], layers: int) -> OrderedDict:
    """A random state dict of its Generator, by the published list of names and shapes."""
    state = OrderedDict()
    for i in range(1, layers + 1):
        state[f"style.{i}.weight"] = torch.randn(W, W) * 100
        state[f"style.{i}.bias"] = torch.randn(W) * 30
    state["input.input"] = torch.randn(1, count[4], 4, 4)

    def modulated(name, c_in, c_out, kernel):
        state[f"{name}.conv.weight"] = torch.randn(1, c_out, c_in, kernel, kernel)
        state[f"{name}.conv.modulation.weight"] = torch.randn(c_in, W)
        state[f"{name}.conv.modulation.bias"] = 1 + 0.3 * torch.randn(c_in)

    def styled(name, c_in, c_out, up=False):
        modulated(name, c_in, c_out, 3)
        if up:
            state[f"{name}.conv.blur.kernel"] = FIR * 4
        state[f"{name}.noise.weight"] = 0.3 * torch.randn(1)
        state[f"{name}.activate.bias"] = 0.3 * torch.randn(c_out)

    def rgb(name, c_in, up=True):
        modulated(name, c_in, 3, 1)
        state[f"{name}.bias"] = 0.3 * torch.randn(1, 3, 1, 1)
        if up:
            state[f"{name}.upsample.kernel"] = FIR * 4

    sides = sorted(count)
    styled("conv1", count[4], count[4])
    rgb("to_rgb1", count[4], up=False)
    for j, side in enumerate(sides[1:]):
        styled(f"convs.{2 * j}", count[side // 2], count[side], up=True)
        styled(f"convs.{2 * j + 1}", count[side], count[side])
    for j, side in enumerate(sides[1:]):
        rgb(f"to_rgbs.{j}", count[side])
    for i in range(2 * len(sides) - 1):
        side = 2 ** ((i + 5) // 2)
        state[f"noises.noise_{i}"] = torch.randn(1, 1, side, side)
    return state


def discriminator_state(count: dict[int, int]) -> OrderedDict:
    state = OrderedDict()
    sides = sorted(count, reverse=True)
    state["convs.0.0.weight"] = torch.randn(count[sides[0]], 3, 1, 1)
    state["convs.0.1.bias"] = 0.3 * torch.randn(count[sides[0]])
    for i, side in enumerate(sides[:-1], start=1):
        c_in, c_out = count[side], count[side // 2]
        state[f"convs.{i}.conv1.0.weight"] = torch.randn(c_in, c_in, 3, 3)
        state[f"convs.{i}.conv1.1.bias"] = 0.3 * torch.randn(c_in)
        state[f"convs.{i}.conv2.0.kernel"] = FIR.clone()
        state[f"convs.{i}.conv2.1.weight"] = torch.randn(c_out, c_in, 3, 3)
        state[f"convs.{i}.conv2.2.bias"] = 0.3 * torch.randn(c_out)
        state[f"convs.{i}.skip.0.kernel"] = FIR.clone()
        state[f"convs.{i}.skip.1.weight"] = torch.randn(c_out, c_in, 1, 1)
    state["final_conv.0.weight"] = torch.randn(count[4], count[4] + 1, 3, 3)
    state["final_conv.1.bias"] = 0.3 * torch.randn(count[4])
    state["final_linear.0.weight"] = torch.randn(count[4], count[4] * 16)
    state["final_linear.0.bias"] = 0.3 * torch.randn(count[4])
    state["final_linear.1.weight"] = torch.randn(1, count[4])
    state["final_linear.1.bias"] = 0.3 * torch.randn(1)
    return state


COUNT = {4: 8, 8: 8, 16: 6, 32: 3}  # min(96 / side, 8)


# A forward pass by these names --------------------------------------------------------------------


def lrelu(x):
    return F.leaky_relu(x, 0.2) * math.sqrt(2)


def mapped(state, z):
    x = z * (z.square().mean(1, keepdim=True) + 1e-8).rsqrt()
    i = 1
    while f"style.{i}.weight" in state:
        weight, bias = state[f"style.{i}.weight"], state[f"style.{i}.bias"]
        x = lrelu(x @ weight.T * (0.01 / math.sqrt(W)) + bias * 0.01)
        i += 1
    return x


def drawn(state, w, reference):
    """Images of w [N,W] with the stored noise."""

    def style(name):
        weight, bias = (state[f"{name}.conv.modulation.{leaf}"] for leaf in ("weight", "bias"))
        return w @ weight.T / math.sqrt(W) + bias

    def styled(x, name, i, up):
        x = reference.grouped_modulated_conv(x, state[f"{name}.conv.weight"][0], style(name), up=up)
        x = x + state[f"{name}.noise.weight"] * state[f"noises.noise_{i}"]
        return lrelu(x + state[f"{name}.activate.bias"][:, None, None])

    def rgb(x, name):
        weight = state[f"{name}.conv.weight"][0]
        x = reference.grouped_modulated_conv(x, weight, style(name), demodulate=False)
        return x + state[f"{name}.bias"]

    x = styled(state["input.input"].repeat(len(w), 1, 1, 1), "conv1", 0, up=False)
    image = rgb(x, "to_rgb1")
    j = 0
    while f"to_rgbs.{j}.bias" in state:
        x = styled(x, f"convs.{2 * j}", 2 * j + 1, up=True)
        x = styled(x, f"convs.{2 * j + 1}", 2 * j + 2, up=False)
        image = reference.upsample(image).to(x) + rgb(x, f"to_rgbs.{j}")
        j += 1
    return image


def close(ours, theirs):
    return (ours - theirs).abs().max().item() <= 1e-5 * max(1.0, theirs.abs().max().item())


@torch.no_grad()
def images_of(G, z, psi=1.0):
    return G.synthesis(G.broadcast(G.truncate(G.mapping(z), psi)), noise_mode="const")
