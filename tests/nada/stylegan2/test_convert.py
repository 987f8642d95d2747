"""Checkpoints of other people become files of this project, and nothing else reads them."""

import json

import pytest
import torch

from nada.run.atomic import sha256
from nada.run.errors import UserError
from nada.run.manifest import MANIFEST, described, read_weights
from nada.stylegan2 import convert
from nada.stylegan2.convert import read_model
from nada.stylegan2.discriminator import Discriminator
from nada.stylegan2.generator import Generator
from nada.stylegan2.readers import rosinality
from nada.stylegan2.source_model import load_source


@pytest.fixture
def theirs(tmp_path):
    """A checkpoint in rosinality's layout, without the stored mean."""
    torch.manual_seed(0)
    size = {"resolution": 16, "channel_base": 128, "channel_max": 8}
    G, G_ema = (Generator(z_dim=8, style_dim=8, mapping_layers=2, **size) for _ in range(2))
    path = tmp_path / "dog.pt"
    rosinality.write(path, {"G": G, "G_ema": G_ema, "D": Discriminator(mbstd_group_size=4, **size)})
    content = torch.load(path, weights_only=True)
    content.pop("latent_avg")
    torch.save(content, path)
    return path


def test_a_converted_model_is_the_one_that_was_read_to_the_last_bit(theirs, tmp_path):
    out = tmp_path / "dog.safetensors"
    assert convert.main(["convert", str(theirs), str(out)]) == 0
    read, converted = read_model(theirs), load_source(out)
    for name, network in read.networks().items():
        state = getattr(converted, name).state_dict()
        assert getattr(converted, name).config == network.config
        assert all(torch.equal(tensor, state[key]) for key, tensor in network.state_dict().items())


def test_the_converted_file_says_what_it_was_made_from_and_what_that_lacked(theirs, tmp_path):
    out = tmp_path / "dog.safetensors"
    assert convert.main(["convert", str(theirs), str(out)]) == 0
    imported = described(read_weights(out)[1])["provenance"]["imported"]
    assert imported == read_model(theirs).metadata["imported"]
    assert (imported["file"], imported["sha256"]) == ("dog.pt", sha256(theirs))
    assert imported["format"] == "rosinality .pt" and imported["w_avg"].startswith("estimated")


def test_only_the_conversion_reads_a_foreign_file_and_others_say_how(theirs, tmp_path):
    with pytest.raises(UserError) as caught:
        load_source(theirs)
    out = tmp_path / "dog.safetensors"
    command = f"python -m nada.stylegan2.convert convert {theirs} {out}"
    assert "convert it first" in str(caught.value) and str(caught.value).endswith(command)


def test_a_missing_discriminator_names_the_file_that_was_converted(theirs, tmp_path):
    content = torch.load(theirs, weights_only=True)
    torch.save({"g_ema": content["g_ema"]}, theirs)
    out = tmp_path / "dog.safetensors"
    assert convert.main(["convert", str(theirs), str(out)]) == 0
    with pytest.raises(UserError, match=r"the file .*dog\.safetensors, converted from dog\.pt, has no disc"):
        load_source(out).discriminator_for("training")


def test_a_file_that_its_manifest_does_not_know_is_not_converted(theirs, tmp_path, capsys):
    listed = {"files": {theirs.name: {"sha256": "0" * 64}}}
    (tmp_path / MANIFEST).write_text(json.dumps(listed))
    out = tmp_path / "dog.safetensors"
    assert convert.main(["convert", str(theirs), str(out)]) == 2
    assert "manifest.json in its folder has" in capsys.readouterr().err
    assert not out.exists()
