"""Source model files: round trip, equal bytes, and what bad files answer."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from nada.run.errors import UserError
from nada.stylegan2.convert import describe
from nada.stylegan2.discriminator import Discriminator
from nada.stylegan2.generator import Generator
from nada.stylegan2.source_model import SourceModel, load_source, save_source


@pytest.fixture(scope="module")
def source():
    torch.manual_seed(0)
    size = {"resolution": 16, "channel_base": 128, "channel_max": 8}
    generators = [Generator(z_dim=6, style_dim=8, mapping_layers=2, **size) for _ in range(2)]
    generators[0].w_avg.normal_()
    D = Discriminator(mbstd_group_size=2, **size)
    return SourceModel(*generators, D, metadata={"domain": "dog", "seed": 3})


@pytest.fixture
def path(source, tmp_path):
    path = tmp_path / "dog.safetensors"
    save_source(path, source, torch.float32)
    return path


def test_float32_round_trip_is_exact_with_architecture_and_provenance(source, path):
    loaded = load_source(path)
    assert loaded.metadata == {"domain": "dog", "seed": 3}
    for name in ("G", "G_ema", "D"):
        before, after = getattr(source, name), getattr(loaded, name)
        assert after.config == before.config
        assert not after.training
        assert all(p.requires_grad for p in after.parameters())
        state = after.state_dict()
        assert state.keys() == before.state_dict().keys()
        assert all(torch.equal(tensor, state[key]) for key, tensor in before.state_dict().items())
    z, images = torch.randn(2, 6), torch.randn(2, 3, 16, 16)
    assert torch.equal(loaded.G(z, noise_mode="const"), source.G(z, noise_mode="const"))
    assert torch.equal(loaded.D(images), source.D(images))


def test_float16_file_loads_as_the_rounded_weights_in_float32(source, tmp_path):
    save_source(tmp_path / "half.safetensors", source)
    loaded = load_source(tmp_path / "half.safetensors")
    for key, tensor in source.G.state_dict().items():
        stored = loaded.G.state_dict()[key]
        assert stored.dtype == torch.float32
        assert torch.equal(stored, tensor.half().float())


def test_equal_models_give_equal_bytes(source, path, tmp_path):
    for i in range(5):
        twin = tmp_path / f"twin{i}.safetensors"
        save_source(twin, source, torch.float32)
        assert twin.read_bytes() == path.read_bytes()


def test_loading_draws_no_random_numbers(path):
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    load_source(path)
    assert torch.equal(torch.rand(1), expected)


def test_one_network_may_stand_for_two(source, tmp_path):
    twice = SourceModel(source.G, source.G, source.D)
    save_source(tmp_path / "twice.safetensors", twice, torch.float32)
    loaded = load_source(tmp_path / "twice.safetensors")
    assert torch.equal(loaded.G.synthesis.const, loaded.G_ema.synthesis.const)


def test_a_value_that_float16_cannot_hold_is_refused_and_the_old_file_stays(source, path):
    before = path.read_bytes()
    with torch.no_grad():
        source.D.out.bias.add_(1e6)
    with pytest.raises(UserError, match="D.out.bias has values that are not finite"):
        save_source(path, source, torch.float16)
    with torch.no_grad():
        source.D.out.bias.sub_(1e6)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_a_value_that_is_not_finite_is_refused_at_load_by_file_and_tensor(path, value, dtype):
    tensors, metadata = load_file(path), safe_open(path, "pt").metadata()
    tensors = {key: tensor.to(dtype) for key, tensor in tensors.items()}
    tensors["G_ema.synthesis.convs.1.bias"][-1] = value
    save_file(tensors, path, metadata=metadata)
    with pytest.raises(UserError, match=r"dog\.safetensors.* G_ema\.synthesis\.convs\.1\.bias "):
        load_source(path)


def test_a_file_of_double_precision_loads_in_float32(source, path):
    tensors, metadata = load_file(path), safe_open(path, "pt").metadata()
    save_file({key: t.double() for key, t in tensors.items()}, path, metadata=metadata)
    loaded = load_source(path).G.state_dict()
    assert all(torch.equal(loaded[key], t) for key, t in source.G.state_dict().items())


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match="none.safetensors"):
        load_source(tmp_path / "none.safetensors")


@pytest.mark.parametrize("keep", [0.0, 0.001, 0.5, 0.999])
def test_a_truncated_file_is_named(path, keep):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(UserError, match="dog.safetensors"):
        load_source(path)


def test_a_file_of_another_format_is_named(path, tmp_path):
    path.write_bytes(b"PK\x03\x04 a torch.save archive, perhaps")
    with pytest.raises(UserError, match="dog.safetensors"):
        load_source(path)
    other = tmp_path / "other.safetensors"
    save_file({"x": torch.zeros(1)}, other)
    with pytest.raises(UserError, match="other.safetensors: not a source model"):
        load_source(other)
    save_file({"x": torch.zeros(1)}, other, metadata={"json": json.dumps({"format": "adapted"})})
    with pytest.raises(UserError, match="format 'adapted' in its metadata"):
        load_source(other)


def rewrite(path, change_tensors=lambda tensors: None, change_about=lambda about: None):
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        about = json.loads(file.metadata()["json"])
    tensors = load_file(path)
    change_tensors(tensors)
    change_about(about)
    save_file(tensors, path, metadata={"json": json.dumps(about)})


def test_a_missing_an_unknown_and_a_misshapen_tensor_are_named(path):
    original = path.read_bytes()
    rewrite(path, lambda tensors: tensors.pop("G_ema.synthesis.const"))
    with pytest.raises(UserError, match="G_ema.synthesis.const"):
        load_source(path)
    path.write_bytes(original)
    rewrite(path, lambda tensors: tensors.update({"G.extra": torch.zeros(1)}))
    with pytest.raises(UserError, match="G.extra"):
        load_source(path)
    path.write_bytes(original)
    rewrite(path, lambda tensors: tensors.update({"D.out.bias": torch.zeros(7)}))
    with pytest.raises(UserError, match="D.out.bias"):
        load_source(path)


def test_an_architecture_that_does_not_fit_is_one_sentence(path):
    original = path.read_bytes()
    for change in (
        lambda about: about["architecture"]["G"].update(resolution=24),
        lambda about: about["architecture"]["G"].update(resolution=32),
        lambda about: about["architecture"]["D"].update(surprise=1),
        lambda about: about["architecture"].pop("D"),
    ):
        path.write_bytes(original)
        rewrite(path, change_about=change)
        with pytest.raises(UserError, match="tensors and architecture do not match") as caught:
            load_source(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("resolution", 1 << 20),
        ("mapping_layers", 10**9),
        ("z_dim", 10**9),
        ("channel_max", 10**9),
        ("mapping_lr_mul", "0.01"),
    ],
)
def test_an_architecture_far_beyond_the_file_makes_nothing_large(path, key, value):
    rewrite(path, change_about=lambda about: about["architecture"]["G"].update({key: value}))
    with pytest.raises(UserError, match="tensors and architecture do not match") as caught:
        load_source(path)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("provenance", [None, [], {"a": float("nan")}, {"a": "\ud800"}])
def test_a_provenance_that_cannot_be_written_again_is_one_sentence(path, provenance):
    rewrite(path, change_about=lambda about: about.update(provenance=provenance))
    with pytest.raises(UserError, match="dog.safetensors"):
        load_source(path)


@pytest.mark.parametrize("imported", [5, {"file": 1}, {"file": "\x1b[31m\n", "sha256": 5}])
def test_an_odd_provenance_is_shown_in_plain_lines(path, imported):
    rewrite(path, change_about=lambda about: about.update(provenance={"imported": imported}))
    assert all(line.isprintable() for line in describe(load_source(path)))


def test_metadata_nested_too_deep_are_no_source_model(path):
    save_file({"x": torch.zeros(1)}, path, metadata={"json": "[" * 100_000})
    with pytest.raises(UserError, match="not a source model"):
        load_source(path)
