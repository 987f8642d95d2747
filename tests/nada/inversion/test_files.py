"""Public checkpoints and this project's own files of encoders are read, and wrong ones are one error."""

import argparse
import json
import os

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from nada.inversion.encoders import StyleEncoder
from nada.inversion.files import load_inverter, read_public, save_inverter
from nada.inversion.inverter import Inverter
from nada.run.errors import UserError
from nada.run.manifest import METADATA_KEY
from tests.nada.inversion import published_encoders as published

SLOTS = 8


def write(path, kind="GradualStyleEncoder", channels=3, options=None, **changes):
    """A file as public code writes it: both networks, options, the mean of w; changes replace entries."""
    tensors = published.state(kind, SLOTS, channels)
    content = {
        "state_dict": {
            **{f"encoder.{name}": tensor for name, tensor in tensors.items()},
            "decoder.input.input": torch.zeros(1, 4, 4, 4),
        },
        "opts": {"encoder_type": kind, "device": "cuda:0", "start_from_latent_avg": True,
                 "label_nc": 0, "input_nc": channels, "output_size": 32, **(options or {})},
        "latent_avg": torch.arange(SLOTS * 8.0).view(SLOTS, 8),
        **changes,
    }  # fmt: skip
    torch.save({key: value for key, value in content.items() if value is not None}, path)
    return path, tensors


@pytest.mark.parametrize(
    ("kind", "channels", "feedback"),
    [("GradualStyleEncoder", 3, False), ("Encoder4Editing", 3, False), ("BackboneEncoder", 6, True),
     ("ResNetProgressiveBackboneEncoder", 6, True), ("GradualStyleEncoder", 19, False),
     ("GradualStyleEncoder", 1, False)],
)  # fmt: skip
def test_a_public_file_gives_its_encoder(tmp_path, kind, channels, feedback):
    path, tensors = write(tmp_path / "a.pt", kind, channels, {"label_nc": 0 if channels in (3, 6) else channels})
    inverter = read_public(path, resolution=32)
    assert inverter.encoder.config == {
        "kind": kind, "num_styles": SLOTS, "in_channels": channels, "style_dim": 8, "input_size": 32,
        "widths": list(published.WIDTHS), "depths": list(published.DEPTHS),
        "head_width": 8,
    }  # fmt: skip
    assert (inverter.feedback, inverter.passes) == (feedback, 5 if feedback else 1)
    assert inverter.in_channels == (3 if feedback else channels)
    own = inverter.encoder.state_dict()
    assert all(torch.equal(own[name], t) for name, t in tensors.items() if "num_batches" not in name)
    assert torch.equal(inverter.latent_avg, torch.arange(SLOTS * 8.0).view(SLOTS, 8))
    assert not inverter.training


def test_six_classes_of_a_mask_are_no_feedback(tmp_path):
    path, _ = write(tmp_path / "a.pt", channels=6, options={"label_nc": 6})
    assert not read_public(path).feedback
    options = {"label_nc": 6, "start_from_latent_avg": False}
    path, _ = write(tmp_path / "b.pt", channels=6, options=options, latent_avg=None)
    assert read_public(path).latent_avg.abs().max() == 0


def test_options_may_be_a_namespace(tmp_path):
    options = argparse.Namespace(encoder_type="Encoder4Editing", stylegan_size=32)
    path, _ = write(tmp_path / "a.pt", opts=options)
    assert read_public(path).encoder.config["kind"] == "Encoder4Editing"


@pytest.mark.parametrize("shape", [(8,), (1, 8)])
def test_one_mean_of_w_is_for_every_slot(tmp_path, shape):
    mean = torch.arange(8.0).view(shape)
    path, _ = write(tmp_path / "a.pt", latent_avg=mean)
    assert torch.equal(read_public(path).latent_avg, torch.arange(8.0).expand(SLOTS, 8))


def test_a_file_without_the_mean_takes_the_generators(tmp_path):
    path, _ = write(tmp_path / "a.pt", latent_avg=None)
    with pytest.raises(UserError, match="has no latent_avg.*give the generator's w_avg"):
        read_public(path)
    assert torch.equal(read_public(path, w_avg=torch.ones(8)).latent_avg, torch.ones(SLOTS, 8))
    path, _ = write(tmp_path / "b.pt", latent_avg=None, options={"start_from_latent_avg": False})
    assert read_public(path).latent_avg.abs().max() == 0


def test_an_encoder_for_another_resolution_is_one_error(tmp_path):
    path, _ = write(tmp_path / "a.pt")
    with pytest.raises(UserError, match="8 style slots, for images of 32 pixels.*1024 pixels takes 18"):
        read_public(path, resolution=1024)


def without(path, *names, **replaced):
    content = torch.load(path, weights_only=False)
    for name in names:
        del content["state_dict"][f"encoder.{name}"]
    for name, tensor in replaced.items():
        content["state_dict"][f"encoder.{name.replace('__', '.')}"] = tensor
    torch.save(content, path)


@pytest.mark.parametrize(
    ("names", "words"),
    [(["styles.7.linear.weight"], r"has styles.7.convs.0.bias and \d+ more, which a Grad"),
     (["styles.3.linear.weight"], r"has styles.3.convs.0.bias and \d+ more"),
     (["latlayer1.bias"], "latlayer1.bias is missing"),
     (["input_layer.0.weight"], "has no input_layer.0.weight"),
     (["body.1.res_layer.3.weight"], "its trunk has stages of the widths"),
     (["body.1.res_layer.5.fc1.weight"], "body.1.res_layer.5.fc1.weight is missing"),
     (["styles.0.linear.weight"], "heads of 0 slots")],
)  # fmt: skip
def test_missing_tensors_are_named(tmp_path, names, words):
    path, _ = write(tmp_path / "a.pt")
    without(path, *names)
    with pytest.raises(UserError, match=words):
        read_public(path)


def test_wrong_tensors_are_named(tmp_path):
    path, _ = write(tmp_path / "a.pt")
    without(path, latlayer1__bias=torch.zeros(3))
    with pytest.raises(UserError, match=r"latlayer1.bias has shape \[3\], \[48\] expected"):
        read_public(path)
    without(path, latlayer1__bias=torch.full((48,), torch.nan))
    with pytest.raises(UserError, match="latlayer1.bias has values that are not finite"):
        read_public(path)
    without(path, latlayer1__bias=torch.zeros(48, dtype=torch.int64))
    with pytest.raises(UserError, match="latlayer1.bias is of type torch.int64"):
        read_public(path)
    path, _ = write(tmp_path / "a.pt", latent_avg=torch.zeros(18, 512))
    with pytest.raises(UserError, match=r"latent_avg: shape \[18, 512\] found"):
        read_public(path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"opts": {}}, "does not record its encoder_type; give the kind"),
     ({"opts": {"encoder_type": "BackboneEncoderUsingLastLayerIntoW"}}, "only encoders into W\\+ are read"),
     ({"options": {"learn_in_w": True}}, "makes one w for all slots"),
     ({"state_dict": None}, "it has no dictionary 'state_dict'"),
     ({"state_dict": {"g_ema.x": torch.zeros(1)}}, "has no tensors encoder"),
     ({"state_dict": {"encoder.x": "text"}}, "has no tensors encoder")],
)  # fmt: skip
def test_files_of_another_kind_are_one_error(tmp_path, changes, words):
    path, _ = write(tmp_path / "a.pt", **changes)
    with pytest.raises(UserError, match=words):
        read_public(path)


def test_a_kind_may_be_given_for_a_file_that_does_not_record_it(tmp_path):
    path, _ = write(tmp_path / "a.pt", opts={})
    assert read_public(path, kind="Encoder4Editing").encoder.config["kind"] == "Encoder4Editing"


class Hostile:
    def __reduce__(self):
        return os.mkdir, ("made_by_a_checkpoint",)


def test_code_in_a_checkpoint_is_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path, _ = write(tmp_path / "a.pt", opts=Hostile())
    with pytest.raises(UserError, match="mkdir"):
        read_public(path)
    assert not (tmp_path / "made_by_a_checkpoint").exists()


# This project's files -----------------------------------------------------------------------------


def test_own_files_give_the_inverter_back(tmp_path):
    inverter = read_public(write(tmp_path / "a.pt", "Encoder4Editing")[0])
    inverter.encoder.deltas = 3
    save_inverter(tmp_path / "a.safetensors", inverter, {"seed": 4}, torch.float32)
    save_inverter(tmp_path / "b.safetensors", inverter, {"seed": 4}, torch.float32)
    again = load_inverter(tmp_path / "a.safetensors", resolution=32)
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    assert (again.encoder.deltas, again.passes, again.metadata) == (3, 1, {"seed": 4})
    x = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(again(x), inverter(x))


def test_six_small_encoders_for_two_domains_take_less_than_6_megabytes(tmp_path):
    kinds = {"GradualStyleEncoder": 3, "Encoder4Editing": 3, "BackboneEncoder": 6, "ProgressiveBackboneEncoder": 6}
    size = 0
    for kind, channels in [*kinds.items(), ("GradualStyleEncoder", 1), ("GradualStyleEncoder", 8)]:
        encoder = StyleEncoder(kind, 8, channels, 64, 32, (16, 24, 32, 32), (1, 1, 1, 1), head_width=32)
        save_inverter(tmp_path / "a.safetensors", Inverter(encoder, torch.zeros(8, 64), feedback=channels == 6))
        assert load_inverter(tmp_path / "a.safetensors").encoder.config == encoder.config
        size += (tmp_path / "a.safetensors").stat().st_size
    assert 2 * size < 6e6


def test_wrong_own_files_are_one_error(tmp_path, clip_spec):
    inverter = read_public(write(tmp_path / "a.pt")[0])
    save_inverter(tmp_path / "a.safetensors", inverter)
    with pytest.raises(UserError, match="256 pixels takes 14"):
        load_inverter(tmp_path / "a.safetensors", resolution=256)
    with pytest.raises(UserError, match="no inverter: format"):
        load_inverter(clip_spec["weights"])
    with torch.no_grad():
        inverter.latent_avg[0, 0] = 1e9
    with pytest.raises(UserError, match="latent_avg is not finite in torch.float16"):
        save_inverter(tmp_path / "b.safetensors", inverter)
    assert not (tmp_path / "b.safetensors").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"deltas": 8}, "8 deltas of 8 slots"),
        ({"deltas": "3"}, "deltas '3' of another type"),
        ({"feedback": "no"}, "feedback 'no'"),
        ({"passes": 1.5}, "passes 1.5"),
        ({"encoder": {"style_dim": 10**400}}, "do not match"),
        ({"encoder": None}, "do not match"),
    ],
)
def test_own_files_with_other_metadata_are_one_error(tmp_path, changes, words):
    path = tmp_path / "a.safetensors"
    save_inverter(path, read_public(write(tmp_path / "a.pt", "Encoder4Editing")[0]))
    with safe_open(path, framework="pt") as file:
        about = json.loads(file.metadata()[METADATA_KEY])
    if isinstance(changes.get("encoder"), dict):
        changes = {"encoder": {**about["encoder"], **changes["encoder"]}}
    save_file(load_file(path), path, metadata={METADATA_KEY: json.dumps({**about, **changes})})
    with pytest.raises(UserError, match=words):
        load_inverter(path)
