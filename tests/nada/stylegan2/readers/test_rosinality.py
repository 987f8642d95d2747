"""rosinality's `.pt`, in and out: names, shapes, an independent forward pass, missing parts; the command."""

import argparse
import math
from collections import OrderedDict

import pytest
import torch
import torch.nn.functional as F

from nada.run.errors import UserError
from nada.stylegan2 import convert
from nada.stylegan2.convert import read_model
from nada.stylegan2.discriminator import Discriminator
from nada.stylegan2.generator import Generator
from nada.stylegan2.readers import rosinality
from nada.stylegan2.readers.layouts import widths
from nada.stylegan2.readers.unpickle import read_torch
from nada.stylegan2.source_model import SourceModel, save_source

W = 12  # size of z and w
FIR = torch.outer(torch.tensor([1.0, 3, 3, 1]), torch.tensor([1.0, 3, 3, 1])) / 64


# Files as public code writes them -----------------------------------------------------------------


def generator_state(count: dict[int, int], layers: int) -> OrderedDict:
    """A random state dict of its Generator, by the published list of names and shapes."""
    state = OrderedDict()
    for i in range(1, layers + 1):
        state[f"style.{i}.weight"] = torch.randn(W, W) * 100
        state[f"style.{i}.bias"] = torch.randn(W) * 30
    state["input.input"] = torch.randn(1, count[4], 4, 4)

    def modulated(name, c_in, c_out, kernel):
        state[f"{name}.conv.weight"] = torch.randn(1, c_out, c_in, kernel, kernel)
        state[f"{name}.conv.modulation.weight"] = torch.randn(c_in, W)
        state[f"{name}.conv.modulation.bias"] = 1 + 0.3 * torch.randn(c_in)

    def styled(name, c_in, c_out, up=False):
        modulated(name, c_in, c_out, 3)
        if up:
            state[f"{name}.conv.blur.kernel"] = FIR * 4
        state[f"{name}.noise.weight"] = 0.3 * torch.randn(1)
        state[f"{name}.activate.bias"] = 0.3 * torch.randn(c_out)

    def rgb(name, c_in, up=True):
        modulated(name, c_in, 3, 1)
        state[f"{name}.bias"] = 0.3 * torch.randn(1, 3, 1, 1)
        if up:
            state[f"{name}.upsample.kernel"] = FIR * 4

    sides = sorted(count)
    styled("conv1", count[4], count[4])
    rgb("to_rgb1", count[4], up=False)
    for j, side in enumerate(sides[1:]):
        styled(f"convs.{2 * j}", count[side // 2], count[side], up=True)
        styled(f"convs.{2 * j + 1}", count[side], count[side])
    for j, side in enumerate(sides[1:]):
        rgb(f"to_rgbs.{j}", count[side])
    for i in range(2 * len(sides) - 1):
        side = 2 ** ((i + 5) // 2)
        state[f"noises.noise_{i}"] = torch.randn(1, 1, side, side)
    return state


def discriminator_state(count: dict[int, int]) -> OrderedDict:
    state = OrderedDict()
    sides = sorted(count, reverse=True)
    state["convs.0.0.weight"] = torch.randn(count[sides[0]], 3, 1, 1)
    state["convs.0.1.bias"] = 0.3 * torch.randn(count[sides[0]])
    for i, side in enumerate(sides[:-1], start=1):
        c_in, c_out = count[side], count[side // 2]
        state[f"convs.{i}.conv1.0.weight"] = torch.randn(c_in, c_in, 3, 3)
        state[f"convs.{i}.conv1.1.bias"] = 0.3 * torch.randn(c_in)
        state[f"convs.{i}.conv2.0.kernel"] = FIR.clone()
        state[f"convs.{i}.conv2.1.weight"] = torch.randn(c_out, c_in, 3, 3)
        state[f"convs.{i}.conv2.2.bias"] = 0.3 * torch.randn(c_out)
        state[f"convs.{i}.skip.0.kernel"] = FIR.clone()
        state[f"convs.{i}.skip.1.weight"] = torch.randn(c_out, c_in, 1, 1)
    state["final_conv.0.weight"] = torch.randn(count[4], count[4] + 1, 3, 3)
    state["final_conv.1.bias"] = 0.3 * torch.randn(count[4])
    state["final_linear.0.weight"] = torch.randn(count[4], count[4] * 16)
    state["final_linear.0.bias"] = 0.3 * torch.randn(count[4])
    state["final_linear.1.weight"] = torch.randn(1, count[4])
    state["final_linear.1.bias"] = 0.3 * torch.randn(1)
    return state


COUNT = {4: 8, 8: 8, 16: 6, 32: 3}  # min(96 / side, 8)


@pytest.fixture
def content():
    torch.manual_seed(0)
    return {
        "g": generator_state(COUNT, 4),
        "d": discriminator_state(COUNT),
        "g_ema": generator_state(COUNT, 4),
        "g_optim": {"state": {0: {"step": 3, "exp_avg": torch.zeros(4)}}, "param_groups": [{}]},
        "args": argparse.Namespace(size=32, ckpt=None),
        "ada_aug_p": 0.1,
        "latent_avg": torch.randn(W),
    }


@pytest.fixture
def write(tmp_path):
    def save(content, **options):
        torch.save(content, tmp_path / "dog.pt", **options)
        return tmp_path / "dog.pt"

    return save


# A forward pass by these names --------------------------------------------------------------------


def lrelu(x):
    return F.leaky_relu(x, 0.2) * math.sqrt(2)


def mapped(state, z):
    x = z * (z.square().mean(1, keepdim=True) + 1e-8).rsqrt()
    i = 1
    while f"style.{i}.weight" in state:
        weight, bias = state[f"style.{i}.weight"], state[f"style.{i}.bias"]
        x = lrelu(x @ weight.T * (0.01 / math.sqrt(W)) + bias * 0.01)
        i += 1
    return x


def drawn(state, w, reference):
    """Images of w [N,W] with the stored noise."""

    def style(name):
        weight, bias = (state[f"{name}.conv.modulation.{leaf}"] for leaf in ("weight", "bias"))
        return w @ weight.T / math.sqrt(W) + bias

    def styled(x, name, i, up):
        x = reference.grouped_modulated_conv(x, state[f"{name}.conv.weight"][0], style(name), up=up)
        x = x + state[f"{name}.noise.weight"] * state[f"noises.noise_{i}"]
        return lrelu(x + state[f"{name}.activate.bias"][:, None, None])

    def rgb(x, name):
        weight = state[f"{name}.conv.weight"][0]
        x = reference.grouped_modulated_conv(x, weight, style(name), demodulate=False)
        return x + state[f"{name}.bias"]

    x = styled(state["input.input"].repeat(len(w), 1, 1, 1), "conv1", 0, up=False)
    image = rgb(x, "to_rgb1")
    j = 0
    while f"to_rgbs.{j}.bias" in state:
        x = styled(x, f"convs.{2 * j}", 2 * j + 1, up=True)
        x = styled(x, f"convs.{2 * j + 1}", 2 * j + 2, up=False)
        image = reference.upsample(image).to(x) + rgb(x, f"to_rgbs.{j}")
        j += 1
    return image


def close(ours, theirs):
    return (ours - theirs).abs().max().item() <= 1e-5 * max(1.0, theirs.abs().max().item())


@torch.no_grad()
def images_of(G, z, psi=1.0):
    return G.synthesis(G.broadcast(G.truncate(G.mapping(z), psi)), noise_mode="const")


# In -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [{}, {"_use_new_zipfile_serialization": False}])
def test_a_file_draws_what_its_tensors_say_by_an_independent_forward_pass(
    content, write, reference, form
):
    source = read_model(write(content, **form))
    z = torch.randn(2, W)
    for G, state in ((source.G, content["g"]), (source.G_ema, content["g_ema"])):
        w = content["latent_avg"] + 0.7 * (mapped(state, z) - content["latent_avg"])
        assert close(images_of(G, z, psi=0.7), drawn(state, w, reference))
    assert source.metadata["imported"]["format"] == "rosinality .pt"
    assert not source.G_ema.training


def test_the_discriminator_gives_the_logits_of_an_independent_forward_pass(
    content, write, reference
):
    d = content["d"]
    renamed = {
        "from_rgb.weight": d["convs.0.0.weight"],
        "from_rgb.bias": d["convs.0.1.bias"],
        "conv.weight": d["final_conv.0.weight"],
        "conv.bias": d["final_conv.1.bias"],
    }
    for block in range(3):
        for ours, theirs in (("conv0", "conv1.0"), ("conv1", "conv2.1"), ("skip", "skip.1")):
            renamed[f"blocks.{block}.{ours}.weight"] = d[f"convs.{block + 1}.{theirs}.weight"]
        for ours, theirs in (("conv0", "conv1.1"), ("conv1", "conv2.2")):
            renamed[f"blocks.{block}.{ours}.bias"] = d[f"convs.{block + 1}.{theirs}.bias"]
    for ours, theirs in (("fc", "final_linear.0"), ("out", "final_linear.1")):
        for leaf in ("weight", "bias"):
            renamed[f"{ours}.{leaf}"] = d[f"{theirs}.{leaf}"]
    batch = torch.randn(8, 3, 32, 32)
    expected = reference.discriminator(
        {k: v.double() for k, v in renamed.items()}, batch.double(), 4
    )
    source = read_model(write(content))
    assert source.D.config["mbstd_group_size"] == 4
    with torch.no_grad():
        assert close(source.D(batch), expected.float())


@pytest.mark.parametrize("resolution", [16, 64, 128, 256, 512, 1024])
@pytest.mark.parametrize("base", [512, 1024])
def test_resolution_widths_and_depth_are_read_from_shapes(write, resolution, base):
    count = {2**i: max(1, min(base >> i, 8)) for i in range(2, resolution.bit_length())}
    torch.manual_seed(0)
    source = read_model(write({"g_ema": generator_state(count, 3)}))
    config = source.G_ema.config
    assert (config["resolution"], config["mapping_layers"], config["style_dim"]) == (
        resolution,
        3,
        W,
    )
    found = [conv.weight.shape[0] for conv in source.G_ema.synthesis.convs[::2]]
    assert found == list(count.values())


def test_the_public_widths_are_found_as_their_bases():
    for base in (16384, 32768):
        for resolution in (256, 512, 1024):
            count = {2**i: min(base >> i, 512) for i in range(2, resolution.bit_length())}
            assert widths(count, "x") == {"channel_base": base, "channel_max": 512}


def test_widths_that_no_base_gives_are_refused():
    with pytest.raises(UserError, match="dog.pt: its widths"):
        widths({4: 8, 8: 8, 16: 6, 32: 5}, "dog.pt")
    with pytest.raises(UserError, match="blocks of the sides"):
        widths({4: 8, 16: 6}, "dog.pt")


def test_prefixes_of_data_parallel_training_are_dropped(content, write):
    plain = read_model(write(content))
    for key in ("g", "g_ema", "d"):
        content[key] = OrderedDict((f"module.{k}", v) for k, v in content[key].items())
    prefixed = read_model(write(content))
    for name in ("G", "G_ema", "D"):
        states = getattr(plain, name).state_dict(), getattr(prefixed, name).state_dict()
        assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_a_file_of_nada_with_g_ema_alone_gives_no_discriminator(content, write):
    path = write({"g_ema": content["g_ema"], "g_optim": content["g_optim"]})
    source = read_model(path)
    assert source.D is None
    assert torch.equal(source.G.synthesis.const, source.G_ema.synthesis.const)
    assert source.G is not source.G_ema
    assert "a copy" in source.metadata["imported"]["G"]
    with pytest.raises(
        UserError, match=r"FreezeD needs a discriminator, but the file .*dog.pt has"
    ):
        source.discriminator_for("FreezeD")


def test_a_model_without_discriminator_is_kept_as_such(content, write, tmp_path):
    source = read_model(write({"g_ema": content["g_ema"]}))
    for name in ("again.safetensors", "again.pt"):
        if name.endswith(".pt"):
            networks = {"G": source.G, "G_ema": source.G_ema, "D": None}
            rosinality.write(tmp_path / name, networks)
        else:
            save_source(tmp_path / name, source, torch.float32)
        again = read_model(tmp_path / name)
        assert again.D is None
        assert torch.equal(again.G_ema.w_avg, source.G_ema.w_avg)


def test_a_bare_state_dict_is_read_as_g_ema(content, write):
    source = read_model(write(content["g_ema"]))
    assert torch.equal(source.G_ema.synthesis.const, content["g_ema"]["input.input"][0])


def test_a_missing_mean_w_is_estimated_from_a_fixed_seed_and_said(content, write):
    del content["latent_avg"]
    source, again = read_model(write(content)), read_model(write(content))
    assert torch.equal(source.G_ema.w_avg, again.G_ema.w_avg)
    w = mapped(content["g_ema"], torch.randn(50_000, W))
    assert (source.G_ema.w_avg - w.mean(0)).abs().max() < 0.1 * w.std()
    assert "4096 mapped z" in source.metadata["imported"]["w_avg"]


def test_noise_that_old_files_lack_is_drawn_from_a_fixed_seed_and_said(content, write):
    for key in ("g", "g_ema"):
        for name in [name for name in content[key] if name.startswith("noises.")]:
            del content[key][name]
    source, again = read_model(write(content)), read_model(write(content))
    convs = source.G_ema.synthesis.convs
    assert all(conv.noise_const.std() > 0.5 for conv in convs)
    assert not torch.equal(convs[1].noise_const, convs[2].noise_const)
    assert torch.equal(convs[2].noise_const, again.G_ema.synthesis.convs[2].noise_const)
    assert source.metadata["imported"]["noise_const"].startswith("drawn")


def test_loading_draws_no_random_numbers(content, write):
    del content["latent_avg"]
    path = write(content)
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    read_model(path)
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda c: c["g_ema"].pop("convs.1.conv.weight"), "g_ema: has no convs.1.conv.weight"),
        (lambda c: c["g"].pop("noises.noise_2"), "g: has no noises.noise_2"),
        (lambda c: c["g_ema"].update({"extra.weight": torch.zeros(1)}), "g_ema: has extra.weight"),
        (lambda c: c["d"].update({"final_conv.1.bias": torch.zeros(7)}), r"shape \[7\]"),
        (lambda c: c["d"]["convs.1.skip.0.kernel"].mul_(3), "the filter convs.1.skip.0.kernel"),
        (lambda c: c.update(latent_avg=torch.zeros(5)), "latent_avg has 5 numbers"),
        (lambda c: c.update(latent_avg="x"), "latent_avg is no tensor"),
        (lambda c: c["latent_avg"].fill_(math.inf), "dog.pt: the tensor latent_avg has values"),
        (lambda c: c["g"]["style.1.bias"].fill_(math.nan), "g: the tensor style.1.bias has values"),
        (lambda c: c["g_ema"].update({"input.input": 3}), "g_ema: not a state dict"),
        (
            lambda c: c["g_ema"].update({"conv1.noise.weight": torch.zeros(1).int()}),
            "floats expected",
        ),
        (lambda c: c.update(mbstd_group_size=0), "its mbstd_group_size is 0"),
        (lambda c: c.pop("g_ema"), "no source model"),
    ],
)
def test_what_does_not_fit_is_named_in_one_sentence(content, write, change, expected):
    change(content)
    with pytest.raises(UserError, match=expected) as caught:
        read_model(write(content))
    assert "dog.pt" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_widths_that_a_few_tensors_declare_make_nothing_large(content, write):
    wide = torch.zeros(8, 4000)  # its square, four times, is no memory for a file of this size
    content["g_ema"]["conv1.conv.modulation.weight"] = wide
    with pytest.raises(UserError, match="the widths found need 64,"):
        read_model(write(content))


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
    assert f"{name}: is there already; remove it, or name another" in capsys.readouterr().err
    assert other.read_bytes() == b"another model"


def test_widths_of_public_code_are_told_from_others():
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


# Hostile files ------------------------------------------------------------------------------------


def test_a_tensor_under_many_names_is_not_counted_as_many(content, write):
    state, shared = generator_state({4: 1, 8: 1, 16: 1}, 1), torch.zeros(1_000_000)
    state |= {f"x{i}": shared for i in range(100)}
    for name in ("conv1", "convs.1", "convs.3"):
        state[f"{name}.conv.weight"] = torch.zeros(1, 2000, 1, 1, 1)
    with pytest.raises(UserError, match="the widths found need"):
        read_model(write({"g_ema": state}))


@pytest.mark.parametrize("name", ["style.{}.weight", "to_rgbs.{}.conv.weight"])
def test_more_layers_than_any_network_has_make_none(content, write, name):
    state, one = content["g_ema"], torch.zeros(1, 1, 1, 1, 1)
    for i in range(1, 100):
        state[name.format(i)] = state[f"convs.{2 * i + 1}.conv.weight"] = one
    with pytest.raises(UserError, match="no StyleGAN2 is that deep") as caught:
        read_model(write(content))
    assert len(str(caught.value)) < 400


def test_a_generator_without_mapping_layers_is_refused(content, write):
    state = content["g_ema"]
    content["g_ema"] = {k: v for k, v in state.items() if not k.startswith("style.")}
    with pytest.raises(UserError, match="g_ema: its mapping_layers is 0"):
        read_model(write(content))


def test_maps_too_large_to_draw_are_refused_before_they_are_drawn(write):
    one = torch.zeros(1, 40, 1, 1, 1)
    state = {
        "style.1.weight": torch.zeros(2, 2),
        "conv1.conv.modulation.weight": torch.zeros(40, 2),
    }
    state |= {"input.input": torch.zeros(1), "conv1.conv.weight": one}
    for i in range(9):
        state |= {f"to_rgbs.{i}.conv.weight": one, f"convs.{2 * i + 1}.conv.weight": one}
    with pytest.raises(UserError, match="has 40 features at 2048x2048"):
        read_model(write({"g_ema": state}))


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.5, "0.5"),
        (4.7, "4.7"),
        (True, "True"),
        (["x" * 100_000] * 20_000, "a list"),
        ("\x1b[31m", "'.31m'"),
    ],
)
def test_a_setting_that_is_no_count_is_named_in_a_few_words(content, write, value, shown):
    content["mbstd_group_size"] = value
    with pytest.raises(UserError, match=f"mbstd_group_size is {shown}, a whole number") as caught:
        read_model(write(content))
    assert len(str(caught.value)) < 300


def test_a_count_of_thousands_of_digits_is_named_by_its_bits(content, write):
    content["mbstd_group_size"] = 10**5000
    with pytest.raises(UserError, match="mbstd_group_size is a number of 16610 bits"):
        read_model(write(content))


def test_names_of_the_file_come_printable_and_short_into_the_message(content, write, capsys):
    content["g_ema"]["\x1b[31m" + "x" * 100_000] = torch.zeros(1)
    path = write(content)
    assert convert.main(["show", str(path)]) == 2
    error = capsys.readouterr().err.rstrip("\n")
    assert error.isprintable()
    assert len(error) < 400


def test_a_filter_that_is_not_a_number_is_refused(content, write):
    content["g_ema"]["convs.0.conv.blur.kernel"] = torch.full((4, 4), math.nan)
    with pytest.raises(UserError, match="the filter convs.0.conv.blur.kernel"):
        read_model(write(content))


def test_a_folder_is_no_place_to_convert_to(content, write, tmp_path, capsys):
    (tmp_path / "out.pt").mkdir()
    assert convert.main(["convert", str(write(content)), str(tmp_path / "out.pt")]) == 2
    assert "is a folder" in capsys.readouterr().err
