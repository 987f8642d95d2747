"""Smoothness of weight interpolation: path lengths of planted ways, the comparison with codes, the strip."""

import copy
import itertools

import numpy as np
import pytest
import torch
from torch import nn

from eval.latent_space.interpolation import film, mean_ratio, path_length, smoothness, strip
from eval.networks.lpips_matrix import lpips_matrix
from nada.images.tensors import to_uint8
from nada.interpolation import Relative
from nada.run.errors import UserError
from nada.stylegan2.generator import Generator


class Levels(nn.Module):
    """Features (cos πx/4, sin πx/4) of the mean grey x in [-1,1]: LPIPS is a chord on the unit circle."""

    def stages(self, images):
        angle = images.mean(dim=(1, 2, 3), keepdim=True) * np.pi / 4
        return [torch.cat([angle.cos(), angle.sin()], dim=1)]


class Eyes(nn.Module):
    """A random perceptual network of one stage."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.first = nn.Conv2d(3, 8, 3, padding=1, stride=2)

    def stages(self, images):
        return [self.first(images).relu()]


def grey(*levels):
    """A frame of n images of 4 px, one grey level (0..255) each."""
    return np.stack([np.full((4, 4, 3), level, dtype=np.uint8) for level in levels])


def chord(a, b):
    """d of two grey levels in closed form: 2 − 2 cos(Δangle)."""
    return 2 - 2 * np.cos((a - b) / 127.5 * np.pi / 4)


def test_lengths_are_those_of_a_closed_form():
    # one even way, one that jumps, one that goes away and comes back
    ways = [(0, 60, 120, 180), (0, 0, 180, 180), (0, 100, 50, 0)]
    found = path_length(Levels(), [grey(*levels) for levels in zip(*ways, strict=True)])
    for i, way in enumerate(ways):
        steps = [chord(a, b) for a, b in itertools.pairwise(way)]
        assert found.length[i] == pytest.approx(9 * np.mean(steps), rel=1e-4)
        assert found.ends[i] == pytest.approx(chord(way[0], way[-1]), rel=1e-4, abs=1e-9)
        assert found.largest[i] == pytest.approx(max(np.sqrt(steps)) / sum(np.sqrt(steps)), rel=1e-4)
    assert found.largest[0] == pytest.approx(1 / 3, rel=1e-4) and found.largest[1] == pytest.approx(1)
    assert found.stretch[1] == pytest.approx(3, rel=1e-4)  # one jump: T times the even way's
    assert 1 <= found.stretch[0] < 1.1 and np.isnan(found.stretch[2])


def test_no_way_is_shorter_than_straight():
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (6, 8, 8, 3), dtype=np.uint8) for _ in range(7)]
    found = path_length(Eyes(), frames)
    assert (found.stretch >= 1 - 1e-9).all()
    distances = lpips_matrix(Eyes(), frames[0], frames[1])
    two = path_length(Eyes(), frames[:2])
    np.testing.assert_allclose(two.length, np.diagonal(distances), rtol=1e-4)
    np.testing.assert_allclose(two.stretch, 1, rtol=1e-9)


def test_a_way_needs_two_frames():
    with pytest.raises(UserError, match="two or more frames"):
        path_length(Levels(), [grey(0)])


def test_the_ratio_of_means_and_its_interval_leave_out_codes_without_a_way():
    below = np.random.default_rng(0).uniform(1, 3, 200)
    same = mean_ratio(1.5 * below, below)
    assert (same.value, same.low, same.high) == pytest.approx((1.5, 1.5, 1.5))
    noisy = below * np.random.default_rng(1).uniform(1, 2, 200)
    noisy[3] = np.nan
    found = mean_ratio(noisy, below)
    assert found.low < 1.5 < found.high and found.n == 199
    with pytest.raises(UserError, match="fewer than two codes"):
        mean_ratio([np.nan, 1], [1, 2])
    with pytest.raises(ValueError, match="same codes"):
        mean_ratio([1, 2], [1, 2, 3])


@pytest.fixture
def family():
    torch.manual_seed(0)
    about = {"z_dim": 8, "style_dim": 8, "channel_base": 128, "channel_max": 8, "mapping_layers": 2}
    source = Generator(16, **about).eval()
    child = copy.deepcopy(source)
    with torch.no_grad():
        for parameter in child.synthesis.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return [Relative("dog", source), Relative("cat", child)]


def test_ways_of_weights_and_codes_are_compared_on_the_same_codes(family):
    source = family[0].generator
    w_plus = source.broadcast(source.mapping(torch.randn(3, 8))).detach()
    found = smoothness(family, Eyes(), w_plus, steps=4)
    assert found.names == ("dog", "cat")
    assert found.weights.length.shape == found.codes.length.shape == (3,)
    ratio = found.weights.stretch.mean() / found.codes.stretch.mean()
    assert found.stretch_ratio.value == pytest.approx(ratio)
    # the ways' ends: one code in two models, and two codes in one model
    with torch.no_grad():
        a, b = (Eyes().stages(r.generator.synthesis(w_plus, "const"))[0].double() for r in family)
    a, b = (x / (x.square().sum(dim=1, keepdim=True).sqrt() + 1e-10) for x in (a, b))

    def distance(x, y):
        return (x - y).square().sum(dim=1).mean(dim=(1, 2)).numpy()

    np.testing.assert_allclose(found.weights.ends, distance(a, b), rtol=1e-3)
    np.testing.assert_allclose(found.codes.ends, distance(a, a.roll(-1, dims=0)), rtol=1e-3)


def test_smoothness_refuses_strangers_and_single_codes(family):
    w_plus = torch.zeros(2, 6, 8)
    with pytest.raises(UserError, match="1 codes given"):
        smoothness(family, Eyes(), w_plus[:1])
    with torch.no_grad():
        family[1].generator.mapping.w_avg += 1
    with pytest.raises(UserError, match="mapping networks differ"):
        smoothness(family, Eyes(), w_plus)


def test_a_film_shows_every_model_of_the_family_and_comes_back(tmp_path, family):
    import av

    w_plus = family[0].generator.broadcast(torch.randn(2, 8))
    count = film(
        tmp_path / "a.mp4", [*family, Relative("dog again", family[0].generator)], w_plus, frames=3, hold=2,
        least_side=32, quality=5,
    )  # fmt: skip
    with av.open(str(tmp_path / "a.mp4")) as read:
        images = [frame.to_ndarray(format="rgb24") for frame in read.decode(video=0)]
    assert count == len(images) == 3 + 3 + 1 + 2 + 6
    assert images[0].shape == (32, 64, 3)  # two codes side by side, enlarged twice
    for model, frame in ((0, 0), (1, 3), (0, 8), (0, -1)):
        with torch.no_grad():
            drawn = family[model].generator.synthesis(w_plus, "const")
        expected = np.concatenate(list(to_uint8(drawn)), axis=1).repeat(2, axis=0).repeat(2, axis=1)
        error = np.abs(expected.astype(int).mean(axis=2) - images[frame].astype(int).mean(axis=2))
        assert error.mean() < 12
    far = np.abs(images[3].astype(int).mean(axis=2) - images[0].astype(int).mean(axis=2)).mean()
    assert far > 15  # the models differ by more than the film's rounding


def test_a_strip_shows_evenly_spaced_frames_with_both_ends():
    frames = [grey(i, i + 100) for i in range(7)]
    made = strip(frames, 3)
    assert made.shape == (8, 12, 3)
    assert made[0, ::4, 0].tolist() == [0, 3, 6] and made[4, ::4, 0].tolist() == [100, 103, 106]
    for columns in (1, 8):
        with pytest.raises(UserError, match=r"choose 2\.\.7"):
            strip(frames, columns)
