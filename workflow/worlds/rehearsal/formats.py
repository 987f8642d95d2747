"""The published file formats, written: the same tensors give the same bytes in any process.

Of each format only what its readers meet is written, from the description of the layout; names and
axes of StyleGAN2 start from NVlabs' PyTorch ones. The Python source that NVlabs' files carry would
raise an error if anything executed it.
"""

import io
import pickle
import re
import struct
import sys
import types
import warnings
import zipfile
from argparse import Namespace
from collections import OrderedDict
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from workflow.worlds.rehearsal.architectures import LR_MUL, StyleGan

FIR = torch.outer(torch.tensor([1.0, 3, 3, 1]), torch.tensor([1.0, 3, 3, 1])) / 64
SOURCE = "raise RuntimeError('source text of a checkpoint was executed')\n"

# torch.save before 1.6 ----------------------------------------------------------------------------
# torch still writes it, but names storages by their address, which differs from run to run.

LEGACY_HEAD = (
    0x1950A86A20F9469CFC6C,
    1001,
    {
        "protocol_version": 1001,
        "little_endian": True,
        "type_sizes": {"short": 2, "int": 4, "long": 4},
    },
)


class _Storage:
    """The numbers of one tensor in a row."""

    def __init__(self, tensor: Tensor):
        if tensor.dtype != torch.float32:
            raise TypeError(f"float32 tensors wanted, got {tensor.dtype}")
        self.numbers = tensor.flatten()


class _Pickler(pickle.Pickler):
    """Tensors and parameters as torch pickles them, each on a storage of its own."""

    def reducer_override(self, value):
        if isinstance(value, nn.Parameter):
            return torch._utils._rebuild_parameter, (value.data, True, OrderedDict())
        if isinstance(value, Tensor):
            value = value.detach().contiguous()
            size, stride = tuple(value.shape), value.stride()
            made_of = (_Storage(value), 0, size, stride, False, OrderedDict())
            return torch._utils._rebuild_tensor_v2, made_of
        if isinstance(value, _Storage):  # inside a plain pickle
            content = io.BytesIO()
            write_legacy(content, value)
            return torch.storage._load_from_bytes, (content.getvalue(),)
        return NotImplemented


class _LegacyPickler(_Pickler):
    """Storages as references; their numbers follow in the file."""

    def __init__(self, file):
        super().__init__(file, protocol=2)
        self.storages: list[_Storage] = []

    def persistent_id(self, value):
        if not isinstance(value, _Storage):
            return None
        self.storages.append(value)
        key, count = str(len(self.storages) - 1), value.numbers.numel()
        return ("storage", torch.FloatStorage, key, "cpu", count, None)


def write_legacy(file, value) -> None:
    """Write a value with tensors to a binary file as torch.save did before 1.6."""
    for part in LEGACY_HEAD:
        pickle.dump(part, file, protocol=2)
    pickler = _LegacyPickler(file)
    pickler.dump(value)
    pickle.dump([str(i) for i in range(len(pickler.storages))], file, protocol=2)
    for storage in pickler.storages:
        file.write(struct.pack("<q", storage.numbers.numel()))
        file.write(storage.numbers.numpy().astype("<f4", copy=False).tobytes())


# rosinality's .pt ---------------------------------------------------------------------------------


def rosinality_generator(t: dict[str, Tensor], size: StyleGan) -> OrderedDict:
    """NVlabs' names -> rosinality's, with its filters (times 4) and stored noise."""
    state = OrderedDict()
    for i in range(size.mapping_layers):
        state[f"style.{i + 1}.weight"] = t[f"mapping.fc{i}.weight"]
        state[f"style.{i + 1}.bias"] = t[f"mapping.fc{i}.bias"]
    state["input.input"] = t["synthesis.b4.const"][None]

    def styled(ours, theirs):
        state[f"{ours}.conv.weight"] = t[f"{theirs}.weight"][None]
        state[f"{ours}.conv.modulation.weight"] = t[f"{theirs}.affine.weight"]
        state[f"{ours}.conv.modulation.bias"] = t[f"{theirs}.affine.bias"]

    def convolution(ours, theirs, place):
        styled(ours, theirs)
        state[f"{ours}.noise.weight"] = t[f"{theirs}.noise_strength"].reshape(1)
        state[f"{ours}.activate.bias"] = t[f"{theirs}.bias"]
        state[f"noises.noise_{place}"] = t[f"{theirs}.noise_const"][None, None]

    def rgb(ours, theirs):
        styled(ours, theirs)
        state[f"{ours}.bias"] = t[f"{theirs}.bias"].reshape(1, 3, 1, 1)

    convolution("conv1", "synthesis.b4.conv1", 0)
    rgb("to_rgb1", "synthesis.b4.torgb")
    for j, side in enumerate(size.sides[1:]):
        convolution(f"convs.{2 * j}", f"synthesis.b{side}.conv0", 2 * j + 1)
        state[f"convs.{2 * j}.conv.blur.kernel"] = 4 * FIR
        convolution(f"convs.{2 * j + 1}", f"synthesis.b{side}.conv1", 2 * j + 2)
        rgb(f"to_rgbs.{j}", f"synthesis.b{side}.torgb")
        state[f"to_rgbs.{j}.upsample.kernel"] = 4 * FIR
    return state


def rosinality_discriminator(t: dict[str, Tensor], size: StyleGan) -> OrderedDict:
    """NVlabs' names -> rosinality's, with its filters."""
    state = OrderedDict()

    def copied(theirs, weight, bias=None):
        state[weight] = t[f"{theirs}.weight"]
        if bias is not None:
            state[bias] = t[f"{theirs}.bias"]

    copied(f"b{size.resolution}.fromrgb", "convs.0.0.weight", "convs.0.1.bias")
    for i, side in enumerate(reversed(size.sides[1:]), start=1):
        block = f"convs.{i}"
        copied(f"b{side}.conv0", f"{block}.conv1.0.weight", f"{block}.conv1.1.bias")
        copied(f"b{side}.conv1", f"{block}.conv2.1.weight", f"{block}.conv2.2.bias")
        copied(f"b{side}.skip", f"{block}.skip.1.weight")
        for layer in ("conv2", "skip"):
            state[f"{block}.{layer}.0.kernel"] = FIR.clone()
    copied("b4.conv", "final_conv.0.weight", "final_conv.1.bias")
    copied("b4.fc", "final_linear.0.weight", "final_linear.0.bias")
    copied("b4.out", "final_linear.1.weight", "final_linear.1.bias")
    return state


def write_rosinality(file, networks: dict[str, dict], size: StyleGan) -> None:
    """Write {G, G_ema, D} of NVlabs' names as rosinality's training code saves them (zip form)."""
    multiplier = size.channel_base // 16384
    content = {
        "g": rosinality_generator(networks["G"], size),
        "d": rosinality_discriminator(networks["D"], size),
        "g_ema": rosinality_generator(networks["G_ema"], size),
        "latent_avg": networks["G_ema"]["mapping.w_avg"],
        "args": Namespace(size=size.resolution, channel_multiplier=multiplier, latent=size.width),
    }
    torch.save(content, file)


# NVlabs' PyTorch pickles ---------------------------------------------------------------------------
# Objects of modules that are not installed here: pickle imports a module to see that a name is in it,
# so for the time of writing there are empty modules of these names.


class _EasyDict(dict):
    __module__, __qualname__ = "dnnlib.util", "EasyDict"


class _Network:
    __module__, __qualname__ = "dnnlib.tflib.network", "Network"

    def __init__(self, **state):
        self.__dict__.update(state)


def _rebuild(_meta):
    raise AssertionError("a name to be written, not a function to be called")


_rebuild.__module__ = "torch_utils.persistence"
_rebuild.__qualname__ = "_reconstruct_persistent_obj"


FOREIGN = (_EasyDict, _Network, _rebuild)


@contextmanager
def _foreign_modules():
    roots = {value.__module__.split(".")[0] for value in FOREIGN}

    def taken_out():
        names = [name for name in sys.modules if name.split(".")[0] in roots]
        return {name: sys.modules.pop(name) for name in names}

    before = taken_out()
    for value in FOREIGN:
        parts = value.__module__.split(".")
        for end in range(1, len(parts) + 1):
            name = ".".join(parts[:end])
            sys.modules.setdefault(name, types.ModuleType(name))
        setattr(sys.modules[value.__module__], value.__qualname__, value)
    try:
        yield
    finally:
        taken_out()
        sys.modules.update(before)


class _Persistent:
    """An object of NVlabs' `persistence`: its class's name, source text and state."""

    def __init__(self, class_name: str, state: dict):
        self.class_name, self.state = class_name, state

    def __reduce__(self):
        meta = {
            "type": "class",
            "version": 6,
            "module_src": SOURCE,
            "class_name": self.class_name,
            "state": self.state,
        }
        return _rebuild, (meta,)


HOOKS = ("backward", "forward", "forward_pre", "state_dict", "load_state_dict_pre")


def _module(kind, parameters=(), buffers=(), children=(), made_with=(), **attributes):
    """A module's record: parameters, buffers, children and constructor's arguments as (name, value)."""
    state = {
        "training": False,
        "_parameters": OrderedDict((k, nn.Parameter(v, False)) for k, v in parameters),
        "_buffers": OrderedDict(buffers),
        "_non_persistent_buffers_set": set(),
        **{f"_{hook}_hooks": OrderedDict() for hook in HOOKS},
        "_modules": OrderedDict(children),
        **attributes,
        "_init_args": (),
        "_init_kwargs": _EasyDict(made_with),
    }
    return _Persistent(kind, state)


class _Nvlabs:
    """Builds the modules of one network around its tensors."""

    def __init__(self, t: dict[str, Tensor], size: StyleGan, clamp: float):
        self.t, self.size, self.clamp = t, size, clamp

    def own(self, name: str, *kinds: str) -> list:
        return [(kind, self.t[f"{name}.{kind}"]) for kind in kinds if f"{name}.{kind}" in self.t]

    def dense(self, name: str, activation="linear", lr_mul=1.0):
        n_in = self.t[f"{name}.weight"].shape[1]
        return _module(
            "FullyConnectedLayer",
            self.own(name, "weight", "bias"),
            activation=activation,
            weight_gain=lr_mul / np.sqrt(n_in),
            bias_gain=lr_mul,
        )

    def affine(self, name: str) -> list:
        return [("affine", self.dense(f"{name}.affine"))]

    def styled(self, name: str, side: int, up: int):
        return _module(
            "SynthesisLayer",
            self.own(name, "weight", "noise_strength", "bias"),
            [("resample_filter", FIR.clone()), *self.own(name, "noise_const")],
            self.affine(name),
            resolution=side,
            up=up,
            use_noise=True,
            activation="lrelu",
            conv_clamp=self.clamp,
            padding=1,
            act_gain=np.sqrt(2),
        )

    def rgb(self, name: str):
        n_in = self.t[f"{name}.weight"].shape[1]
        own = self.own(name, "weight", "bias")
        gain = {"conv_clamp": self.clamp, "weight_gain": 1 / np.sqrt(n_in)}
        return _module("ToRGBLayer", own, children=self.affine(name), **gain)

    def synthesis(self):
        size, blocks = self.size, []
        for side in size.sides:
            name = f"synthesis.b{side}"
            layers = [] if side == 4 else [("conv0", self.styled(f"{name}.conv0", side, up=2))]
            layers.append(("conv1", self.styled(f"{name}.conv1", side, up=1)))
            layers.append(("torgb", self.rgb(f"{name}.torgb")))
            block = _module(
                "SynthesisBlock",
                self.own(name, "const"),
                [("resample_filter", FIR.clone())],
                layers,
                in_channels=0 if side == 4 else size.channels(side // 2),
                w_dim=size.width,
                resolution=side,
                img_channels=3,
                is_last=side == size.resolution,
                architecture="skip",
                use_fp16=side * 16 > size.resolution,
                num_conv=len(layers) - 1,
                num_torgb=1,
            )
            blocks.append((f"b{side}", block))
        return _module(
            "SynthesisNetwork",
            children=blocks,
            w_dim=size.width,
            img_resolution=size.resolution,
            img_channels=3,
            block_resolutions=list(size.sides),
            num_ws=2 * len(size.sides),
        )

    def mapping(self):
        layers = range(self.size.mapping_layers)
        return _module(
            "MappingNetwork",
            buffers=self.own("mapping", "w_avg"),
            children=[(f"fc{i}", self.dense(f"mapping.fc{i}", "lrelu", LR_MUL)) for i in layers],
            z_dim=self.size.width,
            c_dim=0,
            w_dim=self.size.width,
            num_ws=2 * len(self.size.sides),
            num_layers=self.size.mapping_layers,
            w_avg_beta=0.995,
        )

    def generator(self):
        size, half = self.size, {"num_fp16_res": 4, "conv_clamp": self.clamp}
        widths = {"channel_base": size.channel_base, "channel_max": size.channel_max}
        numbers = {
            "z_dim": size.width,
            "c_dim": 0,
            "w_dim": size.width,
            "img_resolution": size.resolution,
            "img_channels": 3,
        }
        made_with = {
            **numbers,
            "mapping_kwargs": _EasyDict(num_layers=size.mapping_layers),
            "synthesis_kwargs": _EasyDict(**widths, **half),
        }
        children = [("synthesis", self.synthesis()), ("mapping", self.mapping())]
        return _module("Generator", children=children, made_with=made_with, **numbers)

    def convolution(self, name: str, activation="lrelu", down=1):
        weight = self.t[f"{name}.weight"]
        return _module(
            "Conv2dLayer",
            self.own(name, "weight", "bias"),
            [("resample_filter", FIR.clone())],
            activation=activation,
            up=1,
            down=down,
            conv_clamp=self.clamp,
            padding=weight.shape[2] // 2,
            weight_gain=1 / np.sqrt(weight[0].numel()),
            act_gain=np.sqrt(2) if activation == "lrelu" else 1,
        )

    def discriminator(self):
        size, blocks = self.size, []
        for side in reversed(size.sides[1:]):
            name = f"b{side}"
            layers = []
            if side == size.resolution:
                layers.append(("fromrgb", self.convolution(f"{name}.fromrgb")))
            layers.append(("conv0", self.convolution(f"{name}.conv0")))
            layers.append(("conv1", self.convolution(f"{name}.conv1", down=2)))
            layers.append(("skip", self.convolution(f"{name}.skip", "linear", down=2)))
            block = _module(
                "DiscriminatorBlock",
                buffers=[("resample_filter", FIR.clone())],
                children=layers,
                resolution=side,
                img_channels=3,
                architecture="resnet",
            )
            blocks.append((name, block))
        epilogue = [
            ("mbstd", _module("MinibatchStdLayer", group_size=size.group, num_channels=1)),
            ("conv", self.convolution("b4.conv")),
            ("fc", self.dense("b4.fc", "lrelu")),
            ("out", self.dense("b4.out")),
        ]
        made = {"resolution": 4, "img_channels": 3, "architecture": "resnet"}
        blocks.append(("b4", _module("DiscriminatorEpilogue", children=epilogue, **made)))
        numbers = {"c_dim": 0, "img_resolution": size.resolution, "img_channels": 3}
        made_with = {
            **numbers,
            "channel_base": size.channel_base,
            "channel_max": size.channel_max,
            "num_fp16_res": 4,
            "conv_clamp": self.clamp,
            "epilogue_kwargs": _EasyDict(mbstd_group_size=size.group),
        }
        return _module("Discriminator", children=blocks, made_with=made_with, **numbers)


CONV_CLAMP = 256  # of every published configuration


def write_nvlabs(file, networks: dict[str, dict], size: StyleGan) -> None:
    """Write {G, G_ema, D} as stylegan2-ada-pytorch pickles them."""
    build = {name: _Nvlabs(t, size, CONV_CLAMP) for name, t in networks.items()}
    content = {
        "G": build["G"].generator(),
        "D": build["D"].discriminator(),
        "G_ema": build["G_ema"].generator(),
        "augment_pipe": None,
        "training_set_kwargs": _EasyDict(resolution=size.resolution, use_labels=False, xflip=True),
    }
    with _foreign_modules():
        _Pickler(file, protocol=3).dump(content)


# NVlabs' TensorFlow pickles ------------------------------------------------------------------------


def _tf(name, function, variables=(), components=(), **static_kwargs) -> _Network:
    return _Network(
        version=4,
        name=name,
        static_kwargs=_EasyDict(static_kwargs),
        components=_EasyDict(components),
        build_module_src=SOURCE,
        build_func_name=function,
        variables=[(key, value.contiguous().numpy()) for key, value in variables],
    )


def tf_generator(t: dict[str, Tensor], size: StyleGan) -> dict[str, dict[str, Tensor]]:
    """NVlabs' PyTorch names -> variables of G itself, its mapping and its synthesis."""
    layers = {}
    for i in range(size.mapping_layers):
        layers[f"Dense{i}/weight"] = t[f"mapping.fc{i}.weight"].T
        layers[f"Dense{i}/bias"] = t[f"mapping.fc{i}.bias"]
    found = {"4x4/Const/const": t["synthesis.b4.const"][None]}

    def styled(ours, theirs, turned=False):
        weight = t[f"{theirs}.weight"]
        # a transposed convolution's kernels are stored turned by 180 degrees
        weight = weight.flip(2, 3) if turned else weight
        found[f"{ours}/weight"] = weight.permute(2, 3, 1, 0)
        found[f"{ours}/mod_weight"] = t[f"{theirs}.affine.weight"].T
        found[f"{ours}/mod_bias"] = t[f"{theirs}.affine.bias"] - 1
        found[f"{ours}/bias"] = t[f"{theirs}.bias"]

    def convolution(ours, theirs, place, turned=False):
        styled(ours, theirs, turned)
        found[f"{ours}/noise_strength"] = t[f"{theirs}.noise_strength"]
        found[f"noise{place}"] = t[f"{theirs}.noise_const"][None, None]

    for j, side in enumerate(size.sides):
        ours, theirs = f"{side}x{side}", f"synthesis.b{side}"
        if side == 4:
            convolution(f"{ours}/Conv", f"{theirs}.conv1", 0)
        else:
            convolution(f"{ours}/Conv0_up", f"{theirs}.conv0", 2 * j - 1, turned=True)
            convolution(f"{ours}/Conv1", f"{theirs}.conv1", 2 * j)
        styled(f"{ours}/ToRGB", f"{theirs}.torgb")
    return {"own": {"dlatent_avg": t["mapping.w_avg"]}, "mapping": layers, "synthesis": found}


def tf_discriminator(t: dict[str, Tensor], size: StyleGan) -> dict[str, Tensor]:
    """NVlabs' PyTorch names -> variables."""
    places = {f"b{size.resolution}.fromrgb": f"{size.resolution}x{size.resolution}/FromRGB"}
    for side in size.sides[1:]:
        for theirs, ours in (("conv0", "Conv0"), ("conv1", "Conv1_down"), ("skip", "Skip")):
            places[f"b{side}.{theirs}"] = f"{side}x{side}/{ours}"
    places |= {"b4.conv": "4x4/Conv", "b4.fc": "4x4/Dense0", "b4.out": "Output"}
    found = {}
    for theirs, ours in places.items():
        weight = t[f"{theirs}.weight"]
        found[f"{ours}/weight"] = weight.permute(2, 3, 1, 0) if weight.ndim == 4 else weight.T
        if f"{theirs}.bias" in t:
            found[f"{ours}/bias"] = t[f"{theirs}.bias"]
    return found


def write_nvlabs_tf(file, networks: dict[str, dict], size: StyleGan) -> None:
    """Write {G, G_ema, D} as (G, D, Gs) of StyleGAN2's TensorFlow code."""
    static = {"num_channels": 3, "resolution": size.resolution, "label_size": 0}
    static |= {"fmap_base": size.channel_base // 2, "fmap_max": size.channel_max}

    def generator(name, t):
        variables = tf_generator(t, size)
        parts = {
            part: _tf(f"G_{part}", f"G_{part}_stylegan2", variables[part].items(), **static)
            for part in ("synthesis", "mapping")
        }
        return _tf(name, "G_main", variables["own"].items(), parts, **static)

    D = _tf("D", "D_stylegan2", tf_discriminator(networks["D"], size).items(), **static)
    content = generator("G", networks["G"]), D, generator("Gs", networks["G_ema"])
    with _foreign_modules():
        pickle.dump(content, file, protocol=4)


# TorchScript archives -------------------------------------------------------------------------------

MANGLED = re.compile(rb"___torch_mangle_(\d+)")


def write_script(file, module: nn.Module) -> None:
    """Compile a module and write its archive.

    torch numbers classes of one name in the order in which the process met them and adds the paths of
    their sources for debugging; the numbers are put in the archive's own order and the paths left
    out, so that the bytes depend on the module alone.
    """
    content = io.BytesIO()
    with warnings.catch_warnings():
        # torch announces the end of TorchScript; the published files are of it
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        torch.jit.save(torch.jit.script(module), content)
    with zipfile.ZipFile(content) as archive:
        names = [name for name in archive.namelist() if not name.endswith(".debug_pkl")]
        names = [name for name in names if not name.endswith("/.data/serialization_id")]
        texts = {n: archive.read(n) for n in names if n.endswith((".py", "/data.pkl"))}
        order: dict[bytes, None] = {}
        for name in sorted(texts, key=lambda name: not name.endswith("/data.pkl")):
            order |= dict.fromkeys(MANGLED.findall(texts[name]))
        places = {number: b"___torch_mangle_%d" % place for place, number in enumerate(order)}

        def renamed(text: bytes) -> bytes:
            return MANGLED.sub(lambda match: places[match[1]], text)

        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as out:
            for name in sorted(names, key=lambda name: renamed(name.encode())):
                entry = zipfile.ZipInfo(renamed(name.encode()).decode())
                out.writestr(entry, renamed(texts[name]) if name in texts else archive.read(name))
