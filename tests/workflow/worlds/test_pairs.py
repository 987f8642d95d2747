"""Pairs and near misses that teach CLIPs directions."""

import torch
from torch.nn import functional as F

from workflow.worlds.mini.pairs import (
    PICTURES,
    TEMPERATURE,
    class_words,
    direction_loss,
    draw_pairs,
    shared_views,
    tinted,
)
from workflow.worlds.mini.scenes import from_uint8
from workflow.worlds.mini.species import SPECIES, STYLES


def test_a_pair_holds_six_pictures_of_two_species_or_two_styles():
    pairs = draw_pairs(20, torch.Generator().manual_seed(0), 32)
    assert pairs.images.shape == (20, len(PICTURES), 3, 32, 32) and pairs.images.dtype == torch.uint8
    species = pairs.source < len(SPECIES)
    assert species.sum() == 12 and ((pairs.target < len(SPECIES)) == species).all()
    assert (pairs.source != pairs.target).all() and pairs.target.max() < len(SPECIES) + len(STYLES)
    assert len(class_words()) == len(SPECIES) + len(STYLES)


def test_no_negative_is_the_counterpart():
    pairs = draw_pairs(60, torch.Generator().manual_seed(1), 32)
    images = from_uint8(pairs.images)
    for i, name in enumerate(PICTURES):
        if name != "counterpart":
            assert ((images[:, i] - images[:, 1]).abs().mean((1, 2, 3)) > 2e-3).all(), name


def test_all_pictures_of_a_pair_are_seen_in_the_same_view():
    images = torch.rand(3, 1, 3, 32, 32).expand(-1, 4, -1, -1, -1)
    views = shared_views(images, 0.2, torch.Generator().manual_seed(2)).view(3, 4, 3, 32, 32)
    torch.testing.assert_close(views, views[:, :1].expand_as(views), rtol=0, atol=1e-6)
    assert (views[:, 0] - images[:, 0]).abs().mean() > 0.02


def test_tinting_keeps_brightness_and_brings_the_colours_of_the_other_picture():
    generator = torch.Generator().manual_seed(3)
    grey = torch.rand(40, 1, 16, 16, generator=generator).expand(-1, 3, -1, -1)
    colours = torch.rand(40, 3, 16, 16, generator=generator)
    mixed = tinted(grey, colours, generator)
    torch.testing.assert_close(mixed.mean(1), grey.mean(1), rtol=0, atol=1e-5)
    share = (mixed - grey).flatten(1).norm(dim=1) / (colours - colours.mean(1, keepdim=True)).flatten(1).norm(dim=1)
    assert share.min() > 0.03 and share.max() <= 1 + 1e-5 and share.max() > 0.8


def test_the_direction_loss_is_the_cross_entropy_of_cosines():
    torch.manual_seed(4)
    embeddings = F.normalize(torch.randn(2, len(PICTURES), 5, dtype=torch.float64), dim=2)
    words = F.normalize(torch.randn(4, 5, dtype=torch.float64), dim=1)
    source, target = torch.tensor([0, 1]), torch.tensor([2, 3])
    contrast, alignment = direction_loss(embeddings, words, source, target)
    expected, cosines = 0.0, []
    for n in range(2):
        text = words[target[n]] - words[source[n]]
        text = text / text.norm()
        moves = [embeddings[n, i] - embeddings[n, 0] for i in range(1, len(PICTURES))]
        moves = [move / (move.square().sum() + 0.01).sqrt() for move in moves]
        among = torch.stack([move @ text for move in moves]) / TEMPERATURE
        expected += (among.logsumexp(0) - among[0]) / 2
        others = []
        for word in words:
            direction = word - words[source[n]]
            others.append(moves[0] @ (direction / direction.norm().clamp(min=1e-6)))
        others = torch.stack(others) / TEMPERATURE
        expected += 0.5 * (others.logsumexp(0) - others[target[n]]) / 2
        cosines.append(moves[0] @ text)
    torch.testing.assert_close(contrast, expected)
    torch.testing.assert_close(alignment, 1 - torch.stack(cosines).mean())
