"""Interpolation of weights (App. F): both ends are the models, lineage is checked, the order of a film."""

import copy

import pytest
import torch

from nada.interpolation import (
    Relative,
    WeightPath,
    check_family,
    latent_frames,
    parent_of,
    positions,
    relative_of_model,
    relative_of_run,
    relative_of_source,
    weight_frames,
)
from nada.latent_maps import LatentMapper
from nada.run.artifact import AdaptedModel, save_artifact
from nada.run.errors import UserError
from nada.stylegan2.generator import Generator
from nada.stylegan2.source_model import SourceModel


def adapted(generator, seed):
    """A copy whose synthesis network has moved, as after NADA; mapping and noise stay."""
    torch.manual_seed(seed)
    child = copy.deepcopy(generator)
    with torch.no_grad():
        for parameter in child.synthesis.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return child


@pytest.fixture
def family(generator):
    return [
        Relative("dog", generator, "ab" * 32),
        Relative("cat", adapted(generator, 1), "ab" * 32),
        Relative("fox", adapted(generator, 2)),
    ]


def codes(generator, seed=4):
    torch.manual_seed(seed)
    return generator.broadcast(generator.mapping(torch.randn(2, 8))).detach()


# --- the way


def test_whole_positions_are_the_models_bit_for_bit(family):
    path = WeightPath(family)
    assert path.segments == 2 and path.names == ["dog", "cat", "fox"]
    w_plus = codes(family[0].generator)
    for i in (1, 0, 2):
        state = path.at(i).state_dict()
        assert all(torch.equal(state[k], v) for k, v in family[i].generator.state_dict().items())
        expected = family[i].generator.synthesis(w_plus, "const")
        assert torch.equal(path.at(i).synthesis(w_plus, "const"), expected)


@pytest.mark.parametrize("position", [0.25, 0.7, 1.5])
def test_weights_between_two_models_are_their_weighted_mean_and_the_models_do_not_change(
    family, position
):
    before = [copy.deepcopy(relative.generator.state_dict()) for relative in family]
    found = dict(WeightPath(family).at(position).named_parameters())
    start, amount = int(position), position - int(position)
    for name, a in family[start].generator.named_parameters():
        b = dict(family[start + 1].generator.named_parameters())[name]
        expected = (1 - amount) * a.double() + amount * b.double()
        torch.testing.assert_close(found[name].double(), expected, rtol=1e-6, atol=1e-7)
    for relative, state in zip(family, before, strict=True):
        assert all(torch.equal(state[k], v) for k, v in relative.generator.state_dict().items())


def test_frames_of_weights_and_of_codes_begin_and_end_at_their_ends(family):
    source = family[0].generator
    w_plus, others = codes(source), codes(source, seed=5)
    frames = list(weight_frames(WeightPath(family[:2]), w_plus, positions(1, 4)))
    assert len(frames) == 5
    assert torch.equal(frames[0], source.synthesis(w_plus, "const"))
    assert torch.equal(frames[-1], family[1].generator.synthesis(w_plus, "const"))
    frames = list(latent_frames(source, w_plus, others, positions(1, 4)))
    assert torch.equal(frames[0], source.synthesis(w_plus, "const"))
    assert torch.equal(frames[-1], source.synthesis(others, "const"))
    middle = source.synthesis((w_plus + others) / 2, "const")
    torch.testing.assert_close(frames[2], middle, rtol=1e-4, atol=1e-4)


def test_a_film_goes_there_holds_and_comes_back():
    assert positions(1, 2) == [0, 0.5, 1]
    assert positions(2, 2, hold=2, back=True) == [0, 0.5, 1, 1.5, 2, 2, 2, 1.5, 1, 0.5, 0]
    for arguments in ((0, 2), (1, 0), (1, 2, -1)):
        with pytest.raises(UserError, match="at least 1, 1 and 0 are needed"):
            positions(*arguments)


def test_positions_off_the_way_are_refused(family):
    path = WeightPath(family[:2])
    for position in (-0.1, 1.1, float("nan")):
        with pytest.raises(UserError, match=r"it must be in 0\.\.1"):
            path.at(position)


# --- lineage


def refused(relatives, sentence):
    with pytest.raises(UserError, match=sentence) as caught:
        check_family(relatives)
    assert "\n" not in str(caught.value)


def test_one_model_has_no_way(family):
    refused(family[:1], "two or more models are needed")


def test_another_parent_is_refused_by_its_hash(family):
    stranger = Relative("church", family[1].generator, "cd" * 32)
    refused([family[0], stranger], "'dog' and 'church' .* their parents differ .*abababababab.*cdcdcdcdcdcd")
    check_family([family[0], family[2]])  # an unknown parent is judged by the tensors


def test_another_mapping_network_or_mean_w_is_refused(family):
    for change in (lambda m: m.layers[0].weight, lambda m: m.w_avg):
        other = copy.deepcopy(family[1].generator)
        with torch.no_grad():
            change(other.mapping).view(-1)[0] += 1e-3
        refused([family[0], Relative("tgan", other)], "'tgan' .* their mapping networks differ")


def test_another_architecture_is_refused_with_what_differs(family):
    other = Generator(32, z_dim=8, style_dim=8, channel_base=128, channel_max=8, mapping_layers=2)
    refused([family[0], Relative("large", other)], r"architectures differ \(resolution 16 and 32\)")


def test_other_stored_noise_betrays_another_parent(family):
    other = copy.deepcopy(family[1].generator)
    other.synthesis.convs[1].noise_const += 1
    refused([family[0], Relative("other", other)], "stored noise differs")


def test_latent_maps_and_image_banks_are_refused(family):
    generator = family[0].generator
    with pytest.raises(UserError, match="cat: has a latent map .mapper."):
        relative_of_model(AdaptedModel(generator, LatentMapper(6, 8)), "cat")
    with pytest.raises(UserError, match="only the weights of StyleGAN2"):
        relative_of_model(AdaptedModel(torch.nn.Linear(1, 1)), "bank")


def test_runs_and_their_source_are_relatives_by_the_hash_in_the_run_s_record(tmp_path, family):
    source, cat, _ = family
    inputs = {"source": {"file": "dog.safetensors", "sha256": "ab" * 32}}
    save_artifact(tmp_path / "cat", AdaptedModel(cat.generator), {"inputs": inputs, "step": 3})
    found = relative_of_run(tmp_path / "cat", "cat")
    assert found.parent == "ab" * 32
    model = SourceModel(source.generator, source.generator, None)
    parent = relative_of_source(model, "dog", "ab" * 32)
    path = WeightPath([parent, found])
    state = path.at(1).state_dict()
    assert all(torch.equal(state[k], v) for k, v in cat.generator.state_dict().items())
    assert parent_of({}) == parent_of({"inputs": {"source": None}}) == ""
    save_artifact(tmp_path / "fox", AdaptedModel(cat.generator), {"inputs": {"source": {"sha256": "ef"}}})
    with pytest.raises(UserError, match="their parents differ"):
        WeightPath([parent, relative_of_run(tmp_path / "fox", "fox")])
