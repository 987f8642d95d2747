"""Source models written in rosinality's layout, and the commands that show, check and convert files."""

import math

import pytest
import torch

from nada.run.errors import UserError
from nada.stylegan2 import convert
from nada.stylegan2.convert import read_model
from nada.stylegan2.discriminator import Discriminator
from nada.stylegan2.generator import Generator
from nada.stylegan2.readers import rosinality
from nada.stylegan2.readers.unpickle import read_torch
from nada.stylegan2.source_model import SourceModel
from tests.nada.stylegan2.readers.rosinality_files import close, images_of

# Out ----------------------------------------------------------------------------------------------


def test_a_file_written_here_has_the_names_and_shapes_of_public_code(content, write, tmp_path):
    source = read_model(write(content))
    path = tmp_path / "again.pt"
    rosinality.write(path, {"G": source.G, "G_ema": source.G_ema, "D": source.D})
    written = torch.load(path, weights_only=True)
    for key in ("g", "g_ema", "d"):
        assert written[key].keys() == content[key].keys()
        for name, tensor in content[key].items():
            assert torch.equal(written[key][name], tensor), name
    assert torch.equal(written["latent_avg"], content["latent_avg"])


def test_equal_models_give_equal_bytes(content, write, tmp_path):
    source = read_model(write(content))
    networks = {"G": source.G, "G_ema": source.G_ema, "D": source.D}
    for name in ("one.pt", "two.pt"):
        rosinality.write(tmp_path / name, networks)
    assert (tmp_path / "one.pt").read_bytes() == (tmp_path / "two.pt").read_bytes()


@pytest.fixture
def ours(randomise):
    """A model of this project with all that the layout does not fix: factors, groups, own means."""
    torch.manual_seed(0)
    size = {"resolution": 16, "channel_base": 128, "channel_max": 8}
    G, G_ema = (
        randomise(
            Generator(z_dim=8, style_dim=8, mapping_layers=2, mapping_lr_mul=0.1, **size)
        ).eval()
        for _ in range(2)
    )
    return SourceModel(G, G_ema, randomise(Discriminator(mbstd_group_size=8, **size)))


def test_groups_means_and_learning_rate_factors_survive_the_way_out_and_back(ours, tmp_path):
    networks = {"G": ours.G, "G_ema": ours.G_ema, "D": ours.D}
    rosinality.write(tmp_path / "ours.pt", networks)
    back = read_model(tmp_path / "ours.pt")
    z, batch = torch.randn(2, 8), torch.randn(8, 3, 16, 16)
    for name in ("G", "G_ema"):
        before, after = getattr(ours, name), getattr(back, name)
        assert torch.equal(before.w_avg, after.w_avg)
        assert close(images_of(after, z, 0.5), images_of(before, z, 0.5))
    with torch.no_grad():
        assert close(back.D(batch), ours.D(batch))


@pytest.mark.parametrize(
    ("spoil", "name"),
    [
        (lambda m: m.G_ema.w_avg.fill_(math.nan), "latent_avg"),
        (lambda m: m.G.synthesis.const.fill_(math.inf), "g.input.input"),
        (lambda m: m.D.out.bias.fill_(-math.inf), "d.final_linear.1.bias"),
    ],
)
def test_values_that_are_not_finite_cannot_be_written(ours, tmp_path, spoil, name):
    with torch.no_grad():
        spoil(ours)
    with pytest.raises(UserError, match=f"x.pt: the tensor {name} has .* nothing was written"):
        rosinality.write(tmp_path / "x.pt", {"G": ours.G, "G_ema": ours.G_ema, "D": ours.D})
    assert list(tmp_path.iterdir()) == []


def test_z_and_w_of_different_sizes_cannot_be_written(ours, tmp_path):
    G = Generator(16, z_dim=6, style_dim=8, channel_base=128, channel_max=8)
    with pytest.raises(UserError, match="z and w of one size"):
        rosinality.write(tmp_path / "x.pt", {"G": G, "G_ema": G, "D": None})
    assert list(tmp_path.iterdir()) == []


# The command --------------------------------------------------------------------------------------


def test_show_says_what_a_file_holds(content, write, capsys):
    path = write(content)
    assert convert.main(["show", str(path)]) == 0
    shown = capsys.readouterr().out
    for part in (
        "format: rosinality .pt",
        "networks: G (",
        "resolution: 32x32, 8 style slots",
        "widths: 4:8 8:8 16:6 32:3",
        "mapping: 4 layers, z 12, w 12",
        "mean w: in the file",
        "minibatch groups of 4",
        f"size: {path.stat().st_size:,} bytes",
        "sha256: ",
    ):
        assert part in shown


def test_check_compares_the_hash_and_draws_an_image(content, write, capsys):
    path = write(content)
    digest = convert.sha256(path)
    assert convert.main(["check", str(path), "--sha256", digest.upper()]) == 0
    assert "an image with constant noise has values from" in capsys.readouterr().out
    assert convert.main(["check", str(path), "--sha256", "0" * 64]) == 2
    assert f"has SHA-256 {digest}, but 000" in capsys.readouterr().err


def test_check_finds_a_value_that_is_no_number(content, write, capsys):
    content["g_ema"]["convs.1.conv.weight"][0, 0, 0, 0, 0] = float("nan")
    assert convert.main(["check", str(write(content))]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "dog.pt: g_ema: the tensor convs.1.conv.weight has values that are not finite" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_convert_refuses_a_value_that_is_not_finite_and_writes_nothing(
    content, write, tmp_path, capsys, suffix, value
):
    content["d"]["final_linear.1.bias"][0] = value
    out = tmp_path / f"out{suffix}"
    assert convert.main(["convert", str(write(content)), str(out)]) == 2
    error = capsys.readouterr().err
    assert "dog.pt: d: the tensor final_linear.1.bias has values that are not finite" in error
    assert [file.name for file in tmp_path.iterdir()] == ["dog.pt"]


def test_convert_goes_to_ours_and_back_without_a_change(content, write, tmp_path, capsys):
    path, ours, back = write(content), tmp_path / "dog.safetensors", tmp_path / "back.pt"
    assert convert.main(["convert", str(path), str(ours)]) == 0
    assert convert.main(["convert", str(ours), str(back)]) == 0
    assert (
        "note: these widths are not those of channel_multiplier 1 or 2" in capsys.readouterr().out
    )
    before, after = read_torch(path), read_torch(back)
    for key in ("g", "g_ema", "d"):
        assert all(torch.equal(before[key][name], after[key][name]) for name in before[key])
    assert read_model(ours).metadata["imported"]["file"] == "dog.pt"
    assert convert.main(["show", str(ours)]) == 0
    shown = capsys.readouterr().out
    assert "format: stylegan2-source-1\n" in shown
    assert "imported from: dog.pt (rosinality .pt, " in shown
    half = tmp_path / "half.safetensors"
    assert convert.main(["convert", str(path), str(half), "--half"]) == 0
    assert half.stat().st_size < 0.6 * ours.stat().st_size


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["convert", "dog.pt", "dog.pkl"], "dog.pkl: ends in '.pkl'"),
        (["convert", "dog.pt", "dog.pt"], "is the file to convert itself"),
        (["convert", "dog.pt", "x.pt", "--half"], "--half"),
        (["show", "none.pt"], "none.pt is missing"),
        (["check", "none.pt", "--sha256", "00"], "none.pt is missing"),
    ],
)
def test_a_mistake_is_one_sentence(
    content, write, tmp_path, monkeypatch, capsys, arguments, expected
):
    before = write(content).read_bytes()
    monkeypatch.chdir(tmp_path)
    assert convert.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert expected in error
    assert error.count("\n") == 1
    assert (tmp_path / "dog.pt").read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["dog.pt"]


@pytest.mark.parametrize("name", ["other.pt", "other.safetensors"])
def test_convert_writes_over_no_file_that_is_there(content, write, tmp_path, capsys, name):
    other = tmp_path / name
    other.write_bytes(b"another model")
    assert convert.main(["convert", str(write(content)), str(other)]) == 2
    assert f"{name}: exists already; remove it, or name another" in capsys.readouterr().err
    assert other.read_bytes() == b"another model"


def test_widths_of_public_code_are_recognised():
    config = {"resolution": 64, "style_dim": 512, "channel_max": 512}

    class Stub:
        def __init__(self, base):
            self.config = {**config, "channel_base": base}

    assert rosinality.public_code_can_load({"G_ema": Stub(16384)})
    assert rosinality.public_code_can_load({"G_ema": Stub(32768)})
    assert not rosinality.public_code_can_load({"G_ema": Stub(8192)})


def test_arguments_are_read_before_torch_is(root):
    import subprocess
    import sys

    code = (
        "import sys, nada.stylegan2.convert as c\n"
        "try: c.main(['show'])\n"
        "except SystemExit as end: print(end.code, 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["2", "False"]


def test_names_of_the_file_come_printable_and_short_into_the_message(content, write, capsys):
    content["g_ema"]["\x1b[31m" + "x" * 100_000] = torch.zeros(1)
    path = write(content)
    assert convert.main(["show", str(path)]) == 2
    error = capsys.readouterr().err.rstrip("\n")
    assert error.isprintable()
    assert len(error) < 400


def test_a_folder_is_no_place_to_convert_to(content, write, tmp_path, capsys):
    (tmp_path / "out.pt").mkdir()
    assert convert.main(["convert", str(write(content)), str(tmp_path / "out.pt")]) == 2
    assert "is a folder" in capsys.readouterr().err
