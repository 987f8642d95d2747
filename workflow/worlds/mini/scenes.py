"""Scenes of the mini world: drawing, rendering, random views; and a learning-rate schedule."""

from __future__ import annotations

import math

import torch
from torch.nn import functional as F

from workflow.worlds.mini.painting import STANDARD, Palette
from workflow.worlds.mini.renderer import render
from workflow.worlds.mini.species import NUM_UNIFORMS, SPECIES, STYLES

PHOTO_SHARE = 0.46  # photographs are over-sampled: sources and most targets are photographs
RENDER_BATCH = 256


def sample_scenes(
    count: int, generator: torch.Generator, species: str | None = None, style: str | None = None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Draw (species [N], style [N], u [N, NUM_UNIFORMS]); None draws species or style at random."""
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


def augment(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """A random view: scale +-12 %, rotation +-0.15 rad, shift +-12 %, mirror, brightness, contrast.

    images: float32 [N, 3, R, R] in [-1, 1]; returns the same shape, about [-1.4, 1.4].
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
    return view * uniform(0.8, 1.2, 1, 1, 1) + uniform(-0.15, 0.15, 1, 1, 1)


def blobs(n: int, resolution: int, generator: torch.Generator, cells: int) -> torch.Tensor:
    """Smooth coloured noise, [N, 3, R, R], standard deviation about 1."""
    coarse = torch.randn(n, 3, cells, cells, generator=generator)
    return F.interpolate(coarse, size=resolution, mode="bicubic", align_corners=False)


def cosine(step: int, steps: int, peak: float, warmup: int = 50) -> float:
    """Learning rate with linear warm-up and cosine decay to 2 % of the peak."""
    if step < warmup:
        return peak * (step + 1) / warmup
    fraction = (step - warmup) / max(1, steps - warmup)
    return peak * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * fraction)))
