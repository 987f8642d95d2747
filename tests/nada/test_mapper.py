"""The latent mapper (§4.3, Eq. 5): levels, normalisation, objective, codes, what CLIP is shown."""

import numpy as np
import pytest
import torch

from nada.latent_maps import LatentMapper
from nada.mapper import CodePool, MapperHyperparameters, MapperLoss, check_input
from nada.run.errors import UserError
from nada.run.hyperparameters import read_hyperparameters
from nada.stylegan2.generator import Generator


@pytest.mark.parametrize(
    "num_ws, widths", [(6, [4, 2]), (8, [4, 4]), (10, [4, 4, 2]), (18, [4, 4, 10])]
)
def test_levels_are_4_to_8_px_16_to_32_px_and_finer_as_far_as_the_slots_go(num_ws, widths):
    assert LatentMapper(num_ws, 8).widths == widths


@pytest.mark.parametrize("normalise, axis", [("features", 2), ("official", 1)])
def test_the_mapper_adds_a_tenth_of_its_levels_outputs_against_a_numpy_reference(normalise, axis):
    torch.manual_seed(0)
    mapper = LatentMapper(10, 8, normalise)
    w_plus = torch.randn(3, 10, 8)
    expected = w_plus.numpy().astype(np.float64).copy()
    for level, slots in zip(mapper.levels, (slice(0, 4), slice(4, 8), slice(8, 10)), strict=True):
        x = w_plus.numpy().astype(np.float64)[:, slots]
        x = x / np.sqrt((x**2).mean(axis=axis, keepdims=True) + 1e-8)  # of a slot, or of a feature
        for layer in level:
            weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
            x = x @ (weight * 0.01 / np.sqrt(8)).T + bias * 0.01
            x = np.where(x > 0, x, 0.2 * x) * np.sqrt(2)
        expected[:, slots] += 0.1 * x
    moved = mapper.map_w_plus(w_plus).detach().numpy()
    np.testing.assert_allclose(moved, expected, rtol=2e-5, atol=1e-7)


def test_a_slot_s_move_depends_on_that_slot_alone():
    mapper = LatentMapper(6, 8)
    w_plus = torch.randn(1, 6, 8)
    changed = w_plus.clone()
    changed[:, 2] += 1
    difference = (mapper.map_w_plus(changed) - mapper.map_w_plus(w_plus)).abs().amax(dim=(0, 2))
    assert difference[2] > 0 and difference[[0, 1, 3, 4, 5]].max() == 0


@pytest.fixture
def objective(generator, clip):
    clip.weight = 0.5
    text = clip.encode_texts(["cat"])[0]

    def make(**hparams):
        return MapperLoss(generator, [clip], [text], MapperHyperparameters(**hparams))

    return make


def codes(generator):
    torch.manual_seed(4)
    return generator.broadcast(generator.mapping(torch.randn(2, 8))).detach()


def test_a_mapper_that_moves_nothing_pays_only_the_clip_loss(generator, objective):
    w_plus = codes(generator)
    terms = objective()(w_plus, w_plus)
    assert terms["l2"] == 0 and terms["norm_loss"] == 0
    assert torch.equal(terms["loss"], terms["clip_loss"])


@pytest.mark.parametrize("form", ["distance", "official"])
def test_the_objective_is_the_weighted_sum_of_its_terms_in_both_forms_of_eq_5(
    generator, clip, objective, form
):
    w_plus = codes(generator)
    mapped = w_plus + 0.3
    terms = objective(lambda_l2=0.5, lambda_norm=0.2, norm_loss=form)(w_plus, mapped)
    with torch.no_grad():
        base, moved = (
            clip.embed_images(generator.synthesis(w, "const")).double().numpy()
            for w in (w_plus, mapped)
        )
    norms = [np.linalg.norm(e, axis=-1, keepdims=True) for e in (base, moved)]
    if form == "distance":  # of raw embeddings, weighted as the CLIP
        distance = ((base - moved) ** 2).sum(axis=-1).mean() * 0.5
    else:
        distance = ((norms[0] - norms[1]) ** 2).mean()
    text = clip.encode_texts(["cat"])[0].double().numpy()
    clip_loss = 0.5 * (1 - (moved / norms[1]) @ text).mean()
    expected = clip_loss + 0.5 * 0.3**2 + 0.2 * distance
    assert terms["norm_loss"].item() == pytest.approx(distance, rel=1e-4)
    assert terms["loss"].item() == pytest.approx(expected, rel=1e-5)


# --- what CLIP is shown


@pytest.fixture
def large():
    """A generator of 64 px, which the public mapper's input can pool."""
    torch.manual_seed(0)
    return Generator(64, 8, 8, channel_base=256, channel_max=8, mapping_layers=2).eval()


def as_seen(monkeypatch, clip, size):
    """What the CLIP's image tower is given, by call; the tower itself is left out."""
    seen = []

    def encode(x):
        seen.append(x)
        return x.mean(dim=(2, 3))

    monkeypatch.setattr(type(clip), "image_size", size)
    monkeypatch.setattr(clip.model, "encode_image", encode)
    return seen


@pytest.mark.parametrize("size", [32, 64])
def test_the_public_mapper_shows_clip_repeated_and_pooled_pixels_in_minus_1_to_1(
    large, clip, monkeypatch, size
):
    seen = as_seen(monkeypatch, clip, size)
    hparams = MapperHyperparameters(clip_input="official")
    objective = MapperLoss(large, [clip], [torch.tensor([1.0, 0.0, 0.0])], hparams)
    w_plus = codes(large)
    objective(w_plus, w_plus)
    image = large.synthesis(w_plus, "const").detach()
    # each pixel size/32 times, then the means of 64/32 x 64/32 of them; no mean, no deviation
    repeated = image.repeat_interleave(size // 32, 2).repeat_interleave(size // 32, 3)
    squares = repeated.unflatten(3, (size, 2)).unflatten(2, (size, 2))
    expected = squares.mean(dim=(3, 5))
    assert [x.shape[-1] for x in seen] == [size, size]
    for found in seen:
        torch.testing.assert_close(found.detach(), expected, rtol=0, atol=1e-5)


def test_by_default_the_mapper_shows_clip_what_clip_s_own_preprocessing_makes(
    large, clip, monkeypatch
):
    seen = as_seen(monkeypatch, clip, 32)
    objective = MapperLoss(large, [clip], [torch.tensor([1.0, 0.0, 0.0])], MapperHyperparameters())
    w_plus = codes(large)
    objective(w_plus, w_plus)
    torch.testing.assert_close(seen[0], clip.preprocess(large.synthesis(w_plus, "const").detach()))


def test_a_size_that_the_public_input_cannot_pool_is_one_sentence(clip):
    official = MapperHyperparameters(clip_input="official")
    message = (
        r"^variant 'v': mapper.clip_input is 'official', which pools squares of a 32th of the side, "
        r"but the generator has 16 pixels a side; set it to 'clip'\.$"
    )
    with pytest.raises(UserError, match=message):
        check_input(official, 16, [], "variant 'v'")
    with pytest.raises(UserError, match="but CLIP 'a' has 16 pixels a side"):
        check_input(official, 64, [clip], "variant 'v'")
    check_input(MapperHyperparameters(), 16, [clip], "variant 'v'")


# --- the public code's pool of codes


@pytest.mark.parametrize("count, batch", [(12, 2), (13, 3), (5000, 2)])
def test_a_pool_holds_overlapping_windows_of_its_codes(count, batch):
    pool = CodePool("run", count, batch, 8)
    windows = count // batch
    expected = [b + i for b in range(windows) for i in range(batch)]
    assert pool.windows.tolist() == expected
    assert len(set(expected)) == windows + batch - 1


def test_an_epoch_shows_every_code_of_every_window_once_in_an_order_of_its_own():
    pool = CodePool("run", 13, 3, 8)  # 4 windows of 3
    epochs = []
    for first in (1, 5):
        shown = torch.cat([pool.draw(step) for step in range(first, first + 4)])
        epochs.append([next(i for i, z in enumerate(pool.z) if torch.equal(z, x)) for x in shown])
    assert sorted(epochs[0]) == sorted(epochs[1]) == sorted(pool.windows.tolist())
    assert epochs[0] != epochs[1]


def test_a_pool_follows_from_the_run_s_name_alone_and_moves_no_random_stream():
    before = torch.get_rng_state()
    first, again, other = (CodePool(name, 10, 2, 8).draw(7) for name in ("a", "a", "b"))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_a_pool_smaller_than_a_batch_is_one_sentence():
    message = r"run: mapper: code_pool is 1, less than a batch of 2; set it to 2 or more, or to 0 for fresh"
    with pytest.raises(UserError, match=message):
        read_hyperparameters(MapperHyperparameters, {"code_pool": 1}, "run", "mapper")
