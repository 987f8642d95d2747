"""NVlabs' PyTorch pickles: read without their code, equal to an independent forward pass.

The modules below are written for this test from the description of the layout. They pickle as
published files do, as a call with the source text and the state of each module, and draw by their
own formulas: per-sample weights in a grouped convolution, c = 1 in 3x3 layers, styles / sqrt(C_in)
in toRGB, zeros inserted and a dense filter for up and down.
"""

import io
import math
import pickle
import sys
import types

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nada.run.errors import UserError
from nada.stylegan2.convert import read_model
from nada.stylegan2.readers import rosinality
from nada.stylegan2.source_model import save_source

FIR = torch.outer(torch.tensor([1.0, 3, 3, 1]), torch.tensor([1.0, 3, 3, 1])) / 64
Z = W = TOP = 16  # narrow everything: 1/32 of the published widths


SQRT2 = math.sqrt(2)


def lrelu(x, gain=SQRT2, clamp=None):
    x = F.leaky_relu(x, 0.2) * gain
    return x if clamp is None else x.clamp(-clamp * gain, clamp * gain)


def insert_zeros(x, keep_last):
    n, c, height, width = x.shape
    wide = x.new_zeros(n, c, height, 2, width, 2)
    wide[:, :, :, 0, :, 0] = x
    wide = wide.reshape(n, c, 2 * height, 2 * width)
    return wide if keep_last else wide[:, :, :-1, :-1]


def filtered(x, gain, pad):
    kernel = (FIR * gain).expand(x.shape[1], 1, 4, 4)
    return F.conv2d(F.pad(x, pad), kernel, groups=x.shape[1])


# Modules in the published layout ------------------------------------------------------------------

SOURCE = "import pathlib; pathlib.Path('canary').touch(); raise SystemExit('the source was run')\n"


def rebuild(meta):
    raise AssertionError("the file's modules were rebuilt")


class Persistent(nn.Module):
    """Pickles like a class of NVlabs' `persistence`: source, class name, state."""

    def record(self, *args, **kwargs):
        self._init_args, self._init_kwargs = args, kwargs

    def __reduce__(self):
        meta = {
            "type": "class",
            "version": 6,
            "module_src": SOURCE,
            "class_name": type(self).__name__,
            "state": dict(self.__dict__),
        }
        return rebuild, (meta,)


class FullyConnectedLayer(Persistent):
    def __init__(self, n_in, n_out, activation="linear", lr_multiplier=1.0, bias_init=0.0):
        super().__init__()
        self.record(n_in, n_out, activation=activation, lr_multiplier=lr_multiplier)
        self.activation = activation
        self.weight = nn.Parameter(torch.randn(n_out, n_in) / lr_multiplier)
        self.bias = nn.Parameter((bias_init + 0.3 * torch.randn(n_out)) / lr_multiplier)
        self.weight_gain, self.bias_gain = lr_multiplier / math.sqrt(n_in), lr_multiplier

    def forward(self, x):
        x = x @ (self.weight * self.weight_gain).T + self.bias * self.bias_gain
        return lrelu(x) if self.activation == "lrelu" else x


class MappingNetwork(Persistent):
    def __init__(self, num_layers, lr_multiplier, c_dim=0):
        super().__init__()
        self.record(Z, c_dim, W, num_layers=num_layers, lr_multiplier=lr_multiplier)
        self.z_dim, self.c_dim, self.w_dim, self.num_layers = Z, c_dim, W, num_layers
        if c_dim:
            self.embed = FullyConnectedLayer(c_dim, W)
        for i in range(num_layers):
            layer = FullyConnectedLayer(W, W, "lrelu", lr_multiplier)
            setattr(self, f"fc{i}", layer)
        self.register_buffer("w_avg", 0.5 * torch.randn(W))

    def forward(self, z):
        x = z / (z.square().mean(1, keepdim=True) + 1e-8).sqrt()
        for i in range(self.num_layers):
            x = getattr(self, f"fc{i}")(x)
        return x


def modulated(x, weight, styles, demodulate, up):
    n, c_in = x.shape[:2]
    kernels = weight[None] * styles[:, None, :, None, None]
    if demodulate:
        kernels = kernels / (kernels.square().sum((2, 3, 4), keepdim=True) + 1e-8).sqrt()
    if up:
        x = insert_zeros(x, keep_last=False)
        kernels = kernels.flip(3, 4)  # a transposed convolution
    k = weight.shape[-1]
    x = x.reshape(1, n * c_in, *x.shape[2:])
    kernels = kernels.reshape(n * weight.shape[0], c_in, k, k)
    x = F.conv2d(x, kernels, padding=2 if up else k // 2, groups=n)
    x = x.reshape(n, weight.shape[0], *x.shape[2:])
    return filtered(x, 4, (1, 1, 1, 1)) if up else x


class SynthesisLayer(Persistent):
    def __init__(self, c_in, c_out, resolution, up=1, conv_clamp=256, use_noise=True):
        super().__init__()
        self.record(c_in, c_out, w_dim=W, resolution=resolution, up=up)
        self.resolution, self.up, self.conv_clamp = resolution, up, conv_clamp
        self.use_noise, self.activation = use_noise, "lrelu"
        self.register_buffer("resample_filter", FIR.clone())
        self.affine = FullyConnectedLayer(W, c_in, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(c_out, c_in, 3, 3))
        if use_noise:
            self.register_buffer("noise_const", torch.randn(resolution, resolution))
            self.noise_strength = nn.Parameter(0.3 * torch.randn([]))
        self.bias = nn.Parameter(0.3 * torch.randn(c_out))

    def forward(self, x, w):
        x = modulated(x, self.weight, self.affine(w), True, self.up == 2)
        if self.use_noise:
            x = x + self.noise_const * self.noise_strength
        return lrelu(x + self.bias[:, None, None], clamp=self.conv_clamp)


class ToRGBLayer(Persistent):
    def __init__(self, c_in, conv_clamp=256):
        super().__init__()
        self.record(c_in, 3, w_dim=W)
        self.conv_clamp, self.weight_gain = conv_clamp, 1 / math.sqrt(c_in)
        self.weight = nn.Parameter(torch.randn(3, c_in, 1, 1))
        self.bias = nn.Parameter(0.3 * torch.randn(3))
        self.affine = FullyConnectedLayer(W, c_in, bias_init=1.0)

    def forward(self, x, w):
        styles = self.affine(w) * self.weight_gain
        x = modulated(x, self.weight, styles, False, False) + self.bias[:, None, None]
        return x if self.conv_clamp is None else x.clamp(-self.conv_clamp, self.conv_clamp)


class SynthesisBlock(Persistent):
    def __init__(self, c_in, c_out, resolution, last, architecture, **layer):
        super().__init__()
        self.record(c_in, c_out, W, resolution, 3, last, architecture=architecture)
        self.architecture, self.resolution, self.img_channels = architecture, resolution, 3
        self.register_buffer("resample_filter", FIR.clone())
        if c_in == 0:
            self.const = nn.Parameter(torch.randn(c_out, 4, 4))
        else:
            self.conv0 = SynthesisLayer(c_in, c_out, resolution, up=2, **layer)
        self.conv1 = SynthesisLayer(c_out, c_out, resolution, **layer)
        if last or architecture == "skip":
            self.torgb = ToRGBLayer(c_out, layer.get("conv_clamp"))
        if c_in and architecture == "resnet":
            self.skip = Conv2dLayer(c_in, c_out, 1, bias=False)

    def forward(self, x, image, slots):
        if x is None:
            x = self.const.expand(len(slots[0]), -1, -1, -1)
        else:
            x = self.conv0(x, slots[0])
            slots = slots[1:]
        x = self.conv1(x, slots[0])
        rgb = self.torgb(x, slots[1])
        if image is None:
            return x, rgb
        return x, filtered(insert_zeros(image, keep_last=True), 4, (2, 1, 2, 1)) + rgb


def sides_of(resolution):
    return [2**i for i in range(2, resolution.bit_length())]


def widths(resolution, base):
    return {side: max(1, min(base // side, TOP)) for side in sides_of(resolution)}


class SynthesisNetwork(Persistent):
    def __init__(self, resolution, base, architecture="skip", **layer):
        super().__init__()
        self.record(W, resolution, 3, channel_base=base, **layer)
        self.img_resolution, self.w_dim, self.img_channels = resolution, W, 3
        count = widths(resolution, base)
        for side in count:
            block = SynthesisBlock(
                count[side // 2] if side > 4 else 0,
                count[side],
                side,
                side == resolution,
                architecture,
                **layer,
            )
            setattr(self, f"b{side}", block)

    def forward(self, ws):
        x = image = None
        slot = 0
        for side in sides_of(self.img_resolution):
            slots = [ws[:, k] for k in range(slot, slot + (3 if side > 4 else 2))]
            x, image = getattr(self, f"b{side}")(x, image, slots)
            slot += len(slots) - 1  # toRGB shares its slot with the next block
        return image


class Generator(Persistent):
    def __init__(self, resolution, base, layers, positional=False, c_dim=0, lr=0.01, **synthesis):
        super().__init__()
        mapping_kwargs = {"num_layers": layers}
        synthesis_kwargs = {"channel_base": base, **synthesis}
        if positional:
            self.record(Z, c_dim, W, resolution, 3, mapping_kwargs, synthesis_kwargs)
        else:
            self.record(
                z_dim=Z, c_dim=c_dim, w_dim=W, img_resolution=resolution, img_channels=3,
                mapping_kwargs=mapping_kwargs, synthesis_kwargs=synthesis_kwargs,
            )  # fmt: skip
        self.z_dim, self.c_dim, self.w_dim = Z, c_dim, W
        self.img_resolution, self.img_channels = resolution, 3
        self.num_ws = 2 * len(sides_of(resolution))
        self.synthesis = SynthesisNetwork(resolution, base, **synthesis)
        self.mapping = MappingNetwork(layers, lr, c_dim)

    def forward(self, z, psi):
        w = self.mapping.w_avg + psi * (self.mapping(z) - self.mapping.w_avg)
        return self.synthesis(w[:, None].repeat(1, self.num_ws, 1))


class Conv2dLayer(Persistent):
    def __init__(self, c_in, c_out, kernel, bias=True, down=1, activation="lrelu", clamp=256):
        super().__init__()
        self.record(c_in, c_out, kernel_size=kernel, bias=bias, down=down, conv_clamp=clamp)
        self.activation, self.down, self.conv_clamp = activation, down, clamp
        self.weight_gain = 1 / math.sqrt(c_in * kernel**2)
        self.register_buffer("resample_filter", FIR.clone())
        self.weight = nn.Parameter(torch.randn(c_out, c_in, kernel, kernel))
        self.bias = nn.Parameter(0.3 * torch.randn(c_out)) if bias else None

    def freeze(self):
        """FreezeD: the same tensors as buffers."""
        for name, value in list(self._parameters.items()):
            if value is not None:
                del self._parameters[name]
                self.register_buffer(name, value.detach())

    def forward(self, x, gain=1.0):
        weight, k = self.weight * self.weight_gain, self.weight.shape[-1]
        if self.down == 2:
            pad = (k + 1) // 2
            x = filtered(x, 1, (pad, pad, pad, pad))
            x = F.conv2d(x, weight)[:, :, ::2, ::2]
        else:
            x = F.conv2d(x, weight, padding=k // 2)
        if self.bias is not None:
            x = x + self.bias[:, None, None]
        clamp = None if self.conv_clamp is None else self.conv_clamp * gain
        if self.activation == "lrelu":
            return lrelu(x, math.sqrt(2) * gain, self.conv_clamp)
        return x * gain if clamp is None else (x * gain).clamp(-clamp, clamp)


class MinibatchStdLayer(Persistent):
    def __init__(self, group_size):
        super().__init__()
        self.record(group_size=group_size, num_channels=1)
        self.group_size, self.num_channels = group_size, 1

    def forward(self, x):
        n = len(x)
        group = n if self.group_size is None else min(self.group_size, n)
        y = x.reshape(group, n // group, *x.shape[1:])
        y = (y.var(0, unbiased=False) + 1e-8).sqrt().mean((1, 2, 3))
        return torch.cat([x, y.repeat(group)[:, None, None, None].expand(-1, 1, 4, 4)], 1)


class DiscriminatorBlock(Persistent):
    def __init__(self, c_in, c_out, resolution, first, architecture, conv_clamp=256):
        super().__init__()
        self.record(0 if first else c_in, c_in, c_out, resolution, 3, architecture=architecture)
        self.architecture, self.resolution, self.img_channels = architecture, resolution, 3
        self.register_buffer("resample_filter", FIR.clone())
        if first:
            self.fromrgb = Conv2dLayer(3, c_in, 1, clamp=conv_clamp)
        self.conv0 = Conv2dLayer(c_in, c_in, 3, clamp=conv_clamp)
        self.conv1 = Conv2dLayer(c_in, c_out, 3, down=2, clamp=conv_clamp)
        if architecture == "resnet":
            self.skip = Conv2dLayer(c_in, c_out, 1, False, 2, "linear", clamp=conv_clamp)

    def forward(self, x):
        if hasattr(self, "fromrgb"):
            x = self.fromrgb(x)
        gain = math.sqrt(0.5)
        return self.skip(x, gain) + self.conv1(self.conv0(x), gain)


class DiscriminatorEpilogue(Persistent):
    def __init__(self, c, group, cmap_dim=0):
        super().__init__()
        self.record(c, cmap_dim=cmap_dim, mbstd_group_size=group)
        self.in_channels, self.cmap_dim, self.architecture = c, cmap_dim, "resnet"
        self.mbstd = MinibatchStdLayer(group)
        self.conv = Conv2dLayer(c + 1, c, 3)
        self.fc = FullyConnectedLayer(c * 16, c, "lrelu")
        self.out = FullyConnectedLayer(c, cmap_dim or 1)

    def forward(self, x):
        return self.out(self.fc(self.conv(self.mbstd(x)).flatten(1)))


class Discriminator(Persistent):
    def __init__(self, resolution, base, group, positional=False, c_dim=0, architecture="resnet"):
        super().__init__()
        epilogue = {"mbstd_group_size": group}
        if positional:
            rest = (base, 512, 0, None, None, {}, {}, epilogue)
            self.record(c_dim, resolution, 3, architecture, *rest)
        else:
            self.record(
                c_dim=c_dim, img_resolution=resolution, img_channels=3, channel_base=base,
                epilogue_kwargs=epilogue,
            )  # fmt: skip
        self.c_dim, self.img_resolution, self.img_channels = c_dim, resolution, 3
        count = widths(resolution, base)
        for side in reversed(sides_of(resolution)[1:]):
            first = side == resolution
            block = DiscriminatorBlock(count[side], count[side // 2], side, first, architecture)
            setattr(self, f"b{side}", block)
        if c_dim:
            self.mapping = MappingNetwork(2, 0.01, c_dim)
        self.b4 = DiscriminatorEpilogue(count[4], group, 8 if c_dim else 0)

    def forward(self, x):
        for side in reversed(sides_of(self.img_resolution)[1:]):
            x = getattr(self, f"b{side}")(x)
        return self.b4(x)


class EasyDict(dict):
    pass


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
        monkeypatch.setitem(globals(), name, value)
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
    with pytest.raises(UserError, match="G_ema: has a part by the name") as caught:
        read_model(write({"G_ema": G}))
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


def test_a_module_that_stands_in_two_places_is_refused(write):
    G = generator_16()
    G.mapping.again = G.mapping.fc0
    with pytest.raises(UserError, match="'mapping.again' is a part that stands elsewhere"):
        read_model(write({"G_ema": G}))


def test_arguments_that_are_no_settings_are_named_by_their_type(write):
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
