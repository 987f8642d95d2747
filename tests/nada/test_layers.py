"""Layer policies (§4.2): what is trained, how slots are scored, which layer a slot stands for."""

import math

import pytest
import torch

from nada.layers import FIRST_RGB, LayerHyperparameters, Layers, slot_layers, top_layers
from nada.run.errors import UserError
from nada.training import fill_missing_gradients

CONVS, SLOTS = 5, 6  # of the 16 px generator


def make(generator, loss=None, **hparams):
    return Layers(generator, LayerHyperparameters(**hparams), loss or mean_pixel, "variant 'v'")


def mean_pixel(images, rows=None):
    return images.mean()


@pytest.fixture
def plant(monkeypatch, generator):
    """Make the image depend on given W+ slots only, with given gains: image = Σ gain·w_slot."""

    def planted(gains: dict[int, float]):
        def forward(self, w_plus, noise_mode="random", noise=None):
            return sum(gain * w_plus[:, slot] for slot, gain in gains.items())

        monkeypatch.setattr(type(generator.synthesis), "forward", forward)

    return planted


@pytest.mark.parametrize("slot", range(CONVS))
def test_a_planted_gradient_in_one_slot_picks_that_slot_s_convolution(generator, plant, slot):
    plant({slot: 1.0})
    assert make(generator, policy="adaptive", k=1).choose() == (slot,)


@pytest.mark.parametrize("slot, layer", [(0, 0), (1, FIRST_RGB), (2, 1), (3, 2), (5, 4)])
def test_the_official_map_picks_the_layer_before_the_planted_slot(generator, plant, slot, layer):
    plant({slot: 1.0})
    assert make(generator, policy="adaptive", k=1, map="official").choose() == (layer,)


def test_the_last_slot_feeds_only_a_to_rgb_and_is_never_chosen(generator, plant):
    plant({SLOTS - 1: 100.0, 2: 1.0, 4: 0.5})
    assert make(generator, policy="adaptive", k=2).choose() == (2, 4)


def test_the_score_is_the_mean_absolute_gradient_of_each_slot(generator, plant):
    plant({1: 2.0, 3: -0.5})
    scores = make(generator, policy="adaptive", k=1).scores()
    per_entry = 0.01 / 8 / 8  # SGD rate; loss is a mean over 8 codes of 8 features
    expected = torch.tensor([0, 2.0, 0, 0.5, 0, 0]) * per_entry
    torch.testing.assert_close(scores, expected)


def test_more_steps_score_how_far_the_codes_moved(generator, plant):
    plant({2: 1.0})
    codes = []

    def half_square(images):
        codes.append(images.detach().clone())
        return images.square().sum(dim=1).mean() / 2

    layers = make(generator, half_square, policy="adaptive", k=1, n_w=4, n_i=3)
    scores = layers.scores()
    moved = codes[0] * (1 - (1 - 0.01 / 4) ** 3)  # gradient w/4 at each of three steps
    assert scores[2].item() == pytest.approx(moved.abs().mean().item(), rel=1e-5)
    assert scores[[0, 1, 3, 4, 5]].abs().max() == 0


def test_small_gradients_rank_by_size_where_the_official_difference_rounds_them_to_nothing(
    generator, plant
):
    # codes well away from 0: a float32 change below about 1e-8 is lost in them
    with torch.no_grad():
        generator.mapping.layers[-1].bias.fill_(100)
    plant({1: 1e-7, 3: 4e-7})
    exact = make(generator, policy="adaptive", k=1).scores()
    official = make(generator, policy="adaptive", k=1, score="official").scores()
    assert exact[3] == pytest.approx(4 * exact[1].item()) and exact[1] > 0
    assert official.abs().max() == 0


def test_micro_batches_change_no_score(generator):
    scores = []
    for size in (0, 3):
        torch.manual_seed(5)
        scores.append(make(generator, policy="adaptive", k=1, micro_batch=size).scores())
    torch.testing.assert_close(scores[0], scores[1])


def test_choosing_leaves_every_weight_without_gradient(generator):
    make(generator, policy="adaptive", k=2).choose()
    assert all(parameter.grad is None for parameter in generator.parameters())


def test_all_layers_are_every_convolution_and_the_constant_but_no_affine_rgb_or_mapping(generator):
    names = set(make(generator, policy="all").trainable())
    parts = ("weight", "bias", "noise_strength")
    expected = {f"synthesis.convs.{i}.{part}" for i in range(CONVS) for part in parts}
    assert names == expected | {"synthesis.const"}


def test_official_affine_layers_are_trained_with_their_convolution(generator):
    names = make(generator, policy="manual", manual=[2], affine="official").trainable()
    assert {n for n in names if "affine" in n} == {
        "synthesis.convs.2.affine.weight",
        "synthesis.convs.2.affine.bias",
    }


def test_the_constant_is_trained_with_convolution_0(generator):
    layers = make(generator, policy="adaptive", k=1)
    assert "synthesis.const" in layers.names((0,))
    assert "synthesis.const" not in layers.names((1, 2))
    assert "synthesis.const" in make(generator, policy="manual", manual=[0, 1]).trainable()


def test_the_official_constant_is_trained_only_with_all_layers_or_a_named_set(generator):
    def trains_constant(**hparams):
        return "synthesis.const" in make(generator, constant="official", **hparams).trainable()

    assert trains_constant(policy="all")
    assert trains_constant(policy="manual", manual="shape")
    assert not trains_constant(policy="manual", manual=[0, 1])
    assert not trains_constant(policy="adaptive", k=2)


def test_unfreezing_reaches_exactly_the_chosen_parameters(generator):
    layers = make(generator, policy="adaptive", k=2)
    layers.unfreeze((1, 3))
    reached = {name for name, p in generator.named_parameters() if p.requires_grad}
    assert reached == layers.names((1, 3))


@pytest.mark.parametrize("k", [CONVS, SLOTS])
def test_k_from_the_number_of_convolutions_on_trains_all_layers_without_choosing(generator, k):
    layers = make(generator, policy="adaptive", k=k)
    assert not layers.selects
    assert set(layers.trainable()) == set(make(generator, policy="all").trainable())


def test_official_choosing_goes_on_at_k_equal_to_all_and_reaches_the_first_to_rgb(generator):
    layers = make(generator, policy="adaptive", k=SLOTS, saturated="select", map="official")
    assert layers.selects
    assert set(layers.choose()) == {0, FIRST_RGB, 1, 2, 3, 4}
    assert "synthesis.to_rgbs.0.weight" in layers.trainable()


def test_k_out_of_range_is_an_error_with_the_value_and_the_allowed_range(generator):
    message = (
        r"variant 'v': k=20 layers asked, but the 16x16 generator has 5; set layers.k to 1\.\.5\."
    )
    with pytest.raises(UserError, match=message):
        make(generator, policy="adaptive", k=20)


def test_a_layer_index_out_of_range_is_an_error(generator):
    with pytest.raises(UserError, match=r"layer 9 asked, but the 16x16 generator has 5"):
        make(generator, policy="manual", manual=[0, 9])


def test_named_manual_sets_stop_at_the_generator_s_last_convolution(generator):
    assert make(generator, policy="manual", manual="shape").choose() == (0, 1, 2)
    assert make(generator, policy="manual", manual="texture").choose() == (0, 3, 4)


def test_top_layers_are_the_best_scored_in_slot_order(generator):
    scores = torch.tensor([0.1, 0.9, 0.3, 0.2, 0.8, 5.0])
    assert top_layers(scores, slot_layers(generator, "aligned"), 3) == (1, 2, 4)


@pytest.mark.parametrize("decay, factor", [(True, 10.66), (False, 1.0)])
def test_a_layer_first_chosen_after_300_idle_steps_moves_10_66_lr_or_1_lr(decay, factor):
    betas = (0.0, 0.99**0.8)  # the public code's
    parameter = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.Adam([parameter], lr=0.0016, betas=betas)
    for _ in range(300):
        optimiser.zero_grad(set_to_none=True)
        if decay:
            fill_missing_gradients([parameter])
        optimiser.step()
    assert parameter.item() == 0
    parameter.grad = torch.full_like(parameter, 0.37)
    optimiser.step()
    assert -parameter.item() / 0.0016 == pytest.approx(factor, rel=1e-3)
    closed_form = math.sqrt((1 - betas[1] ** 301) / (1 - betas[1]))
    assert closed_form == pytest.approx(10.66, rel=1e-3)
