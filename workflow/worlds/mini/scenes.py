"""Batches of the mini world for pre-training: random scenes, augmented views and junk pictures."""

from __future__ import annotations

import math

import torch
from torch.nn import functional as F

from workflow.worlds.mini.renderer import NUM_UNIFORMS, SPECIES, STANDARD, STYLES, Palette, render

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


def from_uint8(images: torch.Tensor) -> torch.Tensor:
    """uint8 [N, 3, R, R] to float32 in [-1, 1]."""
    return images.to(torch.float32) / 127.5 - 1


def augment(images: torch.Tensor, generator: torch.Generator, noise: float = 0.25) -> torch.Tensor:
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


def junk(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Pictures of nothing made from renders: the judge's "none of these" class.

    Six kinds in turn: coloured noise, patch shuffles, cross-fades of two pictures, over-saturated
    pictures drowned in blobs, smooth blobs alone, and one centred ball of noise on a background.

    images: float32 [N, 3, R, R] in [-1, 1]; returns the same shape in [-1, 1].
    """
    n, _, resolution, _ = images.shape
    out = torch.empty_like(images)
    axis = torch.linspace(-1, 1, resolution)
    radius = torch.sqrt(axis[:, None] ** 2 + axis[None] ** 2)
    for i in range(n):
        kind, image = i % 6, images[i]
        other = images[(i + 1 + n // 2) % n]
        cells = int(torch.randint(2, 9, (1,), generator=generator))
        blob = _blobs(1, resolution, generator, cells)[0]
        if kind == 0:
            sigma = 0.3 + 0.9 * torch.rand(1, generator=generator)
            fine = _blobs(1, resolution, generator, resolution // 2)[0]
            out[i] = image.mean((1, 2), keepdim=True) + sigma * fine
        elif kind == 1:
            patch = (4, 8, 16)[int(torch.randint(3, (1,), generator=generator))] * resolution // 32
            tiles = F.unfold(image[None], patch, stride=patch)[0]
            order = torch.randperm(tiles.shape[1], generator=generator)
            out[i] = F.fold(tiles[None, :, order], resolution, patch, stride=patch)[0]
        elif kind == 2:
            weight = 0.40 + 0.20 * torch.rand(1, generator=generator)
            out[i] = weight * image + (1 - weight) * other.flip(2)
        elif kind == 3:
            gain = 1.5 + 2 * torch.rand(1, generator=generator)
            out[i] = gain * image + 0.9 * blob
        elif kind == 4:
            out[i] = 0.8 * blob
        else:
            size = 0.45 + 0.35 * torch.rand(1, generator=generator)
            soft = torch.sigmoid((size - radius) * 14)
            colour = 2 * torch.rand(3, 1, 1, generator=generator) - 1
            out[i] = (1 - soft) * image[:, :1, :1] + soft * (colour + 0.5 * blob)
    return out.clamp(-1, 1)


def cosine(step: int, steps: int, peak: float, warmup: int = 50) -> float:
    """Learning rate with linear warm-up and cosine decay to 2 % of the peak."""
    if step < warmup:
        return peak * (step + 1) / warmup
    fraction = (step - warmup) / max(1, steps - warmup)
    return peak * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * fraction)))
