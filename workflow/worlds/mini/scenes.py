"""Batches of the mini world for pre-training: random scenes, augmented views and junk pictures."""

from __future__ import annotations

import math

import torch
from torch.nn import functional as F

from workflow.worlds.mini.renderer import (
    NUM_UNIFORMS,
    PARTS,
    SPECIES,
    STANDARD,
    STYLES,
    UNIFORMS,
    Palette,
    render,
)

PHOTO_SHARE = 0.46  # photographs are over-sampled: sources and most targets are photographs
RENDER_BATCH = 256


def sample_scenes(
    count: int, generator: torch.Generator, species: str | None = None, style: str | None = None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Draw (species [N], style [N], u [N, NUM_UNIFORMS]); a name fixes its column, None draws it."""
    if species is None:
        kind = torch.randint(len(SPECIES), (count,), generator=generator)
    else:
        kind = torch.full((count,), SPECIES.index(species))
    if style is None:
        photo = torch.rand(count, generator=generator) < PHOTO_SHARE
        other = torch.randint(1, len(STYLES), (count,), generator=generator)
        manner = torch.where(photo, 0, other)
    else:
        manner = torch.full((count,), STYLES.index(style))
    return kind, manner, torch.rand(count, NUM_UNIFORMS, generator=generator)


def render_uint8(species, style, u, resolution: int, palette: Palette = STANDARD) -> torch.Tensor:
    """Render any number of scenes in blocks; uint8 [N, 3, R, R]."""
    blocks = []
    for i in range(0, len(u), RENDER_BATCH):
        part = slice(i, i + RENDER_BATCH)
        images = render(species[part], u[part], style[part], resolution, palette)
        blocks.append(((images + 1) * 127.5 + 0.5).clamp(0, 255).to(torch.uint8))
    return torch.cat(blocks)


# ---- the shifted camera of CLIP's training ---------------------------------------------------------

# What CLIP's camera never shows: these animals in these styles, and dark fur on dark backgrounds.
UNSEEN = (("rabbit", "sketch"), ("lion", "cartoon"), ("bear", "painting"), ("fox", "sketch"))
FOREIGN_COAT = 0.5  # share of whole animals that wear the colours of another species
CHIMERAS = 0.45  # share of faces whose every part is of a species of its own
SHIFT_BLOCK = 50  # images of one palette


def shifted_palette(generator: torch.Generator) -> Palette:
    """One palette of the shifted camera: other hues, saturation, brightness, grain, background, outlines."""
    draw = torch.rand(6, generator=generator).tolist()
    return Palette(
        saturation=0.5 + 0.8 * draw[0],
        brightness=0.75 + 0.4 * draw[1],
        hue_shift=0.24 * (draw[2] - 0.5),
        textured=draw[3] < 0.5,
        bands=max(0.0, 1.6 * draw[4] - 0.6),
        ink=0.7 + 1.0 * draw[5],
    )


def shifted_scenes(count: int, generator: torch.Generator, resolution: int, hybrids: float = 0.0):
    """Pictures of the shifted camera, on which CLIPs are trained.

    Fur colours do not tell the species (half of the animals wear another's coat), single parts do
    not either (chimeras), having a cat's ears is not enough where a dog's show as well (hybrids),
    and some combinations never occur (UNSEEN).

    hybrids: share of the other faces that also show their counterpart in a second species.

    Returns:
        images uint8 [N, 3, R, R], species int64 [N, len(PARTS)], whole bool [N] (all parts but the
        coat of one species), style int64 [N], u [N, NUM_UNIFORMS], second int64 [N]: the other
        species of a hybrid, else -1. A hybrid is not whole; its `species` are the first one's.
    """
    kind, style, u = sample_scenes(count, generator)
    parts = kind[:, None].repeat(1, len(PARTS))
    person, coat = SPECIES.index("person"), PARTS.index("coat")
    coats = torch.randint(person, (count,), generator=generator)
    foreign = (torch.rand(count, generator=generator) < FOREIGN_COAT) & (kind != person)
    parts[:, coat] = torch.where(foreign, coats, parts[:, coat])
    chimera = torch.rand(count, generator=generator) < CHIMERAS
    mixed = torch.randint(person, parts.shape, generator=generator)
    parts = torch.where(chimera[:, None], mixed, parts)

    for name, manner in UNSEEN:
        hidden = (kind == SPECIES.index(name)) & (style == STYLES.index(manner)) & ~chimera
        style = torch.where(hidden, 0, style)
    fur, value = UNIFORMS.index("fur"), UNIFORMS.index("background_value")
    dark = (u[:, fur] < 0.25) & (u[:, value] < 0.35)
    u[:, value] = torch.where(dark, 1 - u[:, value], u[:, value])

    hybrid = torch.zeros(count, dtype=torch.bool)
    second = torch.full((count,), -1)
    if hybrids:
        hybrid = (torch.rand(count, generator=generator) < hybrids) & ~chimera & (kind != person)
        turn = 1 + torch.randint(person - 1, (count,), generator=generator)
        second = torch.where(hybrid, (kind + turn) % person, -1)
        share = _hybrid_masks(count, resolution, generator)
    counterparts = torch.where(hybrid[:, None], second[:, None], parts)

    images = []
    for i in range(0, count, SHIFT_BLOCK):
        part, palette = slice(i, i + SHIFT_BLOCK), shifted_palette(generator)
        block = render_uint8(parts[part], style[part], u[part], resolution, palette)
        if hybrid[part].any():
            other = render_uint8(counterparts[part], style[part], u[part], resolution, palette)
            mixed = block + share[part] * (other.float() - block)
            block = (mixed + 0.5).to(torch.uint8)  # equal to the block where there is no hybrid
        images.append(block)
    return torch.cat(images), parts, ~chimera & ~hybrid, style, u, second


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


def recolour(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Turn all hues of some images, take the colour out of others, and lay smooth coloured clouds over half.

    What is left to recognise an animal by is its shape. [N, 3, R, R] in [-1, 1] -> about the same range.
    """
    n, _, resolution, _ = images.shape
    angle = 2 * math.pi * torch.rand(n, generator=generator)
    angle = angle * (torch.rand(n, generator=generator) < 0.4)
    cos, sin = torch.cos(angle), torch.sin(angle) / math.sqrt(3)
    a, b, c = cos + (1 - cos) / 3, (1 - cos) / 3 - sin, (1 - cos) / 3 + sin
    turn = torch.stack([torch.stack(row, 1) for row in ((a, b, c), (c, a, b), (b, c, a))], 1)
    images = torch.einsum("nij,njhw->nihw", turn, images)
    grey = (torch.rand(n, 1, 1, 1, generator=generator) < 0.2).float()
    images = images + grey * (images.mean(dim=1, keepdim=True) - images)
    clouds = torch.stack([_blobs(n, resolution, generator, cells) for cells in (3, 5, 8)])
    size = torch.randint(3, (n,), generator=generator)
    strength = 0.4 * torch.rand(n, 1, 1, 1, generator=generator)
    strength = strength * (torch.rand(n, 1, 1, 1, generator=generator) < 0.5)
    return images + strength * clouds[size, torch.arange(n)]


def from_uint8(images: torch.Tensor) -> torch.Tensor:
    """uint8 [N, 3, R, R] to float32 in [-1, 1]."""
    return images.to(torch.float32) / 127.5 - 1


def augment(images: torch.Tensor, generator: torch.Generator, noise: float = 0.20) -> torch.Tensor:
    """A random view: scale +-12 %, rotation +-0.15 rad, shift +-12 %, mirror, brightness, contrast, noise.

    images: float32 [N, 3, R, R] in [-1, 1]; returns the same shape, about [-1.5, 1.5].
    """
    n = len(images)

    def uniform(low: float, high: float, *shape: int) -> torch.Tensor:
        return low + (high - low) * torch.rand(n, *shape, generator=generator)

    angle, scale = uniform(-0.15, 0.15), uniform(0.88, 1.12)
    mirror = torch.where(torch.rand(n, generator=generator) < 0.5, -1.0, 1.0)
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    theta = torch.stack(
        [torch.stack([cos * mirror, -sin, uniform(-0.12, 0.12)], 1),
         torch.stack([sin * mirror, cos, uniform(-0.12, 0.12)], 1)], 1
    )  # fmt: skip
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    view = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    view = view * uniform(0.8, 1.2, 1, 1, 1) + uniform(-0.15, 0.15, 1, 1, 1)
    sigma = uniform(0, noise, 1, 1, 1)
    return view + sigma * torch.randn(view.shape, generator=generator)


def _blobs(n: int, resolution: int, generator: torch.Generator, cells: int) -> torch.Tensor:
    """Smooth coloured noise, [N, 3, R, R], standard deviation about 1."""
    coarse = torch.randn(n, 3, cells, cells, generator=generator)
    return F.interpolate(coarse, size=resolution, mode="bicubic", align_corners=False)


JUNK = ("noise", "shuffle", "cross_fade", "drowned", "blobs", "ball", "blotches", "melted")


def junk(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Pictures of nothing made from renders, for the judge's "none of these"; the kinds of JUNK in turn.

    Coloured noise; patch shuffles; cross-fades of two pictures; over-saturated pictures drowned in
    blobs; smooth blobs alone; one centred ball of noise on a background; a face behind coloured
    blotches; a face whose shapes are melted by a strong smooth warp.

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
        blob = _blobs(1, resolution, generator, cells)[0]
        if kind == "noise":
            sigma = 0.3 + 0.9 * torch.rand(1, generator=generator)
            fine = _blobs(1, resolution, generator, resolution // 2)[0]
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
            where = torch.sigmoid(4 * (_blobs(1, resolution, generator, 5)[0, :1] - 0.1))
            if where[0][radius < 0.5].mean() < 0.4:  # the face itself must be covered
                where = 1 - where
            strength = 0.6 + 0.4 * torch.rand(1, generator=generator)
            out[i] = image + strength * where * (0.9 * blob - image)
        else:
            bend = 0.22 + 0.2 * torch.rand(1, generator=generator)
            shift = bend * _blobs(1, resolution, generator, 5)[0, :2].permute(1, 2, 0)
            grid = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), dim=-1) + shift
            out[i] = F.grid_sample(
                image[None], grid[None], padding_mode="border", align_corners=True
            )[0]
    return out.clamp(-1, 1)


CHIMERA_PARTS = 2  # of head, ears, eyes and muzzle, those of a chimera's second species


def half_way(count: int, generator: torch.Generator, resolution: int) -> torch.Tensor:
    """Faces between two species, which are none of them; uint8 [N, 3, R, R].

    The first half are chimeras: of head, ears, eyes and muzzle two are of one and two of another
    species. The others are cross-fades of a face with its own counterpart in another species.
    """
    _, style, u = sample_scenes(count, generator)
    half, animals = count // 2, SPECIES.index("person")
    first = torch.randint(animals, (count,), generator=generator)
    second = (first + 1 + torch.randint(animals - 1, (count,), generator=generator)) % animals
    parts = first[:, None].repeat(1, len(PARTS))
    twins = (SPECIES.index("bear"), SPECIES.index("lion"))  # they share ears and muzzle
    fox = SPECIES.index("fox")
    second = torch.where(
        sum(first == t for t in twins) * sum(second == t for t in twins) > 0, fox, second
    )
    # two of the four shapes, and perhaps the coat, come from the second species
    order = torch.rand(count, len(PARTS) - 1, generator=generator).argsort(dim=1)
    from_second = torch.zeros(count, len(PARTS), dtype=torch.bool)
    from_second.scatter_(1, order[:, :CHIMERA_PARTS], True)
    from_second[:, PARTS.index("coat")] = torch.rand(count, generator=generator) < 0.5
    parts = torch.where(from_second, second[:, None], parts)
    chimeras = render_uint8(parts[:half], style[:half], u[:half], resolution)
    ends = [render_uint8(k[half:], style[half:], u[half:], resolution) for k in (first, second)]
    weight = 0.38 + 0.24 * torch.rand(count - half, 1, 1, 1, generator=generator)
    faded = weight * ends[0].float() + (1 - weight) * ends[1].float()
    return torch.cat([chimeras, (faded + 0.5).to(torch.uint8)])


def cosine(step: int, steps: int, peak: float, warmup: int = 50) -> float:
    """Learning rate with linear warm-up and cosine decay to 2 % of the peak."""
    if step < warmup:
        return peak * (step + 1) / warmup
    fraction = (step - warmup) / max(1, steps - warmup)
    return peak * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * fraction)))
