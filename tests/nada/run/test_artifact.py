"""The artifact: one folder, and images drawn from nothing else."""

import copy
import json

import pytest
import torch
from safetensors.torch import save_file

from nada.latent_maps import LatentMapper
from nada.run import artifact
from nada.run.artifact import AdaptedModel, load_artifact, save_artifact, snapshot_steps
from nada.run.errors import UserError


@pytest.fixture
def mapped(generator):
    torch.manual_seed(3)
    return AdaptedModel(generator, LatentMapper(generator.num_ws, 8))


@pytest.mark.parametrize("with_mapper", [False, True])
def test_a_saved_model_draws_the_same_images_bit_for_bit(tmp_path, mapped, with_mapper):
    model = mapped if with_mapper else AdaptedModel(mapped.generator)
    save_artifact(tmp_path, model, {"run": "r"})
    loaded = load_artifact(tmp_path)
    z = torch.randn(3, 8)
    for psi in (1.0, 0.7):
        assert torch.equal(loaded.sample(z, psi), model.sample(z, psi))
    assert artifact.read_provenance(tmp_path) == {"run": "r"}


def test_sampling_twice_gives_the_same_images_and_moves_no_random_stream(mapped):
    z = torch.randn(2, 8)
    before = torch.get_rng_state()
    assert torch.equal(mapped.sample(z), mapped.sample(z))
    assert torch.equal(torch.get_rng_state(), before)


def test_equal_models_are_equal_bytes(tmp_path, mapped):
    for folder in ("a", "b"):
        save_artifact(tmp_path / folder, copy.deepcopy(mapped), {"run": "r", "seed": 1})
    first, second = ((tmp_path / f / artifact.MODEL).read_bytes() for f in ("a", "b"))
    assert first == second


def test_truncation_comes_before_the_latent_map(mapped):
    z = torch.randn(2, 8)
    generator = mapped.generator
    w = generator.w_avg + 0.5 * (generator.mapping(z) - generator.w_avg)
    expected = mapped.latent_map.map_w_plus(generator.broadcast(w))
    torch.testing.assert_close(mapped.w_plus(z, 0.5), expected)


def test_a_snapshot_loads_as_the_model_was_also_where_a_layer_changed_only_later(
    tmp_path, generator
):
    steps = {}
    names = ["synthesis.convs.0.bias", "synthesis.convs.1.bias", "synthesis.convs.2.bias"]
    parameters = dict(generator.named_parameters())
    models = {}
    for step in (1, 2, 3):  # layer `step - 1` moves at each step, layer 2 only at the end
        with torch.no_grad():
            parameters[names[step - 1]].add_(float(step))
        models[step] = copy.deepcopy(generator)
        if step < 3:
            kept = {f"generator.{n}": parameters[n].detach().clone() for n in names}
            steps[step] = {**kept, "generator.synthesis.const": parameters["synthesis.const"]}
    final = AdaptedModel(generator)
    save_artifact(tmp_path, final, {"step": 3})
    artifact.write_snapshots(tmp_path / artifact.SNAPSHOTS, steps, final.tensors())

    assert snapshot_steps(tmp_path) == [1, 2, 3]
    for step, model in models.items():
        loaded = load_artifact(tmp_path, step).generator.state_dict()
        assert all(torch.equal(loaded[n], t) for n, t in model.state_dict().items())
    stored = artifact.read_weights(tmp_path / artifact.SNAPSHOTS)[0]
    assert set(stored) == {f"{s}/generator.{n}" for s in (1, 2) for n in names[1:]}


def test_a_step_that_was_not_kept_is_an_error_that_lists_those_that_were(tmp_path, generator):
    model = AdaptedModel(generator)
    save_artifact(tmp_path, model, {"step": 30})
    artifact.write_snapshots(tmp_path / artifact.SNAPSHOTS, {10: {}}, model.tensors())
    with pytest.raises(UserError, match=r"no snapshot of step 20 was kept; steps kept: 10, 30"):
        load_artifact(tmp_path, 20)


def test_a_folder_without_an_artifact_or_with_another_file_is_an_error(tmp_path):
    with pytest.raises(UserError, match=r"model\.safetensors is missing"):
        load_artifact(tmp_path)
    artifact.save_file({"a": torch.zeros(1)}, tmp_path / artifact.MODEL)
    with pytest.raises(UserError, match="no adapted model"):
        load_artifact(tmp_path)


@pytest.mark.parametrize(
    ("about", "said"),
    [
        ("{", "is no adapted model"),
        ("[1]", "is no adapted model"),
        ("[" * 100_000, "is no adapted model"),
        ({"format": artifact.FORMAT}, "is no adapted model"),
        ({"format": artifact.FORMAT, "provenance": 3}, "is no adapted model"),
        ({"format": artifact.FORMAT, "provenance": {}}, "there is no generator"),
        ({"generator": 3}, "do not fit the architecture"),
        ({"generator": {"kind": "gpt", "config": {}}}, "do not fit the architecture"),
        ({"generator": {"kind": "stylegan2", "config": {"resolution": 7}}}, "resolution: 7 given"),
    ],
)
def test_metadata_that_describe_no_model_are_one_sentence(tmp_path, about, said):
    if isinstance(about, dict):
        known = {} if "format" in about else {"format": artifact.FORMAT, "provenance": {}}
        about = json.dumps({**known, **about})
    save_file({"x": torch.zeros(1)}, tmp_path / artifact.MODEL, metadata={"json": about})
    with pytest.raises(UserError, match=said) as caught:
        load_artifact(tmp_path)
    assert artifact.MODEL in str(caught.value) and "\n" not in str(caught.value)


def test_a_new_kind_of_generator_and_of_latent_map_needs_only_a_registration(
    tmp_path, monkeypatch, generator
):
    class Bank(torch.nn.Module):
        def __init__(self, count):
            super().__init__()
            self.config = {"count": count}
            self.register_buffer("images", torch.arange(count * 48.0).view(count, 3, 4, 4))

        def sample(self, z, truncation_psi=1.0):
            return self.images[: len(z)]

    class Flip(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.config = {}

        def map_z(self, z):
            return -z

    monkeypatch.setitem(artifact.GENERATORS, "bank", Bank)
    monkeypatch.setitem(artifact.LATENT_MAPS, "flip", Flip)
    save_artifact(tmp_path / "bank", AdaptedModel(Bank(5)), {})
    z = torch.randn(2, 8)
    assert torch.equal(load_artifact(tmp_path / "bank").sample(z), Bank(5).images[:2])
    save_artifact(tmp_path / "flip", AdaptedModel(generator, Flip()), {})
    expected = AdaptedModel(generator).sample(-z)
    assert torch.equal(load_artifact(tmp_path / "flip").sample(z), expected)
