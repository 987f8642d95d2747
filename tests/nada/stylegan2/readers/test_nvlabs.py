"""NVlabs' PyTorch pickles are read without running their code and equal an independent forward pass."""

import io
import pickle
import sys
import types

import pytest
import torch
from torch import nn

from nada.run.errors import UserError
from nada.stylegan2.convert import read_model
from nada.stylegan2.readers import rosinality
from nada.stylegan2.source_model import save_source
from tests.nada.stylegan2.readers import nvlabs_modules
from tests.nada.stylegan2.readers.nvlabs_modules import (
    Discriminator,
    EasyDict,
    FullyConnectedLayer,
    Generator,
    W,
    Z,
    rebuild,
)


@pytest.fixture
def write(monkeypatch, tmp_path):
    """Write a dictionary of networks as NVlabs' training does; nothing may run on the way back."""
    monkeypatch.chdir(tmp_path)
    for name in ("torch_utils", "torch_utils.persistence", "dnnlib", "dnnlib.util"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj = rebuild
    sys.modules["dnnlib.util"].EasyDict = EasyDict
    monkeypatch.setattr(rebuild, "__module__", "torch_utils.persistence")
    monkeypatch.setattr(rebuild, "__qualname__", "_reconstruct_persistent_obj")
    monkeypatch.setattr(rebuild, "__name__", "_reconstruct_persistent_obj")
    monkeypatch.setattr(EasyDict, "__module__", "dnnlib.util")

    def save(content, name="net.pkl", protocol=None):
        file = io.BytesIO()
        pickle.dump(content, file, protocol=protocol)
        (tmp_path / name).write_bytes(file.getvalue())
        return tmp_path / name

    yield save
    assert not (tmp_path / "canary").exists()


def training_kwargs():
    return EasyDict(
        class_name="training.dataset.ImageFolderDataset", path="d.zip", use_labels=False
    )


@torch.no_grad()
def images_of(G, z, psi=0.7):
    return G.synthesis(G.broadcast(G.truncate(G.mapping(z), psi)), noise_mode="const")


def close(ours, theirs):
    scale = max(1.0, theirs.abs().max().item())
    return (ours - theirs).abs().max().item() <= 1e-5 * scale


# cfg, resolution, channel_base / 32, mapping layers, minibatch group
CONFIGURATIONS = [
    ("paper256", 64, 512, 8, 8),
    ("auto", 64, 512, 2, 4),
    ("auto", 128, 512, 2, 4),
    ("stylegan2", 256, 1024, 8, 4),
    ("paper256", 256, 512, 8, 8),
    ("paper512", 512, 1024, 8, 8),
    ("auto", 512, 1024, 2, 4),
    ("paper1024", 1024, 1024, 8, 4),
]


@pytest.mark.parametrize("positional", [False, True])
@pytest.mark.parametrize(("cfg", "resolution", "base", "layers", "group"), CONFIGURATIONS[:2])
def test_arguments_with_and_without_names_give_the_same_networks(
    write, cfg, resolution, base, layers, group, positional
):
    torch.manual_seed(0)
    G = Generator(resolution, base, layers, positional)
    D = Discriminator(resolution, base, group, positional)
    del D.b4.mbstd.group_size  # so that the arguments alone say it
    source = read_model(write({"G": G, "D": D, "G_ema": G}))
    assert source.G.config["mapping_layers"] == layers
    assert source.G.config["channel_base"] == base
    assert source.D.config["mbstd_group_size"] == group


@pytest.mark.parametrize(("cfg", "resolution", "base", "layers", "group"), CONFIGURATIONS)
def test_every_configuration_is_read_converted_and_read_again(
    write, tmp_path, cfg, resolution, base, layers, group
):
    torch.manual_seed(resolution + layers)
    G, G_ema = (Generator(resolution, base, layers, conv_clamp=256).eval() for _ in range(2))
    D = Discriminator(resolution, base, group).eval()
    content = {"G": G, "D": D, "G_ema": G_ema, "augment_pipe": None}
    path = write({"training_set_kwargs": training_kwargs(), **content})

    z = torch.randn(1 if resolution > 256 else 2, Z)
    batch = torch.randn(2 if resolution > 256 else group, 3, resolution, resolution)
    with torch.no_grad():
        expected = {"G_ema": G_ema(z, 0.7), "D": D(batch)}
    assert max(value.abs().max() for value in expected.values()) < 200  # the clamp stays idle

    source = read_model(path)
    save_source(tmp_path / "ours.safetensors", source, torch.float32)
    ours = read_model(tmp_path / "ours.safetensors")
    rosinality.write(tmp_path / "theirs.pt", {"G": ours.G, "G_ema": ours.G_ema, "D": ours.D})
    back = read_model(tmp_path / "theirs.pt")
    assert source.D.config["mbstd_group_size"] == group
    assert close(images_of(back.G_ema, z), expected["G_ema"])
    with torch.no_grad():
        assert close(back.D(batch), expected["D"])
    for model in (ours, back):  # the same numbers draw the same images, to the last bit
        for name in ("G", "G_ema", "D"):
            before, after = getattr(source, name), getattr(model, name)
            assert after.config == before.config
            states = before.state_dict(), after.state_dict()
            assert all(torch.equal(states[0][k], states[1][k]) for k in states[0] | states[1])
    if resolution <= 64:
        assert close(images_of(source.G, z), G(z, 0.7).detach())
    assert source.metadata["imported"]["conv_clamp"] == 256
    assert source.metadata["imported"]["format"] == "NVlabs PyTorch .pkl"


@pytest.fixture
def small():
    torch.manual_seed(1)
    return Generator(16, 512, 2), Discriminator(16, 512, 4)


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_every_protocol_of_pickle_is_read(write, small, protocol):
    G, D = small
    z = torch.randn(2, Z)
    source = read_model(write({"G": G, "D": D, "G_ema": G}, protocol=protocol))
    assert close(images_of(source.G, z), G(z, 0.7).detach())


def test_frozen_weights_in_buffers_are_read(write, small):
    G, D = small
    batch = torch.randn(4, 3, 16, 16)
    expected = D(batch).detach()
    for module in (D.b16.fromrgb, D.b16.conv0, D.b16.conv1, D.b16.skip):
        module.freeze()
    assert "weight" in D.b16.conv0._buffers
    source = read_model(write({"G": G, "D": D, "G_ema": G}))
    with torch.no_grad():
        assert close(source.D(batch), expected)


def test_a_group_of_the_whole_batch_stays_one(write, small):
    G, _ = small
    torch.manual_seed(2)
    D = Discriminator(16, 512, None)
    batch = torch.randn(6, 3, 16, 16)
    source = read_model(write({"G": G, "D": D, "G_ema": G}))
    with torch.no_grad():
        assert close(source.D(batch), D(batch))


def test_the_learning_rate_factor_of_the_mapping_is_read(write):
    torch.manual_seed(3)
    G, z = Generator(16, 512, 2, lr=0.1), torch.randn(2, Z)
    source = read_model(write({"G_ema": G}))
    assert source.G_ema.config["mapping_lr_mul"] == 0.1
    assert close(images_of(source.G_ema, z), G(z, 0.7).detach())


def test_layers_without_noise_are_read_as_noise_of_strength_0(write):
    torch.manual_seed(4)
    G, z = Generator(16, 512, 2, use_noise=False), torch.randn(2, Z)
    source = read_model(write({"G_ema": G}))
    assert close(images_of(source.G_ema, z), G(z, 0.7).detach())
    assert source.metadata["imported"]["noise_const"].startswith("drawn")


def test_an_averaged_generator_alone_gives_a_model_without_discriminator(write, small):
    G, _ = small
    path = write({"G": None, "D": None, "G_ema": G})
    source = read_model(path)
    assert source.D is None
    assert source.G is not source.G_ema
    with pytest.raises(UserError, match="net.pkl has no discriminator"):
        source.discriminator_for("TGAN")


def test_a_mean_w_that_was_not_tracked_is_estimated(write, small):
    G, _ = small
    del G.mapping.w_avg
    source = read_model(write({"G_ema": G}))
    z = torch.randn(20_000, Z)
    expected = G.mapping(z).mean(0)
    assert (source.G_ema.w_avg - expected).abs().max() < 0.1 * G.mapping(z).std()
    assert source.metadata["imported"]["w_avg"].startswith("estimated")


def test_loading_draws_no_random_numbers(write, small):
    G, D = small
    path = write({"G": G, "D": D, "G_ema": G})
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    read_model(path)
    assert torch.equal(torch.rand(1), expected)


# What is refused ----------------------------------------------------------------------------------


def refusal(path) -> str:
    with pytest.raises(UserError) as caught:
        read_model(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_conditional_networks_are_refused_by_name(write, small):
    G, _ = small
    conditional = Generator(16, 512, 2, c_dim=10)
    assert "G_ema: is conditional (c_dim 10)" in refusal(write({"G_ema": conditional}))
    conditional = Discriminator(16, 512, 4, c_dim=10)
    assert "D: is conditional (c_dim 10)" in refusal(write({"D": conditional, "G_ema": G}))


def test_other_architectures_are_refused_by_name(write, small):
    G, _ = small
    for architecture in ("resnet", "orig"):
        other = Generator(16, 512, 2, architecture=architecture)
        assert f"architecture {architecture!r}" in refusal(write({"G_ema": other}))
    plain = Discriminator(16, 512, 4, architecture="orig")
    assert "D: is of the architecture 'orig'" in refusal(write({"D": plain, "G_ema": G}))


def test_other_activations_filters_and_colours_are_refused(write):
    for change, expected in (
        (lambda G: setattr(G.synthesis.b8.conv0, "activation", "relu"), "activation 'relu'"),
        (lambda G: setattr(G, "img_channels", 1), "images of 1 channels"),
        (lambda G: setattr(G.mapping.fc0, "bias_gain", "x"), "its learning-rate factor is 'x'"),
        (lambda G: setattr(G.synthesis.b8.conv0, "conv_clamp", "x"), "its conv_clamp is 'x'"),
        (lambda G: G.synthesis.b8.resample_filter.mul_(2), "not the \\[1,3,3,1\\]"),
    ):
        G = Generator(16, 512, 2)
        change(G)
        with pytest.raises(UserError, match=expected):
            read_model(write({"G_ema": G}))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_value_that_is_not_finite_is_named(write, small, value):
    G, D = small
    with torch.no_grad():
        G.synthesis.b8.conv0.bias[-1] = value
    wanted = "net.pkl: G_ema: the tensor synthesis.b8.conv0.bias has values that are not finite"
    assert wanted in refusal(write({"G_ema": G, "D": D}))


def test_what_is_missing_left_over_or_misshapen_is_named(write):
    for change, expected in (
        (lambda G: delattr(G.synthesis.b8.conv0, "weight"), "has no synthesis.b8.conv0.weight"),
        (
            lambda G: setattr(G.synthesis.b8, "extra", nn.Parameter(torch.zeros(1))),
            "has synthesis.b8.extra",
        ),
        (
            lambda G: setattr(G.synthesis.b8.conv0, "bias", nn.Parameter(torch.zeros(7))),
            r"synthesis.b8.conv0.bias has shape \[7\]",
        ),
        (lambda G: delattr(G.synthesis, "b8"), r"blocks of the sides \[4, 16\]"),
        (lambda G: delattr(G.synthesis, "b4"), "no StyleGAN2 generator"),
    ):
        G = Generator(16, 512, 2)
        change(G)
        with pytest.raises(UserError, match=expected):
            read_model(write({"G_ema": G}))


def test_a_file_without_an_averaged_generator_is_refused(write, small):
    G, D = small
    assert "has no G_ema" in refusal(write({"G": G, "D": D}))
    assert "no source model" in refusal(write({"something": 1}))


def test_a_generator_of_uneven_widths_is_refused(write):
    torch.manual_seed(0)
    G = Generator(16, 512, 2)
    other = Generator(16, 96, 2)  # 16, 12, 6
    G.synthesis.b16 = other.synthesis.b16
    assert "G_ema" in refusal(write({"G_ema": G}))


# Full width ---------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("resolution", "base", "group", "parameters"),
    [(1024, 32768, 4, 30_370_060), (512, 32768, 8, 30_276_583), (256, 16384, 8, 24_767_458)],
    ids=["1024-f", "512-f", "256-e"],
)
def test_full_widths_survive_the_round_trip(
    write, tmp_path, monkeypatch, resolution, base, group, parameters
):
    for name, value in (("Z", 512), ("W", 512), ("TOP", 512)):
        monkeypatch.setattr(nvlabs_modules, name, value)
    torch.manual_seed(0)
    G, D = Generator(resolution, base, 8).eval(), Discriminator(resolution, base, group).eval()
    path = write({"G": G, "D": D, "G_ema": G})
    z, batch = torch.randn(1, 512), torch.randn(group, 3, resolution, resolution)
    with torch.no_grad():
        image, logits = G(z, 0.7), D(batch)
    source = read_model(path)
    assert sum(p.numel() for p in source.G_ema.parameters()) == parameters
    rosinality.write(tmp_path / "theirs.pt", {n: getattr(source, n) for n in ("G", "G_ema", "D")})
    back = read_model(tmp_path / "theirs.pt")
    for model in (source, back):
        assert close(images_of(model.G_ema, z), image)
        with torch.no_grad():
            assert close(model.D(batch), logits)


def generator_16(**synthesis):
    torch.manual_seed(0)
    return Generator(16, 128, 2, **synthesis)


@pytest.mark.parametrize("name", ["n" * 100_000, "\x1b" * 300])
def test_a_part_with_an_endless_name_is_refused_in_a_few_words(write, name):
    G = generator_16()
    G._modules[name] = FullyConnectedLayer(1, 1)
    with pytest.raises(UserError, match="G_ema: has a part named") as caught:
        read_model(write({"G_ema": G}))
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


def test_a_module_that_stands_in_two_places_is_refused(write):
    G = generator_16()
    G.mapping.again = G.mapping.fc0
    with pytest.raises(UserError, match="'mapping.again' is a part that occurs twice"):
        read_model(write({"G_ema": G}))


def test_arguments_that_are_not_plain_values_are_named_by_their_type(write):
    G = generator_16()
    G._init_kwargs["c_dim"] = ("x" * 100_000,) * 50_000
    with pytest.raises(UserError, match="is conditional .c_dim a tuple."):
        read_model(write({"G_ema": G}))


def test_the_size_of_z_is_bounded(write):
    G = generator_16()
    G.mapping.fc0.weight = nn.Parameter(torch.zeros(W, 100_000))
    del G.mapping.w_avg  # so that it would be estimated from thousands of z
    with pytest.raises(UserError, match="its z_dim is 100000"):
        read_model(write({"G_ema": G}))
