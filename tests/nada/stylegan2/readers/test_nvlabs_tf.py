"""NVlabs' TensorFlow pickles, without TensorFlow: equal to a forward pass in that code's conventions."""

import math
import pickle
import sys
import types

import numpy as np
import pytest
import torch

from nada.run.errors import UserError
from nada.stylegan2.convert import read_model
from nada.stylegan2.readers import nvlabs_tf, rosinality
from nada.stylegan2.readers.unpickle import read_pickle
from nada.stylegan2.source_model import save_source
from tests.nada.stylegan2.readers.nvlabs_tf_networks import (
    EasyDict,
    Network,
    W,
    close,
    discriminator,
    drawn,
    generator,
    images_of,
    logits,
    variables_of,
    widths,
)


@pytest.fixture
def write(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in ("dnnlib", "dnnlib.tflib", "dnnlib.tflib.network", "dnnlib.util"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    sys.modules["dnnlib.tflib.network"].Network = Network
    sys.modules["dnnlib.util"].EasyDict = EasyDict
    monkeypatch.setattr(Network, "__module__", "dnnlib.tflib.network")
    monkeypatch.setattr(EasyDict, "__module__", "dnnlib.util")

    def save(content, protocol=4):
        (tmp_path / "net.pkl").write_bytes(pickle.dumps(content, protocol))
        return tmp_path / "net.pkl"

    yield save
    assert not (tmp_path / "canary").exists()


# In -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("resolution", "layers", "group"),
    [(64, 8, 4), (128, 2, 8), (256, 8, 8), (512, 8, 4), (1024, 8, 4)],
)
def test_a_file_draws_and_judges_as_its_variables_say_and_survives_the_round_trip(
    write, tmp_path, resolution, layers, group
):
    torch.manual_seed(resolution)
    count = widths(resolution)
    G, Gs = generator(count, layers), generator(count, layers)
    D = discriminator(count, mbstd_group_size=group)
    source = read_model(write((G, D, Gs)))
    assert source.metadata["imported"]["format"] == "NVlabs TensorFlow .pkl"
    assert source.G_ema.config["mapping_layers"] == layers
    assert source.D.config["mbstd_group_size"] == group

    save_source(tmp_path / "ours.safetensors", source, torch.float32)
    ours = read_model(tmp_path / "ours.safetensors")
    rosinality.write(tmp_path / "theirs.pt", {"G": ours.G, "G_ema": ours.G_ema, "D": ours.D})
    back = read_model(tmp_path / "theirs.pt")
    z = torch.randn(1, W)
    batch = torch.randn(2 if resolution > 256 else 8, 3, resolution, resolution)
    assert close(images_of(back.G_ema, z), drawn(variables_of(Gs), z, 0.7))
    if resolution <= 128:
        assert close(images_of(back.G, z), drawn(variables_of(G), z, 0.7))
    with torch.no_grad():
        assert close(back.D(batch), logits(variables_of(D), batch, group))
    for name in ("G", "G_ema", "D"):
        states = getattr(source, name).state_dict(), getattr(back, name).state_dict()
        assert all(torch.equal(states[0][key], states[1][key]) for key in states[0] | states[1])


@pytest.fixture
def networks():
    torch.manual_seed(0)
    count = widths(16, base=128)
    return [generator(count, 2), discriminator(count), generator(count, 2)]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_value_that_is_not_finite_is_named(write, networks, value):
    names = [name for name, _ in networks[1].state["variables"]]
    networks[1].state["variables"][names.index("Output/bias")][1][...] = value
    with pytest.raises(UserError, match="net.pkl: D: the tensor Output/bias has values that are"):
        read_model(write(tuple(networks)))


def test_arguments_where_files_differ_are_read(write, networks):
    networks[0].state["static_kwargs"]["mapping_lrmul"] = 0.1
    networks[2].state["static_kwargs"]["conv_clamp"] = 256
    source = read_model(write(tuple(networks)))
    assert source.G.config["mapping_lr_mul"] == 0.1
    assert source.G_ema.config["mapping_lr_mul"] == 0.01
    assert source.D.config["mbstd_group_size"] == 4
    assert source.metadata["imported"]["conv_clamp"] == 256


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_protocol_and_double_precision_are_read(write, networks, protocol):
    expected = variables_of(networks[2])["synthesis/4x4/Const/const"][0]
    for network in networks:
        pairs = network.state["variables"]
        network.state["variables"] = [(k, v.astype(np.float64)) for k, v in pairs]
    source = read_model(write(tuple(networks), protocol))
    assert torch.equal(source.G_ema.synthesis.const, expected)
    assert source.G_ema.synthesis.const.dtype == torch.float32


def change_variable(network, name, value):
    pairs = dict(network.state["variables"])
    if value is None:
        del pairs[name]
    else:
        pairs[name] = value
    network.state["variables"] = list(pairs.items())


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            lambda G, D: G.state["static_kwargs"].update(label_size=10),
            "Gs: is conditional",
        ),
        (
            lambda G, D: G.state["static_kwargs"].update(architecture="resnet"),
            "Gs: has architecture 'resnet'",
        ),
        (
            lambda G, D: D.state["static_kwargs"].update(architecture="orig"),
            "D: has architecture 'orig'",
        ),
        (
            lambda G, D: change_variable(D, "16x16/Skip/weight", None),
            "D: has no skip convolutions",
        ),
        (
            lambda G, D: G.state["static_kwargs"].update(resample_kernel=[1, 1]),
            r"Gs: has resample_kernel \[1, 1\]",
        ),
        (
            lambda G, D: G.state["static_kwargs"].update(num_channels=1),
            "Gs: has num_channels 1",
        ),
        (
            lambda G, D: change_variable(G.state["components"]["synthesis"], "noise3", None),
            "Gs: has no synthesis/noise3",
        ),
        (
            lambda G, D: change_variable(D, "extra", np.zeros(1, np.float32)),
            "D: has extra",
        ),
        (
            lambda G, D: change_variable(D, "Output/bias", np.zeros(2, np.float32)),
            r"D: Output/bias has shape \[2\]",
        ),
        (
            lambda G, D: change_variable(D, "Output/bias", np.zeros(1, np.int32)),
            "D: Output/bias is of type int32",
        ),
        (
            lambda G, D: G.state.update(components={}),
            "no StyleGAN2 generator",
        ),
        (lambda G, D: D.state.update(variables=None), "D: a network without variables"),
    ],
)
def test_what_is_another_network_is_refused_by_name(write, networks, change, expected):
    change(networks[2], networks[1])
    with pytest.raises(UserError, match=expected) as caught:
        read_model(write(tuple(networks)))
    assert "net.pkl" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_tuples_are_no_source_models(write, networks):
    with pytest.raises(UserError, match="no source model"):
        read_model(write((1, 2, 3)))
    with pytest.raises(UserError, match="no source model"):
        read_model(write(tuple(networks[:2])))


@pytest.mark.parametrize("value", [["x" * 100_000] * 50_000, "text", 3, True, None])
def test_a_variable_that_is_no_array_is_named_by_its_type(write, networks, value):
    networks[0].state["variables"].append(("odd", value))
    with pytest.raises(UserError, match=f"G: odd is of type {type(value).__name__}, not floats"):
        read_model(write(tuple(networks)))


def test_one_array_under_many_names_is_converted_once(write, networks):
    array = np.zeros(1000, np.float64)
    networks[0].state["variables"] += [(f"odd{i}", array) for i in range(1000)]
    tree = read_pickle(write(tuple(networks)))
    tensors = nvlabs_tf._Network(tree[0], "G").layout.tensors
    assert len({tensors[f"odd{i}"].data_ptr() for i in range(1000)}) == 1


def test_parts_with_endless_names_and_parts_of_two_places_are_refused(write, networks):
    parts = networks[0].state["components"]
    parts["n" * 100_000] = Network("x", {"a": torch.zeros(1)})
    with pytest.raises(UserError, match="G: has a part named 'nnn") as caught:
        read_model(write(tuple(networks)))
    assert len(str(caught.value)) < 400
    del parts["n" * 100_000]
    parts["again"] = parts["mapping"]
    with pytest.raises(UserError, match="G: 'again' is a part that occurs twice"):
        read_model(write(tuple(networks)))


def test_arguments_that_are_not_plain_values_are_named_in_a_few_words(write, networks):
    networks[2].state["static_kwargs"]["architecture"] = ["x" * 100_000] * 50_000
    with pytest.raises(UserError, match="Gs: has architecture a list"):
        read_model(write(tuple(networks)))
