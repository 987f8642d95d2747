"""The shifted camera that CLIPs are trained on: other colours, chimeras, hybrids and hard views."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from workflow.worlds.mini.painting import Palette, hue_rotation
from workflow.worlds.mini.scenes import blobs, render_uint8, sample_scenes
from workflow.worlds.mini.species import PARTS, SPECIES, STYLES, UNIFORMS

# Never shown to CLIP: these species in these styles, and dark fur on dark backgrounds.
UNSEEN = (("rabbit", "sketch"), ("lion", "cartoon"), ("bear", "painting"), ("fox", "sketch"))
CHIMERAS = 0.2  # share of faces whose parts are all of different species
NEAR_MISSES = 0.3  # share of the others with one part of another species, e.g. a fox with a dog's ears
# share of near misses whose foreign part is the ears, the most telling part
FOREIGN_EARS = 0.4
SHIFT_BLOCK = 50  # images per palette


def shifted_palette(generator: torch.Generator) -> Palette:
    """A random palette: hues, saturation, brightness, grain, background and outlines."""
    draw = torch.rand(6, generator=generator).tolist()
    return Palette(
        saturation=0.5 + 0.8 * draw[0],
        brightness=0.75 + 0.4 * draw[1],
        hue_shift=0.24 * (draw[2] - 0.5),
        textured=draw[3] < 0.5,
        bands=max(0.0, 1.6 * draw[4] - 0.6),
        ink=0.7 + 1.0 * draw[5],
    )


class ShiftedScenes(NamedTuple):
    """N images of the shifted camera and their contents.

    images uint8 [N, 3, R, R]; parts int64 [N, len(PARTS)], the species of each; style int64 [N];
    u [N, NUM_UNIFORMS]. species int64 [N]: of the whole face, -1 for a chimera. second int64 [N]:
    a hybrid's other species, or -1. foreign int64 [N]: index in PARTS of a near miss's one foreign
    part, or -1.
    """

    images: Tensor
    parts: Tensor
    style: Tensor
    u: Tensor
    species: Tensor
    second: Tensor
    foreign: Tensor

    @property
    def whole(self) -> Tensor:
        """Bool [N]: all parts, except perhaps the coat, are of one species."""
        return (self.species >= 0) & (self.second < 0) & (self.foreign < 0)


def shifted_scenes(
    count: int,
    generator: torch.Generator,
    resolution: int,
    hybrids: float = 0.0,
    foreign_coats: float = 0.0,
) -> ShiftedScenes:
    """Draw images of the shifted camera, which CLIPs are trained on.

    Fur colours do not determine the species (some animals have the coat of another), and neither do single
    parts (chimeras and near misses) or all parts of one species (hybrids show two). Some combinations never
    occur (UNSEEN).

    hybrids: share of the other faces that also show their counterpart in a second species.
    foreign_coats: share of animals with the colours of another species.
    """
    kind, style, u = sample_scenes(count, generator)
    parts = kind[:, None].repeat(1, len(PARTS))
    person, coat = SPECIES.index("person"), PARTS.index("coat")

    def chance(share: float) -> Tensor:
        return torch.rand(count, generator=generator) < share

    def another() -> Tensor:
        """For each row an animal of another species."""
        return (kind + 1 + torch.randint(person - 1, (count,), generator=generator)) % person

    animal = kind != person
    parts[:, coat] = torch.where(chance(foreign_coats) & animal, another(), parts[:, coat])
    chimera = chance(CHIMERAS)
    mixed = torch.randint(person, parts.shape, generator=generator)
    parts = torch.where(chimera[:, None], mixed, parts)
    near = chance(NEAR_MISSES) & animal & ~chimera
    foreign = torch.randint(len(PARTS) - 1, (count,), generator=generator)  # any part but the coat
    foreign = torch.where(chance(FOREIGN_EARS), PARTS.index("ears"), foreign)
    foreign = torch.where(near, foreign, -1)
    at_foreign = torch.arange(len(PARTS)) == foreign[:, None]
    parts = torch.where(at_foreign, another()[:, None], parts)

    for name, manner in UNSEEN:
        hidden = (kind == SPECIES.index(name)) & (style == STYLES.index(manner)) & ~chimera
        style = torch.where(hidden, 0, style)
    fur, value = UNIFORMS.index("fur"), UNIFORMS.index("background_value")
    dark = (u[:, fur] < 0.25) & (u[:, value] < 0.35)
    u[:, value] = torch.where(dark, 1 - u[:, value], u[:, value])

    hybrid = chance(hybrids) & ~chimera & ~near & animal
    second = torch.where(hybrid, another(), -1)
    share = _hybrid_masks(count, resolution, generator)
    counterparts = torch.where(hybrid[:, None], second[:, None], parts)

    images = []
    for i in range(0, count, SHIFT_BLOCK):
        part, palette = slice(i, i + SHIFT_BLOCK), shifted_palette(generator)
        block = render_uint8(parts[part], style[part], u[part], resolution, palette)
        if hybrid[part].any():
            other = render_uint8(counterparts[part], style[part], u[part], resolution, palette)
            mixed = block + share[part] * (other.float() - block)
            block = (mixed + 0.5).to(torch.uint8)  # unchanged where there is no hybrid
        images.append(block)
    species = torch.where(chimera, -1, kind)
    return ShiftedScenes(torch.cat(images), parts, style, u, species, second, foreign)


def _hybrid_masks(count: int, resolution: int, generator: torch.Generator) -> torch.Tensor:
    """Share of the second species at each pixel, [N, 1, R, R]: all over, or on one side of a line."""
    axis = (torch.arange(resolution) + 0.5) / resolution * 2 - 1
    angle = 2 * math.pi * torch.rand(count, 1, 1, generator=generator)
    offset = 0.3 * (2 * torch.rand(count, 1, 1, generator=generator) - 1)
    along = torch.cos(angle) * axis[None, None] + torch.sin(angle) * axis[None, :, None]
    side = torch.sigmoid((along - offset) * 8)
    even = (0.35 + 0.3 * torch.rand(count, 1, 1, generator=generator)).expand_as(side)
    return torch.where(torch.rand(count, 1, 1, generator=generator) < 0.5, side, even)[:, None]


def erase(images: torch.Tensor, generator: torch.Generator, share: float = 0.25) -> torch.Tensor:
    """Cover a random square (a quarter to a half of the side) of some images with a random colour."""
    n, _, resolution, _ = images.shape
    side = resolution * (0.25 + 0.25 * torch.rand(n, 1, 1, 1, generator=generator))
    centre = resolution * torch.rand(n, 2, 1, 1, generator=generator)
    axis = torch.arange(resolution) + 0.5
    inside = ((axis[None, None, :, None] - centre[:, :1]).abs() < side / 2) & (
        (axis[None, None, None, :] - centre[:, 1:]).abs() < side / 2
    )
    inside &= torch.rand(n, 1, 1, 1, generator=generator) < share
    return torch.where(inside, 2 * torch.rand(n, 3, 1, 1, generator=generator) - 1, images)


# Styles whose pictures have no colours of their own: a coloured one would be another style.
COLOURLESS = tuple(STYLES.index(name) for name in ("sketch", "monochrome", "woodcut"))


def recolour(images: torch.Tensor, style: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Rotate the hues of some images and overlay smooth coloured clouds on half of them.

    Shape then counts beside colour. Styles without colours are not changed.
    images [N, 3, R, R] in [-1, 1], style int64 [N] -> about the same range.
    """
    n, _, resolution, _ = images.shape
    originals = images
    angle = 2 * math.pi * torch.rand(n, generator=generator)
    angle = angle * (torch.rand(n, generator=generator) < 0.12)
    images = torch.einsum("nij,njhw->nihw", hue_rotation(angle), images)
    clouds = torch.stack([blobs(n, resolution, generator, cells) for cells in (3, 5, 8)])
    size = torch.randint(3, (n,), generator=generator)
    strength = 0.4 * torch.rand(n, 1, 1, 1, generator=generator)
    strength = strength * (torch.rand(n, 1, 1, 1, generator=generator) < 0.5)
    images = images + strength * clouds[size, torch.arange(n)]
    colourless = sum(style == manner for manner in COLOURLESS) > 0
    return torch.where(colourless[:, None, None, None], originals, images)
