"""Pairs that teach a CLIP directions: a picture, its true counterpart, and pictures that are none.

The directional loss rewards whatever moves an embedding along the text's direction. So CLIP has to learn that of a
picture's counterpart in another species or style, a half-changed animal, a fade, a smear and a change of colour
alone, only the counterpart lies there.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from workflow.worlds.mini.painting import Palette
from workflow.worlds.mini.renderer import render
from workflow.worlds.mini.scenes import augment, blobs
from workflow.worlds.mini.shifted_camera import COLOURLESS, shifted_palette
from workflow.worlds.mini.species import ANIMALS, NUM_UNIFORMS, PARTS, SPECIES, STYLES

# The pictures of one pair, in this order; all after the second are negatives.
PICTURES = ("source", "counterpart", "near_miss", "fade", "smear", "colours")
STYLE_SHARE = 0.4  # of the pairs: two styles of one face, the others are two species
PALETTE_SHARE = 0.35  # of the blocks that are drawn with the standard palette, not a shifted one
TEMPERATURE = 0.1  # of cosines in the loss


class Pairs(NamedTuple):
    """images uint8 [N, len(PICTURES), 3, R, R]; source, target int64 [N], places in `class_words`."""

    images: Tensor
    source: Tensor
    target: Tensor


def class_words() -> list[str]:
    """The words of all species, then of all styles, as in tasks."""
    from workflow.worlds.mini.captions import SPECIES_WORDS, STYLE_WORDS

    return [words[0] for words in (*SPECIES_WORDS.values(), *STYLE_WORDS.values())]


def draw_pairs(count: int, generator: torch.Generator, resolution: int) -> Pairs:
    """Draw `count` pairs with their negatives, all of one palette."""
    styles = int(STYLE_SHARE * count)
    standard = torch.rand(1, generator=generator) < PALETTE_SHARE
    palette = Palette() if standard else shifted_palette(generator)
    drawn = (
        _of_species(count - styles, generator, resolution, palette),
        _of_styles(styles, generator, resolution, palette),
    )
    images, source, target = (torch.cat(parts) for parts in zip(*drawn, strict=True))
    return Pairs(((images + 1) * 127.5 + 0.5).clamp(0, 255).to(torch.uint8), source, target)


def _of_species(count: int, generator, resolution: int, palette: Palette):
    """Two animals. Near misses keep one to three parts of the source, ears and eyes more often."""
    animals = len(ANIMALS)
    first = torch.randint(animals, (count,), generator=generator)
    second = (first + 1 + torch.randint(animals - 1, (count,), generator=generator)) % animals
    photo = torch.rand(count, generator=generator) < 0.7
    style = torch.where(photo, 0, torch.randint(1, len(STYLES), (count,), generator=generator))
    u = torch.rand(count, NUM_UNIFORMS, generator=generator)
    kept = torch.rand(count, len(PARTS), generator=generator)
    kept = kept < kept.new_tensor([0.25, 0.45, 0.45, 0.3, 0.15])
    kept[:, PARTS.index("ears")] |= ~kept.any(dim=1)  # at least one part is kept
    parts = torch.where(kept, first[:, None], second[:, None])
    coat = first[:, None].repeat(1, len(PARTS))
    coat[:, PARTS.index("coat")] = second
    source, target, near, colours = (render(s, u, style, resolution, palette) for s in (first, second, parts, coat))
    images = [source, target, near, _fade(source, target, generator), _smear(source, target, generator), colours]
    return torch.stack(images, dim=1), first, second


def _of_styles(count: int, generator, resolution: int, palette: Palette):
    """Two styles of one face. Near misses keep some of the source's colours, everywhere or in places."""
    first = torch.zeros(count, dtype=torch.int64)
    other = torch.rand(count, generator=generator) < 0.3
    first = torch.where(other, torch.randint(1, len(STYLES), (count,), generator=generator), first)
    second = (first + 1 + torch.randint(len(STYLES) - 1, (count,), generator=generator)) % len(STYLES)
    person = torch.rand(count, generator=generator) < 0.6
    animal = torch.randint(len(ANIMALS), (count,), generator=generator)
    species = torch.where(person, SPECIES.index("person"), animal)
    u = torch.rand(count, NUM_UNIFORMS, generator=generator)
    source, target = (render(species, u, style, resolution, palette) for style in (first, second))
    near = tinted(target, source, generator)
    # between two colourless styles there are no colours to keep: half of the change instead
    colourless = sum(first == style for style in COLOURLESS) > 0
    near = torch.where(colourless[:, None, None, None], _fade(source, target, generator), near)
    colours = _moved_colours(source, target)
    images = [source, target, near, _fade(source, target, generator), _smear(source, target, generator), colours]
    return torch.stack(images, dim=1), len(SPECIES) + first, len(SPECIES) + second


def tinted(images: Tensor, colours: Tensor, generator: torch.Generator) -> Tensor:
    """`images` with 25 to 100 % of the colours of `colours`, half of them in places only; [N, 3, R, R] each."""
    n, _, resolution, _ = images.shape
    share = 0.25 + 0.75 * torch.rand(n, 1, 1, 1, generator=generator)
    where = torch.sigmoid(5 * blobs(n, resolution, generator, 4)[:, :1])
    whole = torch.rand(n, 1, 1, 1, generator=generator) < 0.5
    chroma = colours - colours.mean(dim=1, keepdim=True)
    own = images - images.mean(dim=1, keepdim=True)
    return images + share * torch.where(whole, 1.0, where) * (chroma - own)


def _fade(source: Tensor, target: Tensor, generator: torch.Generator) -> Tensor:
    share = 0.3 + 0.45 * torch.rand(len(source), 1, 1, 1, generator=generator)
    return source + share * (target - source)


def _smear(source: Tensor, target: Tensor, generator: torch.Generator) -> Tensor:
    """The coarse parts of the counterpart with some of the fine parts of the source."""
    resolution = source.shape[-1]
    cells = int(torch.randint(5, 11, (1,), generator=generator))

    def coarse(images: Tensor) -> Tensor:
        small = F.adaptive_avg_pool2d(images, cells)
        return F.interpolate(small, size=resolution, mode="bicubic", align_corners=False)

    fine = torch.rand(len(source), 1, 1, 1, generator=generator)
    return coarse(target) + fine * (source - coarse(source))


def _moved_colours(source: Tensor, target: Tensor) -> Tensor:
    """The source with the mean and spread of the counterpart's colours."""
    dims = (2, 3)
    means = [images.mean(dim=dims, keepdim=True) for images in (source, target)]
    spreads = [images.std(dim=dims, keepdim=True) + 1e-3 for images in (source, target)]
    return ((source - means[0]) / spreads[0] * spreads[1] + means[1]).clamp(-1, 1)


def shared_views(images: Tensor, noise: float, generator: torch.Generator) -> Tensor:
    """One random view, blur and grain for all pictures of a pair; [N, K, 3, R, R] -> [N * K, 3, R, R]."""
    n, k, _, resolution, _ = images.shape
    views = augment(images.reshape(n, k * 3, resolution, resolution), generator)
    blur, sigma = torch.rand(2, n, 1, 1, 1, generator=generator)
    blur = blur * (torch.rand(n, 1, 1, 1, generator=generator) < 0.35)
    soft = F.avg_pool2d(F.pad(views, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    grain = torch.randn(n, 1, 3, resolution, resolution, generator=generator)
    views = (views + blur * (soft - views)).view(n, k, 3, resolution, resolution)
    return (views + noise * sigma[:, None] * grain).flatten(0, 1)


def direction_loss(embeddings: Tensor, words: Tensor, source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """(contrast, alignment) of image directions with text directions.

    embeddings: unit [N, K, E] of the pictures of N pairs, in the order of PICTURES. words: unit [W, E], of
    class_words. contrast: cross-entropy in which the counterpart must lie nearer to the text's direction than each
    negative, and nearer to it than to the directions of other words. alignment: 1 - cosine of the counterpart.
    """
    moves = embeddings[:, 1:] - embeddings[:, :1]
    moves = moves / (moves.square().sum(dim=2, keepdim=True) + 0.01).sqrt()  # a small move is none
    directions = F.normalize(words[None] - words[source][:, None], dim=2, eps=1e-6)  # [N, W, E]
    wanted = directions[torch.arange(len(target)), target]
    cosines = (moves * wanted[:, None]).sum(dim=2)
    first = torch.zeros_like(target)
    among_pictures = F.cross_entropy(cosines / TEMPERATURE, first)
    among_words = F.cross_entropy((moves[:, :1] * directions).sum(dim=2) / TEMPERATURE, target)
    return among_pictures + 0.5 * among_words, (1 - cosines[:, 0]).mean()
