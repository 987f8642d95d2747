"""Junk images and faces between two species, which the judge must classify as "none of these"."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from workflow.worlds.mini.scenes import blobs, render_uint8, sample_scenes
from workflow.worlds.mini.species import ANIMALS, PARTS, SPECIES, STYLES

JUNK = ("noise", "shuffle", "cross_fade", "drowned", "blobs", "ball", "blotches", "melted", "smear")


def junk(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Junk images made from renders for the judge's "none of these", cycling through the kinds of JUNK.

    Coloured noise; patch shuffles; cross-fades of two pictures; over-saturated pictures drowned in
    blobs; smooth blobs alone; one centred ball of noise on a background; a face behind coloured
    blotches; a face whose shapes are melted by a strong smooth warp; a face smeared beyond
    recognition, in strong colours.

    images: float32 [N, 3, R, R] in [-1, 1]; returns the same shape in [-1, 1].
    """
    n, _, resolution, _ = images.shape
    out = torch.empty_like(images)
    axis = torch.linspace(-1, 1, resolution)
    radius = torch.sqrt(axis[:, None] ** 2 + axis[None] ** 2)
    for i in range(n):
        kind, image = JUNK[i % len(JUNK)], images[i]
        other = images[(i + 1 + n // 2) % n]
        cells = int(torch.randint(2, 9, (1,), generator=generator))
        blob = blobs(1, resolution, generator, cells)[0]
        if kind == "noise":
            sigma = 0.3 + 0.9 * torch.rand(1, generator=generator)
            fine = blobs(1, resolution, generator, resolution // 2)[0]
            out[i] = image.mean((1, 2), keepdim=True) + sigma * fine
        elif kind == "shuffle":
            patch = (4, 8, 16)[int(torch.randint(3, (1,), generator=generator))] * resolution // 32
            tiles = F.unfold(image[None], patch, stride=patch)[0]
            order = torch.randperm(tiles.shape[1], generator=generator)
            out[i] = F.fold(tiles[None, :, order], resolution, patch, stride=patch)[0]
        elif kind == "cross_fade":
            weight = 0.40 + 0.20 * torch.rand(1, generator=generator)
            out[i] = weight * image + (1 - weight) * other.flip(2)
        elif kind == "drowned":
            gain = 1.5 + 2 * torch.rand(1, generator=generator)
            out[i] = gain * image + 0.9 * blob
        elif kind == "blobs":
            out[i] = 0.8 * blob
        elif kind == "ball":
            size = 0.45 + 0.35 * torch.rand(1, generator=generator)
            soft = torch.sigmoid((size - radius) * 14)
            colour = 2 * torch.rand(3, 1, 1, generator=generator) - 1
            out[i] = (1 - soft) * image[:, :1, :1] + soft * (colour + 0.5 * blob)
        elif kind == "blotches":
            where = torch.sigmoid(4 * (blobs(1, resolution, generator, 5)[0, :1] - 0.1))
            if where[0][radius < 0.5].mean() < 0.4:  # the face itself must be covered
                where = 1 - where
            strength = 0.6 + 0.4 * torch.rand(1, generator=generator)
            out[i] = image + strength * where * (0.9 * blob - image)
        elif kind == "smear":
            coarse = F.adaptive_avg_pool2d(image[None], 4 + cells // 2)
            soft = F.interpolate(coarse, size=resolution, mode="bicubic", align_corners=False)[0]
            gain = 1 + 1.5 * torch.rand(3, 1, 1, generator=generator)
            out[i] = gain * soft + 0.25 * blob
        else:
            bend = 0.22 + 0.2 * torch.rand(1, generator=generator)
            shift = bend * blobs(1, resolution, generator, 5)[0, :2].permute(1, 2, 0)
            grid = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), dim=-1) + shift
            out[i] = F.grid_sample(
                image[None], grid[None], padding_mode="border", align_corners=True
            )[0]
    return out.clamp(-1, 1)


CHIMERA_PARTS = 2  # of head, ears, eyes and muzzle, those of a chimera's second species
EARS_ALONE = 0.25  # share of chimeras of which the ears alone are of the second species
# A chimera of two species of one group would still look like one of them.
ALIKE = (("bear", "lion", "koala", "beaver"), ("cat", "tiger", "lynx"), ("dog", "fox", "wolf"), ("rabbit",), ("mouse",))
# Ears that one takes for each other
EARS = (("dog", "cat", "fox", "wolf", "lynx"), ("bear", "lion", "tiger", "beaver"), ("koala", "mouse"), ("rabbit",))
FADE = (0.38, 0.62)  # share of the first of two faces in a fade


def half_way(count: int, generator: torch.Generator, resolution: int) -> torch.Tensor:
    """Faces between two species or styles, which belong to neither; uint8 [N, 3, R, R].

    The first half are chimeras: of head, ears, eyes and muzzle two are of one and two of another
    species, or the ears alone are. A quarter are cross-fades of a face with its own counterpart in another
    species, the last quarter with that in another style.
    """
    _, style, u = sample_scenes(count, generator)
    half, quarter = count // 2, count // 4
    ears = torch.rand(count, generator=generator) < EARS_ALONE
    first = torch.randint(len(ANIMALS), (count,), generator=generator)
    order = torch.rand(count, len(ANIMALS), generator=generator)
    order[_in_one_group(ALIKE)[first]] = -1
    order[ears[:, None] & _in_one_group(EARS)[first]] = -1
    second = order.argmax(dim=1)
    parts = first[:, None].repeat(1, len(PARTS))
    # two of the four shapes, and perhaps the coat, come from the second species
    order = torch.rand(count, len(PARTS) - 1, generator=generator).argsort(dim=1)
    from_second = torch.zeros(count, len(PARTS), dtype=torch.bool)
    from_second.scatter_(1, order[:, :CHIMERA_PARTS], True)
    from_second[:, PARTS.index("coat")] = torch.rand(count, generator=generator) < 0.5
    from_second = torch.where(ears[:, None], torch.arange(len(PARTS)) == PARTS.index("ears"), from_second)
    parts = torch.where(from_second, second[:, None], parts)
    chimeras = render_uint8(parts[:half], style[:half], u[:half], resolution)
    species = slice(half, half + quarter)
    ends = [render_uint8(k[species], style[species], u[species], resolution) for k in (first, second)]
    rest = slice(half + quarter, count)
    any_species = torch.randint(len(SPECIES), (count,), generator=generator)[rest]
    other = torch.randint(1, len(STYLES), (count,), generator=generator)
    other = ((style + other) % len(STYLES))[rest]
    styles = [render_uint8(any_species, s, u[rest], resolution) for s in (style[rest], other)]
    faded = []
    for one, another in (ends, styles):
        weight = FADE[0] + (FADE[1] - FADE[0]) * torch.rand(len(one), 1, 1, 1, generator=generator)
        faded.append((weight * one.float() + (1 - weight) * another.float() + 0.5).to(torch.uint8))
    return torch.cat([chimeras, *faded])


def _in_one_group(groups: tuple[tuple[str, ...], ...]) -> torch.Tensor:
    """Bool [A, A]: whether two of ANIMALS are in the same group."""
    group = torch.tensor([next(i for i, g in enumerate(groups) if name in g) for name in ANIMALS])
    return group[:, None] == group[None]
