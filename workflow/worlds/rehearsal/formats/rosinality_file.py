"""The checkpoint format of rosinality's stylegan2-pytorch (.pt)."""

from argparse import Namespace
from collections import OrderedDict

import torch
from torch import Tensor

from workflow.worlds.rehearsal.architectures import FIR, StyleGan


def rosinality_generator(t: dict[str, Tensor], size: StyleGan) -> OrderedDict:
    """NVlabs' names → rosinality's, with its filters (times 4) and stored noise."""
    state = OrderedDict()
    for i in range(size.mapping_layers):
        state[f"style.{i + 1}.weight"] = t[f"mapping.fc{i}.weight"]
        state[f"style.{i + 1}.bias"] = t[f"mapping.fc{i}.bias"]
    state["input.input"] = t["synthesis.b4.const"][None]

    def styled(ours, theirs):
        state[f"{ours}.conv.weight"] = t[f"{theirs}.weight"][None]
        state[f"{ours}.conv.modulation.weight"] = t[f"{theirs}.affine.weight"]
        state[f"{ours}.conv.modulation.bias"] = t[f"{theirs}.affine.bias"]

    def convolution(ours, theirs, place):
        styled(ours, theirs)
        state[f"{ours}.noise.weight"] = t[f"{theirs}.noise_strength"].reshape(1)
        state[f"{ours}.activate.bias"] = t[f"{theirs}.bias"]
        state[f"noises.noise_{place}"] = t[f"{theirs}.noise_const"][None, None]

    def rgb(ours, theirs):
        styled(ours, theirs)
        state[f"{ours}.bias"] = t[f"{theirs}.bias"].reshape(1, 3, 1, 1)

    convolution("conv1", "synthesis.b4.conv1", 0)
    rgb("to_rgb1", "synthesis.b4.torgb")
    for j, side in enumerate(size.sides[1:]):
        convolution(f"convs.{2 * j}", f"synthesis.b{side}.conv0", 2 * j + 1)
        state[f"convs.{2 * j}.conv.blur.kernel"] = 4 * FIR
        convolution(f"convs.{2 * j + 1}", f"synthesis.b{side}.conv1", 2 * j + 2)
        rgb(f"to_rgbs.{j}", f"synthesis.b{side}.torgb")
        state[f"to_rgbs.{j}.upsample.kernel"] = 4 * FIR
    return state


def rosinality_discriminator(t: dict[str, Tensor], size: StyleGan) -> OrderedDict:
    """NVlabs' names → rosinality's, with its filters."""
    state = OrderedDict()

    def copied(theirs, weight, bias=None):
        state[weight] = t[f"{theirs}.weight"]
        if bias is not None:
            state[bias] = t[f"{theirs}.bias"]

    copied(f"b{size.resolution}.fromrgb", "convs.0.0.weight", "convs.0.1.bias")
    for i, side in enumerate(reversed(size.sides[1:]), start=1):
        block = f"convs.{i}"
        copied(f"b{side}.conv0", f"{block}.conv1.0.weight", f"{block}.conv1.1.bias")
        copied(f"b{side}.conv1", f"{block}.conv2.1.weight", f"{block}.conv2.2.bias")
        copied(f"b{side}.skip", f"{block}.skip.1.weight")
        for layer in ("conv2", "skip"):
            state[f"{block}.{layer}.0.kernel"] = FIR.clone()
    copied("b4.conv", "final_conv.0.weight", "final_conv.1.bias")
    copied("b4.fc", "final_linear.0.weight", "final_linear.0.bias")
    copied("b4.out", "final_linear.1.weight", "final_linear.1.bias")
    return state


def write_rosinality(file, networks: dict[str, dict], size: StyleGan) -> None:
    """Write {G, G_ema, D}, given under NVlabs' names, as rosinality's training code saves them."""
    multiplier = size.channel_base // 16384
    content = {
        "g": rosinality_generator(networks["G"], size),
        "d": rosinality_discriminator(networks["D"], size),
        "g_ema": rosinality_generator(networks["G_ema"], size),
        "latent_avg": networks["G_ema"]["mapping.w_avg"],
        "args": Namespace(size=size.resolution, channel_multiplier=multiplier, latent=size.width),
    }
    torch.save(content, file)
