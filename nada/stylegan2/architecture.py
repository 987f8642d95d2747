"""Build networks of an architecture that a file declares, within the limits of a StyleGAN2."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from nada.run.errors import UserError
from nada.run.messages import quoted
from nada.stylegan2.generator import Generator
from nada.stylegan2.ops import channels_at

MAX_RESOLUTION = 2048  # no StyleGAN2 was published above 1024
WEIGHTS_SLACK = 1 << 24  # numbers, 64 MiB
MAX_MAP = 1 << 26  # numbers of a feature map; the largest published ones have half (32 of 1024²)
MAX_COUNTED = 32  # layers of a mapping network, or blocks; at most 8 and 9 were published
LARGEST = {  # limits of single arguments; `empty` limits the weights together
    "resolution": MAX_RESOLUTION,
    "z_dim": 4096,
    "style_dim": 4096,
    "mapping_layers": MAX_COUNTED,
    "channel_base": 1 << 40,
    "channel_max": 1 << 20,
    "mbstd_group_size": 1 << 20,
}
LR_MUL = 0.01  # of the mapping network, if a layout does not store it (Karras et al. 2019, appendix C)


def empty(make: type, tensors: dict[str, Tensor], label: str, **config) -> nn.Module:
    """A network of the architecture `config`, with arbitrary weights; draws from no shared random stream.

    tensors: the file's tensors of the network. label: the network's name in messages. Raises UserError
    for arguments that no StyleGAN2 has. Also raises UserError if the network needs far more numbers than
    `tensors` have: an incomplete file must not allocate a large network.
    """
    _check_config(config, label)
    needed = _generator_weights(config) if make is Generator else _discriminator_weights(config)
    # a tensor with several names counts once
    held = sum({id(tensor): tensor.numel() for tensor in tensors.values()}.values())
    if needed > 2 * held + WEIGHTS_SLACK:  # a smaller gap is left to `fill`, which names the missing tensors
        raise UserError(
            f"{label}: the widths found need {needed:,} weights, but it has {held:,} numbers; "
            f"get a complete file"
        )
    with torch.random.fork_rng(devices=[]):
        return make(**config)


def _check_config(config: dict, label: str) -> None:
    """Raise UserError unless every argument is a number of the type and size that a StyleGAN2 has."""
    for name, most in LARGEST.items():
        least = 0 if name == "channel_base" else 1  # 0 gives one channel at every side
        value = config.get(name, least)
        if type(value) is not int or not least <= value <= most:
            raise UserError(
                f"{label}: its {name} is {quoted(value)}; it must be a whole number from {least} to {most}"
            )
    number(config.get("mapping_lr_mul", LR_MUL), "mapping_lr_mul", label)
    for side, count in zip((4 << i for i in range(16)), _channels(config)):
        if side * side * count > MAX_MAP:
            raise UserError(
                f"{label}: has {count} features at {side}x{side}, {side * side * count:,} numbers a "
                f"map; it must have at most {MAX_MAP:,}"
            )


def _channels(config: dict) -> list[int]:
    """Features at the sides 4, 8, … of a network."""
    sides = [2**i for i in range(2, config["resolution"].bit_length())]
    return [channels_at(side, config["channel_base"], config["channel_max"]) for side in sides]


def _generator_weights(config: dict) -> int:
    """Numbers in the weights of a generator, without biases and noise."""
    w, channels = config["style_dim"], _channels(config)
    mapping = config["z_dim"] * w + (config["mapping_layers"] - 1) * w * w
    pairs = [(channels[0], channels[0]), *pairwise(channels), *((c, c) for c in channels[1:])]
    convs = sum(9 * c_in * c_out + w * c_in for c_in, c_out in pairs)
    return mapping + convs + sum(3 * c + w * c for c in channels)


def _discriminator_weights(config: dict) -> int:
    """Numbers in the weights of a discriminator, without biases."""
    channels = _channels(config)
    blocks = sum(9 * c * c + 10 * c * c_out for c_out, c in pairwise(channels))
    last = channels[0]
    return 3 * channels[-1] + blocks + 9 * last * (last + 1) + 16 * last * last + last


def number(value, what: str, label: str, kind: type = float):
    """A recorded value as a positive number. Raises UserError if it is not one."""
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    if not plain or not 0 < value < 1e6 or kind(value) != value:
        wanted = "a whole number" if kind is int else "a number"
        raise UserError(f"{label}: its {what} is {quoted(value)}; it must be {wanted} above 0 and below 1,000,000")
    return kind(value)
