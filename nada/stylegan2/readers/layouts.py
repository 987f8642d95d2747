"""What the readers of other layouts share: widths from shapes, strict renaming, missing parts."""

import copy
from collections.abc import Callable, Iterable
from itertools import pairwise

import torch
from torch import Tensor, nn

from nada.run.errors import UserError
from nada.run.finite import check_finite
from nada.stylegan2.discriminator import Discriminator
from nada.stylegan2.generator import Generator
from nada.stylegan2.ops import channels_at, fir_kernel
from nada.stylegan2.readers.unpickle_limits import quoted, shown

MAX_RESOLUTION = 2048  # no StyleGAN2 was published above 1024
W_AVG_SAMPLES = 4096  # what public code draws for it (rosinality's mean_latent, NADA)
W_AVG_SEED, NOISE_SEED = 0, 0
KERNEL_TOLERANCE = 1e-3
WEIGHTS_SLACK = 1 << 24  # numbers, 64 MiB
MAX_MAP = (
    1 << 26
)  # numbers of a map of features; the largest published ones have half (32 of 1024²)
MAX_NAME = 200  # characters; published names have at most 40
MAX_COUNTED = 32  # layers of a mapping network, or blocks; at most 8 and 9 were published
LARGEST = {  # what a setting may be at most; what the weights may be together, `empty` says
    "resolution": MAX_RESOLUTION,
    "z_dim": 4096,
    "style_dim": 4096,
    "mapping_layers": MAX_COUNTED,
    "channel_base": 1 << 40,
    "channel_max": 1 << 20,
    "mbstd_group_size": 1 << 20,
}
LR_MUL = 0.01  # of the mapping network where a layout does not say (Karras et al. 2019, appendix C)
MBSTD_GROUP_SIZE = 4  # where a layout does not say (Karras et al. 2020; rosinality's constant)

ESTIMATED = f"estimated: mean of {W_AVG_SAMPLES} mapped z, seed {W_AVG_SEED}; the file has none"
DRAWN = f"drawn, seed {NOISE_SEED}; the file has none"


class Layout:
    """Tensors of one network in another layout, each of which must be asked for once.

    tensors: by their names there. label: how messages name the network, e.g. "dog.pt: g_ema".
    """

    def __init__(self, tensors: dict[str, Tensor], label: str):
        self.tensors, self.label = tensors, label
        self.taken: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self.tensors

    def shape(self, name: str, dims: int) -> tuple[int, ...]:
        """The shape of a tensor of `dims` dimensions, for the architecture."""
        tensor = self._named(name)
        if tensor.ndim != dims or 0 in tensor.shape:
            raise UserError(
                f"{self.label}: {shown(name)} has shape {list(tensor.shape)}, {dims} axes expected"
            )
        return tuple(tensor.shape)

    def take(self, name: str, shape: Iterable[int]) -> Tensor:
        """A tensor of that shape in float32, in memory of its own, without NaN or infinity."""
        tensor = self._named(name)
        if tuple(tensor.shape) != tuple(shape):
            raise UserError(
                f"{self.label}: {name} has shape {list(tensor.shape)}, but the widths found in the "
                f"file need {list(shape)}"
            )
        if not tensor.is_floating_point():
            raise UserError(f"{self.label}: {name} is of type {tensor.dtype}, floats expected")
        self.taken.add(name)
        tensor = tensor.detach().to("cpu", torch.float32, copy=True).contiguous()
        check_finite(self.label, {name: tensor}, "get the file again")
        return tensor

    def take_kernels(self, suffix: str, gain: float) -> None:
        """Take every resampling filter, and see that it is [1,3,3,1] like the one used here."""
        for name in [name for name in self.tensors if name.endswith(suffix)]:
            kernel, ours = self.tensors[name].float(), fir_kernel(torch.zeros(()), gain)
            self.taken.add(name)
            like = kernel.shape == ours.shape and (kernel - ours).abs().max() <= KERNEL_TOLERANCE
            if not like:  # a NaN is not
                raise UserError(
                    f"{self.label}: the filter {shown(name)} is not the [1,3,3,1] that StyleGAN2 resamples "
                    f"with; such a network cannot be drawn here"
                )

    def finish(self) -> None:
        """Raise UserError if tensors are left over: the network is more than was understood."""
        left = sorted(self.tensors.keys() - self.taken)
        if left:
            more = f" and {len(left) - 1} more" if len(left) > 1 else ""
            raise UserError(
                f"{self.label}: has {shown(left[0])}{more}, which a StyleGAN2 of this layout does not have"
            )

    def _named(self, name: str) -> Tensor:
        if name not in self.tensors:
            raise UserError(f"{self.label}: has no {name}, which a StyleGAN2 of this layout needs")
        return self.tensors[name]


def widths(channels: dict[int, int], label: str) -> dict[str, int]:
    """channel_base and channel_max of `channels` {side: features}, the smallest that give them.

    Raises UserError where no base and maximum do, or the sides are none of a StyleGAN2.
    """
    check_sides(channels, label)
    top = max(channels.values())
    low, high = 0, 1 << 62
    for side, count in channels.items():
        if count > 1:  # one channel is what any smaller base gives, too
            low = max(low, side * count)
        if count < top:
            high = min(high, side * (count + 1) - 1)
    if low > high:
        listed = ", ".join(f"{side}: {count}" for side, count in sorted(channels.items()))
        raise UserError(
            f"{label}: its widths ({listed}) are not min(base / side, maximum) for any base, which "
            f"the networks here are built by"
        )
    return {"channel_base": low, "channel_max": top}


def check_sides(channels: dict[int, int], label: str) -> None:
    """Raise UserError unless the sides are 4, 8, … up to 16 at least and MAX_RESOLUTION at most."""
    largest = max(channels)
    expected = [2**i for i in range(2, largest.bit_length())]
    if sorted(channels) != expected or not 16 <= largest <= MAX_RESOLUTION:
        raise UserError(
            f"{label}: has blocks of the sides {sorted(channels)}; 4, 8, 16 … {MAX_RESOLUTION} at "
            f"most expected"
        )


def fill(network: nn.Module, value: Callable[[str, torch.Size], Tensor]) -> nn.Module:
    """Give every tensor of `network` the value of its name and shape; returns it in eval mode."""
    state = {name: value(name, tensor.shape) for name, tensor in network.state_dict().items()}
    network.load_state_dict(state, strict=True, assign=True)
    return network.eval()


def empty(make: type, layout: Layout, **config) -> nn.Module:
    """A network of that architecture; draws from no stream that others draw from.

    Raises UserError for hyperparameters that no StyleGAN2 has, and where its weights would be far more
    numbers than `layout` has: a file that declares widths by a few tensors and lacks the rest makes
    nothing large.
    """
    _check_config(config, layout.label)
    needed = _generator_weights(config) if make is Generator else _discriminator_weights(config)
    # a tensor under many names is held once
    held = sum({id(tensor): tensor.numel() for tensor in layout.tensors.values()}.values())
    if needed > 2 * held + WEIGHTS_SLACK:  # less is for `take`, which names what is missing
        raise UserError(
            f"{layout.label}: the widths found need {needed:,} weights, but it has {held:,} numbers; "
            f"get a complete file"
        )
    with torch.random.fork_rng(devices=[]):
        return make(**config)


def _check_config(config: dict, label: str) -> None:
    """Raise UserError unless every setting is a number of a kind and size that a StyleGAN2 has."""
    for name, most in LARGEST.items():
        least = 0 if name == "channel_base" else 1  # 0 is one channel everywhere
        value = config.get(name, least)
        if type(value) is not int or not least <= value <= most:
            raise UserError(
                f"{label}: its {name} is {quoted(value)}; a whole number from {least} to {most} expected"
            )
    number(config.get("mapping_lr_mul", LR_MUL), "mapping_lr_mul", label)
    for side, count in zip((4 << i for i in range(16)), _channels(config)):
        if side * side * count > MAX_MAP:
            raise UserError(
                f"{label}: has {count} features at {side}x{side}, {side * side * count:,} numbers a "
                f"map; at most {MAX_MAP:,} are drawn here"
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
    """A recorded setting as a positive number. Raises UserError where it is none."""
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    if not plain or not 0 < value < 1e6 or kind(value) != value:
        wanted = "a whole number" if kind is int else "a number"
        raise UserError(f"{label}: its {what} is {quoted(value)}, {wanted} above 0 expected")
    return kind(value)


def counted(layout: Layout, pattern: str, first: int = 0) -> int:
    """How many of pattern.format(first), pattern.format(first + 1), … there are."""
    number = 0
    while pattern.format(first + number) in layout:
        number += 1
        if number > MAX_COUNTED:
            raise UserError(
                f"{layout.label}: has more than {MAX_COUNTED} tensors like "
                f"{pattern.format(first)}; no StyleGAN2 is that deep"
            )
    return number


def joined(path: str, name, separator: str, label: str) -> str:
    """The name of a part of a network below `path`.

    Raises UserError for names that none has: parts that share long ones would take any memory.
    """
    if not isinstance(name, str) or len(path) + len(name) > MAX_NAME:
        raise UserError(
            f"{label}: has a part by the name {quoted(name)} below '{path}', which no StyleGAN2 has"
        )
    return f"{path}{separator}{name}" if path else name


def once(part, path: str, seen: set[int], label: str) -> None:
    """Raise UserError where a part of a network was met before: shared parts can be endless."""
    if id(part) in seen:
        raise UserError(
            f"{label}: '{path}' is a part that stands elsewhere, too; none may be shared"
        )
    seen.add(id(part))


@torch.no_grad()
def estimate_w_avg(G: Generator) -> None:
    """Set w_avg to the mean of W_AVG_SAMPLES mapped z ~ N(0,I), of a fixed seed."""
    stream = torch.Generator().manual_seed(W_AVG_SEED)
    z = torch.randn(W_AVG_SAMPLES, G.config["z_dim"], generator=stream)
    G.w_avg.copy_(G.eval().mapping(z).mean(dim=0))


def draw_noise(shape: torch.Size, place: int) -> Tensor:
    """Stored noise of convolution `place` for files that have none."""
    stream = torch.Generator().manual_seed(NOISE_SEED + place)
    return torch.randn(shape, generator=stream)


def parts(
    G: Generator | None, G_ema: Generator, D: Discriminator | None, **metadata
) -> tuple[dict[str, nn.Module | None], dict]:
    """The networks of a source model, G a copy of G_ema where the file has none, and its notes."""
    if G is None:
        G = copy.deepcopy(G_ema)
        metadata["G"] = "a copy of G_ema; the file has no other generator"
    return {"G": G, "G_ema": G_ema, "D": D}, metadata
