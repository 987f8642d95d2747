"""Weights with NaN or infinity: found in every type and place, refused at load by file and tensor."""

import math
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from eval.networks.referee import load_judge, load_perceptual
from nada.clip.encoder import load_clip
from nada.latent_maps import LatentMapper
from nada.run.artifact import AdaptedModel, load_artifact, save_artifact
from nada.run.errors import UserError
from nada.run.finite import check_finite, is_finite
from nada.stylegan2.source_model import load_source

WEIGHTS = Path(__file__).parents[3] / "workflow" / "worlds" / "mini" / "weights"
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.float8_e5m2)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_nan_and_infinity_are_found_in_every_float_type_wherever_they_stand(dtype, value):
    for place in (0, 1, 999, 1000):
        numbers = torch.linspace(-3, 3, 1001)
        assert is_finite(numbers.to(dtype))
        numbers[place] = value
        assert not is_finite(numbers.to(dtype))
        assert not is_finite(numbers.to(dtype).reshape(7, 11, 13).transpose(0, 2))


def test_the_largest_numbers_of_a_type_are_finite():
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        limits = torch.finfo(dtype)
        assert is_finite(torch.tensor([limits.max, limits.max, limits.min], dtype=dtype))


def test_whole_numbers_truth_values_and_no_numbers_are_finite():
    for tensor in (torch.tensor([2**62]), torch.tensor([True]), torch.empty(0), torch.tensor(3)):
        assert is_finite(tensor)


def test_a_complex_number_is_finite_where_both_its_parts_are():
    assert is_finite(torch.tensor([1 + 2j]))
    assert not is_finite(torch.tensor([1 + 2j, complex(0, math.nan)]))


def test_the_first_tensor_that_is_not_finite_is_named_and_one_under_many_names_by_its_first():
    bad = torch.tensor([math.nan])
    tensors = {"a": torch.zeros(2), "b": bad, "c": bad, "d": torch.tensor([math.inf])}
    with pytest.raises(UserError, match="x.pt: the tensor b has .* infinity.; get it again"):
        check_finite("x.pt", tensors, "get it again")
    check_finite("x.pt", {"a": torch.zeros(2)})


def spoiled(path: Path, folder: Path, name: str, value: float = math.nan) -> Path:
    """A copy of a safetensors file with one bad number in the tensor of that name."""
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    tensors[name].view(-1)[-1] = value
    save_file(tensors, folder / path.name, metadata=metadata)
    return folder / path.name


def load_mini_clip(path):
    spec = {"name": "a", "config": str(WEIGHTS / "clip_a.json"), "weights": str(path)}
    return load_clip(spec)


@pytest.mark.parametrize(
    ("file", "load", "name"),
    [
        ("dog.safetensors", load_source, "G_ema.synthesis.convs.3.weight"),
        ("clip_a.safetensors", load_mini_clip, "text_projection"),
        ("judge.safetensors", load_judge, "stem.weight"),
        ("perceptual.safetensors", load_perceptual, "blocks.0.1.running_var"),
    ],
)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_each_network_of_the_mini_world_is_refused_at_load(tmp_path, file, load, name, value):
    path = spoiled(WEIGHTS / file, tmp_path, name, value)
    with pytest.raises(UserError) as caught:
        load(path)
    assert str(path) in str(caught.value) and f"the tensor {name} has" in str(caught.value)


def test_an_adapted_model_s_part_is_refused_at_load(tmp_path, generator):
    mapper = LatentMapper(num_ws=6, style_dim=8)
    with torch.no_grad():
        next(mapper.parameters()).view(-1)[0] = math.nan
    save_artifact(tmp_path, AdaptedModel(generator, mapper), {"step": 1})
    with pytest.raises(UserError, match=r"model\.safetensors: the tensor latent_map\."):
        load_artifact(tmp_path)
