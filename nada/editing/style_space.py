"""StyleSpace S: reading and writing the style vectors of a generator (Wu et al. 2021, §3).

Each layer of the synthesis network has an affine map A from its W+ slot to one style per input
channel, s = A(w), which scales that channel. S is the space of all of them. Here they are read as
a list of tensors, changed, and given back to the generator in place of A(w).
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from nada.run.errors import UserError
from nada.stylegan2.generator import Generator


class StyleLayer(NamedTuple):
    """One style vector: `conv0` or `rgb1`, the W+ slot that it reads, its channels, its affine map.

    edited: whether StyleCLIP edits it; its public code leaves the styles of toRGB as they are.
    """

    name: str
    slot: int
    channels: int
    edited: bool
    affine: nn.Module


def style_layers(generator: Generator) -> list[StyleLayer]:
    """All style vectors from 4x4 up: convolution(s), then toRGB, of each resolution.

    At 1024 px and config-f these are 26 with 9088 channels; 17 with 6048 are edited.
    """
    synthesis = generator.synthesis

    def conv(i: int) -> StyleLayer:
        affine = synthesis.convs[i].affine
        return StyleLayer(f"conv{i}", i, len(affine.bias), True, affine)

    layers = [conv(0)]
    for k, to_rgb in enumerate(synthesis.to_rgbs):
        if k:
            layers += [conv(2 * k - 1), conv(2 * k)]
        layers.append(StyleLayer(f"rgb{k}", 2 * k + 1, len(to_rgb.affine.bias), False, to_rgb.affine))
    return layers


def read_styles(generator: Generator, w_plus: Tensor) -> list[Tensor]:
    """The styles of W+ codes [N,num_ws,style_dim]: one [N,channels] for each of `style_layers`."""
    return [layer.affine(w_plus[:, layer.slot]) for layer in style_layers(generator)]


def render_styles(
    generator: Generator, styles: list[Tensor], noise_mode: str = "const", noise=None
) -> Tensor:
    """Images [N,3,R,R] of styles; differentiable in them. Noise as in `Synthesis.forward`.

    With the styles of `read_styles` the images are those of the W+ codes, bit by bit. Raises UserError
    for styles of another generator.
    """
    layers = style_layers(generator)
    wanted = [layer.channels for layer in layers]
    given = [style.shape[-1] for style in styles]
    if wanted != given or any(style.ndim != 2 or len(style) != len(styles[0]) for style in styles):
        raise UserError(
            f"styles: {len(given)} vectors with {given} channels given, but this generator takes "
            f"{len(wanted)}, [N,C] with C = {wanted}; read them from a generator of the same size."
        )
    synthesis = generator.synthesis
    # the affine maps are replaced, so that the codes are read by none
    codes = styles[0].new_zeros(len(styles[0]), synthesis.num_ws, synthesis.style_dim)
    with _in_place_of_affine(layers, styles):
        return synthesis(codes, noise_mode, noise)


@contextmanager
def _in_place_of_affine(layers: list[StyleLayer], styles: list[Tensor]) -> Iterator[None]:
    """Within it, the affine map of each layer returns the given style."""
    with ExitStack() as hooks:
        for layer, style in zip(layers, styles, strict=True):
            hook = layer.affine.register_forward_hook(lambda *_, style=style: style)
            hooks.callback(hook.remove)
        yield


# Edited channels as one vector --------------------------------------------------------------------


def edited_channels(generator: Generator) -> list[tuple[int, int]]:
    """(index in `style_layers`, channel) of every edited channel, in order."""
    layers = enumerate(style_layers(generator))
    return [(i, c) for i, layer in layers if layer.edited for c in range(layer.channels)]


def flatten_edited(generator: Generator, styles: list[Tensor]) -> Tensor:
    """The edited styles side by side: [N,C] with C = len(edited_channels(generator))."""
    layers = style_layers(generator)
    return torch.cat([s for s, layer in zip(styles, layers, strict=True) if layer.edited], dim=-1)


def add_to_edited(generator: Generator, styles: list[Tensor], step: Tensor) -> list[Tensor]:
    """styles + step, where step [C] or [N,C] holds the edited channels; toRGB's stay as they are."""
    layers = style_layers(generator)
    parts = iter(step.split([layer.channels for layer in layers if layer.edited], dim=-1))
    pairs = zip(styles, layers, strict=True)
    return [style + next(parts) if layer.edited else style for style, layer in pairs]
