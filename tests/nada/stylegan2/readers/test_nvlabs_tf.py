"""NVlabs' TensorFlow pickles, without TensorFlow: equal to a forward pass in that code's conventions."""

import math
import pickle
import sys
import types

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from nada.run.errors import UserError
from nada.stylegan2.convert import read_model
from nada.stylegan2.readers import nvlabs_tf, rosinality
from nada.stylegan2.readers.unpickle import read_pickle
from nada.stylegan2.source_model import save_source

W = 12  # size of z and w
FIR = torch.outer(torch.tensor([1.0, 3, 3, 1]), torch.tensor([1.0, 3, 3, 1])) / 64
SOURCE = "import pathlib; pathlib.Path('canary').touch(); raise SystemExit('the source was run')\n"


class Network:
    """Pickles like a network of `dnnlib.tflib`: arguments, source text, variables, parts."""

    def __init__(self, name, variables, components=None, **static_kwargs):
        self.state = {
            "version": 4,
            "name": name,
            "static_kwargs": static_kwargs,
            "components": components or {},
            "build_module_src": SOURCE,
            "build_func_name": name,
            "variables": [(key, value.numpy()) for key, value in variables.items()],
        }

    def __getstate__(self):
        return self.state

    def __setstate__(self, state):
        raise AssertionError("the file's networks were rebuilt")


class EasyDict(dict):
    pass


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


# Variables by the published names -----------------------------------------------------------------


def mapping_variables(layers):
    variables = {}
    for i in range(layers):
        variables[f"Dense{i}/weight"] = torch.randn(W, W) * 100
        variables[f"Dense{i}/bias"] = torch.randn(W) * 30
    return variables


def synthesis_variables(count):
    variables = {"4x4/Const/const": torch.randn(1, count[4], 4, 4)}

    def layer(name, c_in, c_out, kernel, noise=True):
        variables[f"{name}/weight"] = torch.randn(kernel, kernel, c_in, c_out)
        variables[f"{name}/mod_weight"] = torch.randn(W, c_in)
        variables[f"{name}/mod_bias"] = 0.3 * torch.randn(c_in)
        variables[f"{name}/bias"] = 0.3 * torch.randn(c_out)
        if noise:
            variables[f"{name}/noise_strength"] = 0.3 * torch.randn([])

    for side in sorted(count):
        if side == 4:
            layer("4x4/Conv", count[4], count[4], 3)
        else:
            layer(f"{side}x{side}/Conv0_up", count[side // 2], count[side], 3)
            layer(f"{side}x{side}/Conv1", count[side], count[side], 3)
        layer(f"{side}x{side}/ToRGB", count[side], 3, 1, noise=False)
    for i in range(2 * len(count) - 1):
        side = 2 ** ((i + 5) // 2)
        variables[f"noise{i}"] = torch.randn(1, 1, side, side)
    return variables


def discriminator_variables(count):
    variables = {}

    def conv(name, c_in, c_out, kernel, bias=True):
        variables[f"{name}/weight"] = torch.randn(kernel, kernel, c_in, c_out)
        if bias:
            variables[f"{name}/bias"] = 0.3 * torch.randn(c_out)

    top = max(count)
    conv(f"{top}x{top}/FromRGB", 3, count[top], 1)
    for side in sorted(count, reverse=True)[:-1]:
        conv(f"{side}x{side}/Conv0", count[side], count[side], 3)
        conv(f"{side}x{side}/Conv1_down", count[side], count[side // 2], 3)
        conv(f"{side}x{side}/Skip", count[side], count[side // 2], 1, bias=False)
    conv("4x4/Conv", count[4] + 1, count[4], 3)
    for name, c_in, c_out in (("4x4/Dense0", count[4] * 16, count[4]), ("Output", count[4], 1)):
        variables[f"{name}/weight"] = torch.randn(c_in, c_out)
        variables[f"{name}/bias"] = 0.3 * torch.randn(c_out)
    return variables


def generator(count, layers, **static_kwargs):
    top = max(count)
    parts = {
        "synthesis": Network("G_synthesis", synthesis_variables(count), resolution=top),
        "mapping": Network("G_mapping", mapping_variables(layers), mapping_layers=layers),
    }
    own = {"lod": torch.zeros([]), "dlatent_avg": torch.randn(W)}
    kwargs = {"num_channels": 3, "resolution": top, "label_size": 0, **static_kwargs}
    return Network("G_main", own, EasyDict(parts), **kwargs)


def discriminator(count, **static_kwargs):
    kwargs = {"num_channels": 3, "resolution": max(count), "label_size": 0, **static_kwargs}
    return Network("D_stylegan2", discriminator_variables(count), **kwargs)


def variables_of(network, prefix=""):
    found = {f"{prefix}{k}": torch.as_tensor(v) for k, v in network.state["variables"]}
    for name, part in network.state["components"].items():
        found |= variables_of(part, f"{prefix}{name}/")
    return found


# The forward pass in that code's conventions ------------------------------------------------------


def lrelu(x):
    return F.leaky_relu(x, 0.2) * math.sqrt(2)


def oihw(weight):
    """[kh,kw,in,out] at its size in use."""
    return weight.permute(3, 2, 0, 1) / math.sqrt(weight[..., 0].numel())


def fir(x, gain, pad):
    return F.conv2d(F.pad(x, pad), (FIR * gain).expand(x.shape[1], 1, 4, 4), groups=x.shape[1])


def zeros_between(x):
    out = x.new_zeros(*x.shape[:2], 2 * x.shape[2], 2 * x.shape[3])
    out[:, :, ::2, ::2] = x
    return out


def drawn(v, z, psi):
    x = z * (z.square().mean(1, keepdim=True) + 1e-8).rsqrt()
    i = 0
    while f"mapping/Dense{i}/weight" in v:
        weight, bias = v[f"mapping/Dense{i}/weight"], v[f"mapping/Dense{i}/bias"]
        x = lrelu(x @ weight * (0.01 / math.sqrt(W)) + bias * 0.01)
        i += 1
    w = v["dlatent_avg"] + psi * (x - v["dlatent_avg"])

    def modulated(x, name, demodulate, up=False):
        style = w @ v[f"{name}/mod_weight"] / math.sqrt(W) + v[f"{name}/mod_bias"] + 1
        kernels = oihw(v[f"{name}/weight"])[None] * style[:, None, :, None, None]
        if demodulate:
            kernels = kernels / (kernels.square().sum((2, 3, 4), keepdim=True) + 1e-8).sqrt()
        rows = []
        for sample, kernel in zip(x, kernels, strict=True):
            sample = sample[None]
            if up:  # a plain convolution of the widened map
                sample = F.conv2d(zeros_between(sample)[:, :, :-1, :-1], kernel, padding=2)
                rows.append(fir(sample, 4, (1, 1, 1, 1)))
            else:
                rows.append(F.conv2d(sample, kernel, padding=kernel.shape[-1] // 2))
        return torch.cat(rows)

    def styled(x, name, noise, up=False):
        x = modulated(x, name, demodulate=True, up=up)
        x = x + v[f"synthesis/noise{noise}"] * v[f"{name}/noise_strength"]
        return lrelu(x + v[f"{name}/bias"][:, None, None])

    def rgb(x, name):
        return modulated(x, name, demodulate=False) + v[f"{name}/bias"][:, None, None]

    x = v["synthesis/4x4/Const/const"].repeat(len(z), 1, 1, 1)
    x = styled(x, "synthesis/4x4/Conv", 0)
    image = rgb(x, "synthesis/4x4/ToRGB")
    side, noise = 8, 1
    while f"synthesis/{side}x{side}/ToRGB/weight" in v:
        x = styled(x, f"synthesis/{side}x{side}/Conv0_up", noise, up=True)
        x = styled(x, f"synthesis/{side}x{side}/Conv1", noise + 1)
        wide = fir(zeros_between(image), 4, (2, 1, 2, 1))
        image = wide + rgb(x, f"synthesis/{side}x{side}/ToRGB")
        side, noise = side * 2, noise + 2
    return image


def logits(v, images, group):
    def conv(x, name, down=False):
        kernel = oihw(v[f"{name}/weight"])
        if down:
            pad = (kernel.shape[-1] + 1) // 2
            return F.conv2d(fir(x, 1, (pad, pad, pad, pad)), kernel, stride=2)
        return F.conv2d(x, kernel, padding=kernel.shape[-1] // 2)

    def active(x, name):
        return lrelu(x + v[f"{name}/bias"][:, None, None])

    side = images.shape[-1]
    x = active(conv(images, f"{side}x{side}/FromRGB"), f"{side}x{side}/FromRGB")
    while side > 4:
        main = active(conv(x, f"{side}x{side}/Conv0"), f"{side}x{side}/Conv0")
        name = f"{side}x{side}/Conv1_down"
        main = active(conv(main, name, down=True), name)
        x = (main + conv(x, f"{side}x{side}/Skip", down=True)) / math.sqrt(2)
        side //= 2
    size = max(s for s in range(1, min(group, len(x)) + 1) if len(x) % s == 0)
    y = x.reshape(size, -1, *x.shape[1:])
    y = ((y - y.mean(0)).square().mean(0) + 1e-8).sqrt().mean((1, 2, 3))
    x = torch.cat([x, y.repeat(size)[:, None, None, None].expand(-1, 1, 4, 4)], 1)
    x = active(conv(x, "4x4/Conv"), "4x4/Conv").flatten(1)

    def dense(x, name):
        weight = v[f"{name}/weight"]
        return x @ weight / math.sqrt(len(weight)) + v[f"{name}/bias"]

    return dense(lrelu(dense(x, "4x4/Dense0")), "Output")


def close(ours, theirs):
    return (ours - theirs).abs().max().item() <= 1e-5 * max(1.0, theirs.abs().max().item())


@torch.no_grad()
def images_of(G, z, psi=0.7):
    return G.synthesis(G.broadcast(G.truncate(G.mapping(z), psi)), noise_mode="const")


def widths(resolution, base=512, top=8):
    return {2**i: max(1, min(base >> i, top)) for i in range(2, resolution.bit_length())}


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
    with pytest.raises(UserError, match="G: has a part by the name 'nnn") as caught:
        read_model(write(tuple(networks)))
    assert len(str(caught.value)) < 400
    del parts["n" * 100_000]
    parts["again"] = parts["mapping"]
    with pytest.raises(UserError, match="G: 'again' is a part that stands elsewhere"):
        read_model(write(tuple(networks)))


def test_arguments_that_are_no_settings_are_named_in_a_few_words(write, networks):
    networks[2].state["static_kwargs"]["architecture"] = ["x" * 100_000] * 50_000
    with pytest.raises(UserError, match="Gs: has architecture a list"):
        read_model(write(tuple(networks)))
