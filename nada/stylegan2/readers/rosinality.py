"""Read and write checkpoints of rosinality's stylegan2-pytorch (`.pt`).

NADA, Ojha et al., StyleCLIP and many others publish files of this layout: a dictionary with the state
dict `g_ema`, optionally `g` and `d`, and `latent_avg`, the mean of w. It differs from our layout only
in names and added axes, so both conversions are exact. Widths, depth and resolution follow from
shapes. `module.` prefixes (DataParallel) are dropped. Files without stored noise get noise of a fixed
seed, and files without `latent_avg` an estimate; the metadata records both.

The layout does not store a discriminator's minibatch groups: public code uses 4. Files written here
have the additional entries `mbstd_group_size` (ignored by that code) and `g_latent_avg`, the mean w of
`g`, so that reading them again is exact.
"""

import math
import os
from collections import OrderedDict
from pathlib import Path

import torch
from torch import Tensor

from nada.run.atomic import atomic_path
from nada.run.errors import UserError
from nada.run.finite import check_finite
from nada.stylegan2.architecture import LR_MUL, number
from nada.stylegan2.discriminator import Discriminator
from nada.stylegan2.generator import Generator
from nada.stylegan2.ops import channels_at, fir_kernel
from nada.stylegan2.readers.layouts import (
    DRAWN,
    ESTIMATED,
    MBSTD_GROUP_SIZE,
    Layout,
    counted,
    draw_noise,
    empty,
    estimate_w_avg,
    fill,
    parts,
    widths,
)

FORMAT = "rosinality .pt"
PREFIX = "module."
PUBLIC_MAX = 512  # features of the 4x4 block in public code


def is_rosinality(tree) -> bool:
    """Whether a tree is of this layout: a dictionary with a state dict `g_ema`, or that state dict."""
    if not isinstance(tree, dict):
        return False
    return isinstance(tree.get("g_ema"), dict) or _is_generator(tree)


def _is_generator(tree: dict) -> bool:
    return "input.input" in tree or f"{PREFIX}input.input" in tree


def read(tree: dict, where: str) -> tuple[dict, dict]:
    """(networks G, G_ema, D; metadata) of a tree that `is_rosinality`; D is None without `d`.

    where: the file in messages. Raises UserError if a tensor is missing, unknown or of another shape
    than the widths found.
    """
    if _is_generator(tree):
        tree = {"g_ema": tree}
    metadata: dict = {"format": FORMAT}
    mean = _mean(tree, "latent_avg", where)
    G_ema = _generator(tree["g_ema"], f"{where}: g_ema", mean, metadata)
    G = D = None
    if isinstance(tree.get("g"), dict):
        own_mean = _mean(tree, "g_latent_avg", where)
        G = _generator(tree["g"], f"{where}: g", mean if own_mean is None else own_mean, metadata)
    if isinstance(tree.get("d"), dict):
        group = tree.get("mbstd_group_size", MBSTD_GROUP_SIZE)
        group = number(group, "mbstd_group_size", where, int)
        D = _discriminator(tree["d"], f"{where}: d", group)
    return parts(G, G_ema, D, **metadata)


def write(path: str | os.PathLike, networks: dict) -> None:
    """Write networks {G, G_ema, D or None} in this layout, atomically; equal ones give equal bytes.

    The layout fixes the mapping's learning-rate factor at 0.01. Another factor is multiplied into the
    stored weights: images are the same, but further training moves the mapping at another speed.
    Raises UserError, before anything is written, for z and w of different sizes, which the layout
    cannot hold, and for NaN or infinity.
    """
    path = Path(path)
    G, G_ema, D = networks["G"], networks["G_ema"], networks["D"]
    content = {"g_ema": _generator_state(G_ema, path), "latent_avg": G_ema.w_avg.detach().clone()}
    content |= {"g": _generator_state(G, path), "g_latent_avg": G.w_avg.detach().clone()}
    if D is not None:
        content |= {"d": _discriminator_state(D), "mbstd_group_size": D.config["mbstd_group_size"]}
    for name, value in content.items():
        tensors = value if isinstance(value, dict) else {"": torch.as_tensor(value)}
        tensors = {f"{name}.{key}".rstrip("."): tensor for key, tensor in tensors.items()}
        check_finite(path, tensors, "nothing was written")
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        torch.save(content, file)  # to an open file: torch.save would store a file's temporary name


def public_code_can_load(networks: dict) -> bool:
    """Whether the widths are those of `channel_multiplier` 1 or 2, all that public code builds."""
    config = networks["G_ema"].config
    sides = [2**i for i in range(2, config["resolution"].bit_length())]

    def built(base: int, top: int) -> list[int]:
        return [channels_at(side, base, top) for side in sides]

    ours = built(config["channel_base"], config["channel_max"])
    # public code has 512 up to side 32, whatever the multiplier; so does min(base / side, 512)
    return any(ours == built(16384 * k, PUBLIC_MAX) for k in (1, 2)) and config["style_dim"] == 512


# Names --------------------------------------------------------------------------------------------

CONV = {
    "affine.weight": "conv.modulation.weight",
    "affine.bias": "conv.modulation.bias",
    "weight": "conv.weight",
    "noise_strength": "noise.weight",
    "bias": "activate.bias",
}
RGB = {**CONV, "bias": "bias"}
BLOCK = {
    "conv0.weight": "conv1.0.weight",
    "conv0.bias": "conv1.1.bias",
    "conv1.weight": "conv2.1.weight",
    "conv1.bias": "conv2.2.bias",
    "skip.weight": "skip.1.weight",
}
ENDS = {
    "from_rgb.weight": "convs.0.0.weight",
    "from_rgb.bias": "convs.0.1.bias",
    "conv.weight": "final_conv.0.weight",
    "conv.bias": "final_conv.1.bias",
    "fc.weight": "final_linear.0.weight",
    "fc.bias": "final_linear.0.bias",
    "out.weight": "final_linear.1.weight",
    "out.bias": "final_linear.1.bias",
}


def generator_name(name: str) -> str:
    """Our name of a generator's tensor -> the one in this layout."""
    if name == "synthesis.const":
        return "input.input"
    _, kind, place, rest = name.split(".", 3)  # mapping.layers.0.weight, synthesis.convs.0.bias
    number = int(place)
    if kind == "layers":
        return f"style.{number + 1}.{rest}"
    if rest == "noise_const":
        return f"noises.noise_{number}"
    if kind == "convs":
        return f"{'conv1' if number == 0 else f'convs.{number - 1}'}.{CONV[rest]}"
    return f"{'to_rgb1' if number == 0 else f'to_rgbs.{number - 1}'}.{RGB[rest]}"


def discriminator_name(name: str) -> str:
    """Our name of a discriminator's tensor -> the one in this layout."""
    if name in ENDS:
        return ENDS[name]
    _, number, rest = name.split(".", 2)
    return f"convs.{int(number) + 1}.{BLOCK[rest]}"


def _their_shape(name: str, shape: torch.Size) -> tuple[int, ...]:
    """The shape of a tensor in this layout, with its additional axes of length 1."""
    if name.endswith("noise_strength"):
        return (1,)
    if name.endswith("noise_const"):
        return (1, 1, *shape)
    if name.startswith("synthesis.to_rgbs.") and name.endswith(".bias") and "affine" not in name:
        return (1, *shape, 1, 1)
    if name == "synthesis.const" or len(shape) == 4:
        return (1, *shape)
    return tuple(shape)


# In -----------------------------------------------------------------------------------------------


def _layout(state: dict, label: str) -> Layout:
    """The state dict without `module.` prefixes; it must hold only tensors."""
    if not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items()):
        raise UserError(f"{label}: not a state dict of tensors by name")
    if state and all(name.startswith(PREFIX) for name in state):
        state = {name.removeprefix(PREFIX): tensor for name, tensor in state.items()}
    return Layout(state, label)


def _mean(tree: dict, key: str, where: str) -> Tensor | None:
    mean = tree.get(key)
    if mean is None:
        return None
    if not isinstance(mean, Tensor) or not mean.is_floating_point():
        raise UserError(f"{where}: {key} is not a tensor of floats; the mean of w expected")
    mean = mean.float().flatten().clone()
    check_finite(where, {key: mean}, "get the file again")
    return mean


def _generator(state: dict, label: str, mean: Tensor | None, metadata: dict) -> Generator:
    layout = _layout(state, label)
    channels = {4: layout.shape("conv1.conv.weight", 5)[1]}
    for block in range(counted(layout, "to_rgbs.{}.conv.weight")):
        channels[8 << block] = layout.shape(f"convs.{2 * block + 1}.conv.weight", 5)[1]
    style_dim = layout.shape("conv1.conv.modulation.weight", 2)[1]
    G = empty(
        Generator,
        layout,
        resolution=max(channels),
        z_dim=style_dim,
        style_dim=style_dim,
        mapping_layers=counted(layout, "style.{}.weight", first=1),
        mapping_lr_mul=LR_MUL,
        **widths(channels, label),
    )
    without_noise = not any(name.startswith("noises.") for name in layout.tensors)
    if without_noise:
        metadata["noise_const"] = DRAWN
    if mean is not None and len(mean) != style_dim:
        raise UserError(f"{label}: latent_avg has {len(mean)} numbers, but w has {style_dim}")

    def value(name: str, shape: torch.Size) -> Tensor:
        if name == "mapping.w_avg":
            return torch.zeros(shape) if mean is None else mean.clone()
        if name.endswith("noise_const") and without_noise:
            return draw_noise(shape, int(name.split(".")[2]))
        return layout.take(generator_name(name), _their_shape(name, shape)).reshape(shape)

    fill(G, value)
    layout.take_kernels(".kernel", gain=4)
    layout.finish()
    if mean is None:
        estimate_w_avg(G)
        metadata["w_avg"] = ESTIMATED
    return G


def _discriminator(state: dict, label: str, group: int) -> Discriminator:
    layout = _layout(state, label)
    blocks = counted(layout, "convs.{}.conv1.0.weight", first=1)
    channels = {4 << blocks: layout.shape("convs.0.0.weight", 4)[0]}
    for block in range(1, blocks + 1):
        channels[4 << (blocks - block)] = layout.shape(f"convs.{block}.conv2.1.weight", 4)[0]
    D = empty(
        Discriminator,
        layout,
        resolution=max(channels),
        mbstd_group_size=group,
        **widths(channels, label),
    )
    fill(D, lambda name, shape: layout.take(discriminator_name(name), shape))
    layout.take_kernels(".kernel", gain=1)
    layout.finish()
    return D


# Out ----------------------------------------------------------------------------------------------


def _generator_state(G: Generator, path: Path) -> OrderedDict:
    config = G.config
    if config["z_dim"] != config["style_dim"]:
        raise UserError(
            f"{path}: rosinality's layout has z and w of one size, but this generator's are "
            f"{config['z_dim']} and {config['style_dim']}; keep it as .safetensors"
        )
    # the layout fixes the factor, so another one is multiplied into the stored weights
    rescale = config["mapping_lr_mul"] / LR_MUL
    state = OrderedDict()
    for name, tensor in G.state_dict().items():
        if name == "mapping.w_avg":
            continue
        stored = tensor.detach().float().reshape(_their_shape(name, tensor.shape)).clone()
        if name.startswith("mapping.") and not math.isclose(rescale, 1):
            stored *= rescale
        state[generator_name(name)] = stored
    kernel = fir_kernel(torch.zeros(()), gain=4)
    for block in range(len(G.synthesis.to_rgbs) - 1):
        state[f"convs.{2 * block}.conv.blur.kernel"] = kernel.clone()
        state[f"to_rgbs.{block}.upsample.kernel"] = kernel.clone()
    return state


def _discriminator_state(D: Discriminator) -> OrderedDict:
    state = OrderedDict()
    for name, tensor in D.state_dict().items():
        state[discriminator_name(name)] = tensor.detach().float().clone()
    for block in range(1, len(D.blocks) + 1):
        for place in ("conv2", "skip"):
            state[f"convs.{block}.{place}.0.kernel"] = fir_kernel(torch.zeros(()))
    return state
