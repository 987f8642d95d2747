"""Checkpoints of OASIS: the public code's files are read as data, and errors say which file is needed."""

import pytest
import torch

from nada.oasis import checkpoint
from nada.oasis.checkpoint import OasisModel, load_oasis, read_official, save_oasis
from nada.oasis.generator import SMALL, OasisGenerator
from nada.run.errors import UserError
from tests.nada.oasis import public_code

CLASSES = 5
PUBLISHED = dict(checkpoint.DATA_SETS)  # before the fixture replaces them


@pytest.fixture(autouse=True)
def small_data_sets(monkeypatch):
    """The data sets with few classes and small images, so that files are small."""
    sets = {
        "coco-stuff": {"classes": CLASSES, "resolution": 64, "aspect_ratio": 1.0},
        "ade20k": {"classes": 7, "resolution": 64, "aspect_ratio": 1.0},
    }
    monkeypatch.setattr(checkpoint, "DATA_SETS", sets)


@pytest.fixture
def state():
    return public_code.modules(CLASSES, z_dim=3, width=1, hidden=6).state_dict()


def saved(folder, state, name="best_EMA.pth", **options):
    torch.save(state, folder / name, **options)
    return folder / name


@pytest.mark.parametrize("new", [True, False])
def test_a_file_of_the_public_code_draws_what_a_forward_written_apart_draws(tmp_path, state, new):
    path = saved(tmp_path, state, _use_new_zipfile_serialization=new)
    model = read_official(path, z_dim=3)
    generator = model.generator
    assert generator.config["multipliers"] == list(public_code.MULTIPLIERS)
    assert (generator.config["width"], generator.config["hidden"]) == (1, 6)
    assert not generator.training and not any(p.requires_grad for p in generator.parameters())
    maps = torch.eye(CLASSES)[torch.randint(CLASSES, (1, 64, 64))].permute(0, 3, 1, 2)
    z = torch.randn(1, 3)
    expected = public_code.Literal(state)(maps, z)
    torch.testing.assert_close(generator(maps, z).double(), expected, rtol=1e-4, atol=1e-4)
    origin = model.provenance["imported"]
    assert (origin["file"], origin["data_set"], origin["weights"]) == ("best_EMA.pth", "coco-stuff", "EMA")
    assert len(origin["sha256"]) == 64


def test_the_published_data_sets_have_the_public_code_s_numbers_of_classes():
    assert {name: about["classes"] for name, about in PUBLISHED.items()} == {
        "coco-stuff": 183, "ade20k": 151, "cityscapes": 35,
    }  # fmt: skip
    assert OasisGenerator(**PUBLISHED["cityscapes"], z_dim=1, width=1, hidden=1).size == (256, 512)


def test_reading_draws_no_random_numbers(tmp_path, state):
    path = saved(tmp_path, state)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    read_official(path, z_dim=3)
    assert torch.equal(torch.rand(3), expected)


# --- the wrong file


def refused(path, sentence, **options):
    with pytest.raises(UserError, match=sentence) as caught:
        read_official(path, **{"z_dim": 3, **options})
    assert "\n" not in str(caught.value)


def test_another_data_set_s_model_is_named(tmp_path):
    other = public_code.modules(7, z_dim=3, width=1, hidden=6).state_dict()
    path = saved(tmp_path, other)
    refused(path, "reads 10 channels, which are 7 classes and 3 of noise.* it fits 'ade20k'")
    assert read_official(path, "ade20k", z_dim=3).generator.classes == 7
    refused(path, "data set 'lvis' is not known; known: coco-stuff", data_set="lvis")


def test_raw_weights_are_not_taken_for_the_average(tmp_path, state):
    raw, other = saved(tmp_path, state, "20000_G.pth"), saved(tmp_path, state, "model.pth")
    refused(raw, "holds the weights 'G', but 'EMA' were asked for")
    refused(other, "a name that tells no weights, but 'EMA' were asked for")
    refused(saved(tmp_path, state), "holds the weights 'EMA', but 'G' were asked for", weights="G")
    assert read_official(raw, z_dim=3, weights="G").provenance["imported"]["weights"] == "G"
    found = read_official(other, z_dim=3, weights="unknown").provenance["imported"]["weights"]
    assert found == "unknown"
    refused(other, "weights 'best' are not known", weights="best")


def test_a_discriminator_and_other_networks_are_refused(tmp_path, state):
    critic = {"body_down.0.conv1.0.weight_orig": torch.zeros(1), "layer_up_last.weight": torch.zeros(1)}
    refused(saved(tmp_path, critic), "is a discriminator of OASIS")
    refused(saved(tmp_path, {"layer.weight": torch.zeros(2)}), "it has no conv_img.weight")
    plain = {name.replace("weight_orig", "weight"): t for name, t in state.items()}
    refused(saved(tmp_path, plain), "was trained without spectral norm")
    odd = {**state, "fc.weight": torch.zeros(15, 8, 3, 3), "conv_img.weight": torch.zeros(3, 2, 3, 3)}
    refused(saved(tmp_path, odd), "which are no multiples of the last one's 2")


def test_missing_extra_misshapen_and_infinite_tensors_are_named(tmp_path, state):
    lacking = {k: v for k, v in state.items() if k != "body.2.norm_0.mlp_beta.bias"}
    refused(saved(tmp_path, lacking), "body.2.norm_0.mlp_beta.bias")
    refused(saved(tmp_path, {**state, "body.0.extra": torch.zeros(1)}), "body.0.extra")
    bent = {**state, "body.1.conv_0.weight_u": torch.zeros(3)}
    refused(saved(tmp_path, bent), "body.1.conv_0.weight_u")
    broken = {**state, "fc.bias": torch.full_like(state["fc.bias"], torch.nan)}
    refused(saved(tmp_path, broken), "fc.bias has values that are not finite")


def test_missing_damaged_and_executable_files_are_refused(tmp_path, state):
    refused(tmp_path / "best_EMA.pth", "is missing")
    path = saved(tmp_path, state)
    path.write_bytes(path.read_bytes()[:-2000])
    refused(path, "best_EMA.pth")
    refused(saved(tmp_path, torch.nn.Linear(1, 1)), "best_EMA.pth")  # a module: code by its class


def test_a_file_that_declares_a_larger_network_than_it_holds_is_refused(tmp_path, state):
    tiny = {k: v for k, v in state.items() if "norm" not in k or "body.0.norm_0" in k}
    tiny["body.0.norm_0.mlp_shared.0.weight"] = torch.zeros(1).expand(60000, 8, 3, 3)
    refused(saved(tmp_path, tiny), "best_EMA.pth")


# --- this project's files


@pytest.fixture
def model():
    torch.manual_seed(0)
    return OasisModel(OasisGenerator(classes=CLASSES, **SMALL).eval(), {"made": "here"})


def test_a_model_is_written_and_read_with_equal_images_and_bytes(tmp_path, model):
    save_oasis(tmp_path / "a.safetensors", model)
    found = load_oasis(tmp_path / "a.safetensors")
    save_oasis(tmp_path / "b.safetensors", found)
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    assert found.provenance == {"made": "here"}
    maps, z = torch.zeros(1, CLASSES, 32, 32), torch.randn(1, 8)
    maps[:, 1] = 1
    assert torch.equal(found.generator(maps, z), model.generator(maps, z))


def test_half_precision_halves_the_file_and_values_beyond_it_are_refused(tmp_path, model):
    path = tmp_path / "half.safetensors"
    save_oasis(path, model, torch.float16)
    found = load_oasis(path).generator
    torch.testing.assert_close(found.fc.weight, model.generator.fc.weight, rtol=1e-3, atol=1e-4)
    with torch.no_grad():
        model.generator.fc.bias.fill_(1e6)
    with pytest.raises(UserError, match="fc.bias has values that are not finite"):
        save_oasis(tmp_path / "no.safetensors", model, torch.float16)
    assert not (tmp_path / "no.safetensors").exists()


def test_files_of_other_formats_and_inconsistent_ones_are_refused(tmp_path, model):
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(UserError, match="no OASIS generator of this project"):
        load_oasis(tmp_path / "other.safetensors")
    for key, value in {"width": 9, "aspect_ratio": 0.0, "multipliers": [4], "classes": "5"}.items():
        model.generator.config = {**OasisGenerator(classes=CLASSES, **SMALL).config, key: value}
        save_oasis(tmp_path / "bent.safetensors", model)
        with pytest.raises(UserError, match="do not fit an OASIS generator"):
            load_oasis(tmp_path / "bent.safetensors")
