"""The pickle format of NVlabs' stylegan2-ada-pytorch."""

from collections import OrderedDict

import numpy as np
from torch import Tensor, nn

from workflow.worlds.rehearsal.architectures import FIR, LR_MUL, StyleGan
from workflow.worlds.rehearsal.formats.foreign_classes import (
    SOURCE,
    EasyDict,
    foreign_modules,
    rebuild,
)
from workflow.worlds.rehearsal.formats.legacy_torch import Pickler


class _Persistent:
    """An object of NVlabs' `persistence`: class name, source text and state."""

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
        return rebuild, (meta,)


HOOKS = ("backward", "forward", "forward_pre", "state_dict", "load_state_dict_pre")


def _module(kind, parameters=(), buffers=(), children=(), made_with=(), **attributes):
    """A torch module: (name, value) pairs of parameters, buffers, children and constructor arguments."""
    state = {
        "training": False,
        "_parameters": OrderedDict((k, nn.Parameter(v, False)) for k, v in parameters),
        "_buffers": OrderedDict(buffers),
        "_non_persistent_buffers_set": set(),
        **{f"_{hook}_hooks": OrderedDict() for hook in HOOKS},
        "_modules": OrderedDict(children),
        **attributes,
        "_init_args": (),
        "_init_kwargs": EasyDict(made_with),
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
            "mapping_kwargs": EasyDict(num_layers=size.mapping_layers),
            "synthesis_kwargs": EasyDict(**widths, **half),
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
            "epilogue_kwargs": EasyDict(mbstd_group_size=size.group),
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
        "training_set_kwargs": EasyDict(resolution=size.resolution, use_labels=False, xflip=True),
    }
    with foreign_modules():
        Pickler(file, protocol=3).dump(content)
