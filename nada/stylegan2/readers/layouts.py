"""Shared parts of the readers of other layouts: widths from shapes, strict renaming, missing parts."""

import copy
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from nada.run.errors import UserError
from nada.run.finite import check_finite
from nada.run.messages import quoted, shown
from nada.stylegan2 import architecture
from nada.stylegan2.architecture import MAX_COUNTED, MAX_RESOLUTION
from nada.stylegan2.discriminator import Discriminator
from nada.stylegan2.generator import Generator
from nada.stylegan2.ops import fir_kernel

W_AVG_SAMPLES = 4096  # as in public code (rosinality's mean_latent, NADA)
W_AVG_SEED, NOISE_SEED = 0, 0
KERNEL_TOLERANCE = 1e-3
MAX_NAME = 200  # characters; published names have at most 40
MBSTD_GROUP_SIZE = 4  # if a layout does not store it (Karras et al. 2020; rosinality's constant)

ESTIMATED = f"estimated: mean of {W_AVG_SAMPLES} mapped z, seed {W_AVG_SEED}; the file has none"
DRAWN = f"drawn, seed {NOISE_SEED}; the file has none"


class Layout:
    """Tensors of one network in another layout; the reader must take each of them once.

    tensors: by their names in that layout. label: the network in messages, e.g. "dog.pt: g_ema".
    """

    def __init__(self, tensors: dict[str, Tensor], label: str):
        self.tensors, self.label = tensors, label
        self.taken: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self.tensors

    def shape(self, name: str, dims: int) -> tuple[int, ...]:
        """The shape of a tensor, which must have `dims` dimensions; for the architecture."""
        tensor = self._named(name)
        if tensor.ndim != dims or 0 in tensor.shape:
            raise UserError(
                f"{self.label}: {shown(name)} has shape {list(tensor.shape)}, {dims} axes expected"
            )
        return tuple(tensor.shape)

    def take(self, name: str, shape: Iterable[int]) -> Tensor:
        """A copy of a tensor of that shape, in float32 and without NaN or infinity."""
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
        """Take every resampling filter, and check that it is [1,3,3,1], the one used here."""
        for name in [name for name in self.tensors if name.endswith(suffix)]:
            kernel, ours = self.tensors[name].float(), fir_kernel(torch.zeros(()), gain)
            self.taken.add(name)
            like = kernel.shape == ours.shape and (kernel - ours).abs().max() <= KERNEL_TOLERANCE
            if not like:  # also for NaN
                raise UserError(
                    f"{self.label}: the filter {shown(name)} is not the [1,3,3,1] that StyleGAN2 resamples "
                    f"with; such a network cannot be drawn here"
                )

    def finish(self) -> None:
        """Raise UserError if tensors are left over: the network has parts that the reader does not know."""
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
    """The smallest channel_base and channel_max that give `channels` {side: features}.

    Raises UserError if no base and maximum do, or if a StyleGAN2 cannot have these sides.
    """
    check_sides(channels, label)
    top = max(channels.values())
    low, high = 0, 1 << 62
    for side, count in channels.items():
        if count > 1:  # any smaller base gives one channel too
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
    """Raise UserError unless the sides are 4, 8, …, the largest from 16 to MAX_RESOLUTION."""
    largest = max(channels)
    expected = [2**i for i in range(2, largest.bit_length())]
    if sorted(channels) != expected or not 16 <= largest <= MAX_RESOLUTION:
        raise UserError(
            f"{label}: has blocks of the sides {sorted(channels)}; 4, 8, 16 … {MAX_RESOLUTION} at "
            f"most expected"
        )


def fill(network: nn.Module, value: Callable[[str, torch.Size], Tensor]) -> nn.Module:
    """Set every tensor of `network` to value(name, shape); returns the network in eval mode."""
    state = {name: value(name, tensor.shape) for name, tensor in network.state_dict().items()}
    network.load_state_dict(state, strict=True, assign=True)
    return network.eval()


def empty(make: type, layout: Layout, **config) -> nn.Module:
    """`architecture.empty` for the tensors of a layout."""
    return architecture.empty(make, layout.tensors, layout.label, **config)


def counted(layout: Layout, pattern: str, first: int = 0) -> int:
    """The number of consecutive tensors pattern.format(first), pattern.format(first + 1), …"""
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

    Raises UserError for names that are not short text: shared parts with long names could need any
    amount of memory.
    """
    if not isinstance(name, str) or len(path) + len(name) > MAX_NAME:
        raise UserError(
            f"{label}: has a part named {quoted(name)} below '{path}', which no StyleGAN2 has"
        )
    return f"{path}{separator}{name}" if path else name


def once(part, path: str, seen: set[int], label: str) -> None:
    """Raise UserError if a part of a network occurs twice: shared parts can be endless."""
    if id(part) in seen:
        raise UserError(
            f"{label}: '{path}' is a part that occurs twice; parts must not be shared"
        )
    seen.add(id(part))


@torch.no_grad()
def estimate_w_avg(G: Generator) -> None:
    """Set w_avg to the mean of W_AVG_SAMPLES mapped z ~ N(0,I), drawn from a fixed seed."""
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
    """The networks of a source model and its notes; G is a copy of G_ema if the file has no G."""
    if G is None:
        G = copy.deepcopy(G_ema)
        metadata["G"] = "a copy of G_ema; the file has no other generator"
    return {"G": G, "G_ema": G_ema, "D": D}, metadata
