"""Global directions: statistics, each channel's effect against changed affine maps, β, α, the texts."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from nada.editing.global_directions import (
    GlobalDirections,
    StyleStatistics,
    channel_effects,
    load_directions,
    move_styles,
    save_directions,
    style_statistics,
    text_difference,
)
from nada.editing.style_space import (
    edited_channels,
    flatten_edited,
    read_styles,
    render_styles,
    style_layers,
)
from nada.run.errors import UserError


class LinearClip:
    """Embeds an image linearly: its pixels by a fixed random matrix."""

    def __init__(self, seed=0, size=16, width=6):
        stream = torch.Generator().manual_seed(seed)
        self.matrix = torch.randn(3 * size * size, width, generator=stream, dtype=torch.float64)

    def encode_images(self, images):
        return F.normalize(images.flatten(1) @ self.matrix, dim=-1)


@pytest.fixture
def exact(generator):
    """The generator in double precision."""
    return generator.double()


def codes(generator, count=3):
    torch.manual_seed(3)
    return torch.randn(count, generator.num_ws, 8, dtype=generator.w_avg.dtype)


def test_statistics_are_those_of_all_the_codes_styles(generator):
    generator.w_avg.copy_(torch.randn(8))
    found = style_statistics(generator, seed=5, count=1500, truncation_psi=0.7)
    stream = torch.Generator().manual_seed(5)
    z = torch.cat([torch.randn(n, 8, generator=stream) for n in (1024, 476)])
    with torch.no_grad():
        w = generator.w_avg + 0.7 * (generator.mapping(z) - generator.w_avg)
        styles = flatten_edited(generator, read_styles(generator, generator.broadcast(w)))
    styles = styles.double().numpy()
    np.testing.assert_allclose(found.mean, styles.mean(axis=0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.std, styles.std(axis=0), rtol=1e-4)


@torch.no_grad()
def effects_by_hand(generator, clip, w_plus, statistics, amount, setting):
    """Δi_c [C,E] from copies of the generator whose affine maps are changed; no styles are written."""
    rows, averaged, places = [], copy.deepcopy(generator), edited_channels(generator)
    for c in SOME:
        layer, channel = places[c]
        base = averaged if setting == "official" else generator
        embeddings = []
        for sign in (1, -1):
            changed = copy.deepcopy(base)
            affine = style_layers(changed)[layer].affine
            if setting != "own":
                affine.weight[channel] = 0
                affine.bias[channel] = statistics.mean[c]
            affine.bias[channel] += sign * amount * statistics.std[c]
            embeddings.append(clip.encode_images(changed.synthesis(w_plus, "const")).numpy())
        affine = style_layers(averaged)[layer].affine
        affine.weight[channel] = 0
        affine.bias[channel] = statistics.mean[c]
        difference = embeddings[0] - embeddings[1]
        mean = (difference / np.linalg.norm(difference, axis=1, keepdims=True)).mean(axis=0)
        rows.append(mean / np.linalg.norm(mean))
    return np.array(rows)


#: Channels of every convolution, to save time.
SOME = range(0, 40, 3)


@pytest.mark.parametrize("setting", ["own", "mean", "official"])
def test_each_channel_s_effect_is_that_of_its_changed_affine_map(exact, setting):
    statistics = style_statistics(exact, seed=0, count=64)
    clip, w_plus = LinearClip(), codes(exact)
    (found,) = channel_effects(exact, [clip], w_plus, statistics, 2.0, setting, SOME)
    expected = effects_by_hand(exact, clip, w_plus, statistics, 2.0, setting)
    np.testing.assert_allclose(found[list(SOME)].numpy(), expected, atol=1e-6)


def test_settings_differ_and_channels_may_be_measured_apart(exact):
    statistics, clip, w_plus = style_statistics(exact, seed=0, count=64), LinearClip(), codes(exact)
    own, mean, official = (
        channel_effects(exact, [clip], w_plus, statistics, 2.0, setting, range(8))[0]
        for setting in ("own", "mean", "official")
    )
    assert (own - mean).abs().max() > 1e-3 and (mean - official).abs().max() > 1e-3
    torch.testing.assert_close(mean[0], official[0])  # nothing was averaged before the first channel
    told = []
    (part,) = channel_effects(exact, [clip], w_plus, statistics, 2.0, "own", range(4, 7), told.append)
    torch.testing.assert_close(part[4:7], own[4:7])
    assert part[:4].abs().max() == 0 and part[7:].abs().max() == 0 and told == [4, 5, 6]


def test_an_edit_moves_only_the_channel_that_changes_the_picture(exact):
    """A toy generator: of the last convolution's inputs, number 5 alone reaches the picture."""
    with torch.no_grad():
        last = exact.synthesis.convs[-1]
        kept = last.weight[:, 5].clone()
        last.weight.zero_()
        last.weight[:, 5] = kept
        for to_rgb in exact.synthesis.to_rgbs[:-1]:
            to_rgb.weight.zero_()
    last_layer = max(i for i, layer in enumerate(style_layers(exact)) if layer.edited)
    places = edited_channels(exact)
    dead = [c for c, (layer, channel) in enumerate(places) if layer == last_layer and channel != 5]
    alive = places.index((last_layer, 5))
    statistics, clip = style_statistics(exact, seed=0, count=64), LinearClip()
    only = range(dead[0], len(places))
    (effects,) = channel_effects(exact, [clip], codes(exact), statistics, channels=only)
    assert effects[dead].abs().max() == 0
    assert effects[alive].norm().item() == pytest.approx(1)
    directions = GlobalDirections(statistics, [effects], [1.0])
    step = directions.step([effects[alive]], beta=0.2)  # a text that asks for that channel's effect
    assert step.nonzero().flatten().tolist() == [alive]
    assert step[alive].item() == pytest.approx(statistics.std[alive].item())
    # and CLIP sees the picture move along the text
    w_plus = codes(exact)
    with torch.no_grad():
        before, after = (
            clip.encode_images(render_styles(exact, move_styles(exact, w_plus, step, alpha)))
            for alpha in (0.0, 3.0)
        )
    assert ((after - before) @ effects[alive] > 0).all()


def directions():
    effects = [torch.tensor([[1.0, 0], [0.6, 0.8], [-0.8, 0.6], [0, 1]]), torch.eye(4)[:, :3]]
    statistics = StyleStatistics(torch.zeros(4), torch.tensor([2.0, 3, 4, 5]))
    return GlobalDirections(statistics, effects[:1], [1.0]), GlobalDirections(statistics, effects, [1.0, 3.0])


def test_beta_drops_channels_and_the_rest_is_scaled_to_the_largest():
    one, _ = directions()
    text = torch.tensor([0.5, 0.0])
    torch.testing.assert_close(one.relevance([text]), torch.tensor([0.5, 0.3, -0.4, 0.0]))
    torch.testing.assert_close(one.step([text], 0.0), torch.tensor([2.0, 3 * 0.6, -4 * 0.8, 0.0]))
    torch.testing.assert_close(one.step([text], 0.35), torch.tensor([2.0, 0, -4 * 0.8, 0.0]))
    with pytest.raises(UserError, match=r"relevance of beta = 0.6 or more, the largest is 0.5; set beta below"):
        one.step([text], 0.6)
    with pytest.raises(UserError, match="the largest is 0"):
        one.step([torch.zeros(2)], 0.0)


def test_several_clips_give_the_weighted_mean_of_their_relevances():
    _, two = directions()
    texts = [torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0, 0.0])]
    torch.testing.assert_close(
        two.relevance(texts), torch.tensor([1.0, 0.6 + 3, -0.8, 0.0]) / 4
    )


def test_alpha_scales_the_step_of_each_code(generator):
    w_plus, step = codes(generator, 2), torch.randn(40)
    before = flatten_edited(generator, read_styles(generator, w_plus))
    moved = flatten_edited(generator, move_styles(generator, w_plus, step, torch.tensor([2.0, -1.0])))
    torch.testing.assert_close(moved - before, torch.stack([2 * step, -step]), rtol=0, atol=1e-5)


def test_the_text_direction_normalises_each_text_s_mean_first(clip):
    templates = ["a photo of the {}", "the {}", "a {}"]
    means = []
    for word in ("dog", "cat"):
        embeddings = clip.encode_texts([t.replace("{}", word) for t in templates]).double().numpy()
        mean = embeddings.mean(axis=0)
        means.append(mean / np.linalg.norm(mean))
    expected = (means[1] - means[0]) / np.linalg.norm(means[1] - means[0])
    found = text_difference(clip, "dog", "cat", templates)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)
    with pytest.raises(UserError, match="'dog' and 'dog' have the same embedding in CLIP 'a'"):
        text_difference(clip, "dog", "dog", templates)


def test_a_file_gives_the_directions_that_were_saved(generator, tmp_path):
    statistics = StyleStatistics(torch.randn(40), torch.rand(40))
    saved = GlobalDirections(statistics, [torch.randn(40, 6), torch.randn(40, 4)], [1.0, 0.5])
    path = tmp_path / "directions.safetensors"
    save_directions(path, saved, ["a", "b"])
    found, clips = load_directions(path, generator)
    texts = [torch.randn(6), torch.randn(4)]
    assert clips == ["a", "b"] and found.weights == [1.0, 0.5]
    assert torch.equal(found.step(texts, 0.1), saved.step(texts, 0.1))
    again = tmp_path / "again.safetensors"
    save_directions(again, found, clips)
    assert again.read_bytes() == path.read_bytes()


def test_files_that_do_not_fit_are_one_sentence(generator, tmp_path):
    path = tmp_path / "directions.safetensors"
    few = GlobalDirections(StyleStatistics(torch.ones(30), torch.ones(30)), [torch.ones(30, 6)], [1.0])
    save_directions(path, few, ["a"])
    with pytest.raises(UserError, match="directions for 30 style channels, but this generator has 40"):
        load_directions(path, generator)
    save_file({"mean": torch.ones(40)}, path)
    with pytest.raises(UserError, match="holds no global directions of StyleCLIP"):
        load_directions(path, generator)
    few.effects[0][0] = torch.nan
    with pytest.raises(UserError, match=r"effects.a has values that are not finite"):
        save_directions(path, few, ["a"])
