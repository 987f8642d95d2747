"""Read checkpoints of NVlabs' TensorFlow StyleGAN2 and StyleGAN2-ADA (`.pkl`) without TensorFlow.

The file is a pickle of the tuple (G, D, Gs) of `dnnlib.tflib.network.Network`, each with its source text
(dropped, see nada/stylegan2/readers/unpickle.py) and its variables as (name, array). Convolutions
are [kh,kw,in,out] there, dense layers [in,out]. Kernels of up-convolutions are rotated by 180 degrees.
The bias of style layers lacks the 1 that is added to it. Nothing else differs: in both layouts, the
factors 1/sqrt(fan in) and of the mapping's learning rate are not part of the weights. The metadata
records a `conv_clamp` (StyleGAN2-ADA), see nada/stylegan2/readers/nvlabs.py.
"""

import numpy as np
import torch
from torch import Tensor

from nada.run.errors import UserError
from nada.run.messages import quoted, shown
from nada.stylegan2.architecture import LR_MUL, number
from nada.stylegan2.discriminator import Discriminator
from nada.stylegan2.generator import Generator
from nada.stylegan2.readers.layouts import (
    MBSTD_GROUP_SIZE,
    Layout,
    counted,
    empty,
    fill,
    joined,
    once,
    parts,
    widths,
)
from nada.stylegan2.readers.nvlabs import WHOLE_BATCH
from nada.stylegan2.readers.unpickle_globals import NETWORK
from nada.stylegan2.readers.unpickle_values import Record

FORMAT = "NVlabs TensorFlow .pkl"
FIR = [1, 3, 3, 1]
# Variables that draw nothing: the level of detail of StyleGAN1's growing.
IDLE = ("lod",)


def is_nvlabs_tf(tree) -> bool:
    """Whether a tree is of this layout: a tuple or list of three networks of TensorFlow's dnnlib."""
    if not isinstance(tree, tuple | list) or len(tree) != 3:
        return False
    return all(isinstance(n, Record) and n.origin == NETWORK for n in tree)


def read(tree: tuple, where: str) -> tuple[dict, dict]:
    """(networks G, G_ema, D; metadata) of a tree that `is_nvlabs_tf`; Gs there is G_ema here.

    where: the file in messages. Raises UserError for networks of another kind (StyleGAN1, conditional,
    other architectures), and if a variable is missing, unknown or of another shape.
    """
    metadata: dict = {"format": FORMAT}
    G = _generator(tree[0], f"{where}: G", metadata)
    D = _discriminator(tree[1], f"{where}: D", metadata)
    G_ema = _generator(tree[2], f"{where}: Gs", metadata)
    return parts(G, G_ema, D, **metadata)


class _Network:
    """Variables of a network and of its parts, and the arguments it was made with."""

    def __init__(self, record: Record, label: str):
        self.label = label
        self.arguments: dict = {}
        self.seen: set[int] = set()
        self.arrays: dict[int, Tensor] = {}  # converted arrays; one array may have several names
        variables: dict[str, Tensor] = {}
        self._collect(record, "", variables)
        self.layout = Layout(variables, label)

    def _collect(self, record: Record, prefix: str, variables: dict[str, Tensor]) -> None:
        once(record, prefix, self.seen, self.label)
        state = record.state
        if not isinstance(state, dict) or not isinstance(state.get("variables"), list | tuple):
            raise UserError(f"{self.label}: a network without variables; get the file again")
        for pair in state["variables"]:
            if not isinstance(pair, tuple | list) or len(pair) != 2:
                raise UserError(f"{self.label}: a variable is not (name, array)")
            name, value = pair
            if not isinstance(name, str) or name in IDLE:
                continue
            name = joined(prefix, name, "/", self.label)
            variables[name] = self._floats(name, value)
        if isinstance(state.get("static_kwargs"), dict):
            self.arguments |= state["static_kwargs"]
        for name, part in (state.get("components") or {}).items():
            if isinstance(part, Record) and part.origin == NETWORK:
                self._collect(part, joined(prefix, name, "/", self.label), variables)

    def _floats(self, name: str, value) -> Tensor:
        """A copy of an array in float32; a scalar may be a plain number."""
        if id(value) not in self.arrays:
            plain = isinstance(value, np.ndarray | float)
            kind = value.dtype if isinstance(value, np.ndarray) else type(value).__name__
            if not plain or np.asarray(value).dtype.kind != "f":
                raise UserError(f"{self.label}: {shown(name)} is of type {kind}, not floats")
            self.arrays[id(value)] = torch.from_numpy(np.array(value, np.float32))
        return self.arrays[id(value)]

    def refuse(self, what: str):
        raise UserError(
            f"{self.label}: {what}; only unconditional StyleGAN2 is read, with a 'skip' generator "
            f"and a 'resnet' discriminator"
        )

    def check_kind(self, architecture: str) -> None:
        """Raise UserError for conditional, grey and differently built networks."""
        if self.arguments.get("label_size") or any("Label" in n for n in self.layout.tensors):
            self.refuse("is conditional (it has labels)")
        expected = {
            "architecture": architecture,
            "num_channels": 3,
            "resample_kernel": FIR,
            "nonlinearity": "lrelu",
            "act": "lrelu",
        }
        for name, wanted in expected.items():
            found = self.arguments.get(name, wanted)
            if (list(found) if isinstance(found, tuple) else found) != wanted:
                self.refuse(f"has {name} {quoted(found)}")

    def sides(self, name: str) -> list[int]:
        """The sides of the blocks that have a variable of that name."""
        return [s for s in (4 << i for i in range(16)) if name.format(s, s) in self.layout]

    def note_clamp(self, metadata: dict) -> None:
        clamp = self.arguments.get("conv_clamp")
        if clamp is not None:
            metadata["conv_clamp"] = number(clamp, "conv_clamp", self.label)


# Names and axes -----------------------------------------------------------------------------------

STYLED = {
    "affine.weight": "mod_weight",
    "affine.bias": "mod_bias",
    "weight": "weight",
    "bias": "bias",
    "noise_strength": "noise_strength",
}
BLOCK = {"conv0": "Conv0", "conv1": "Conv1_down", "skip": "Skip"}
ENDS = {"conv": "4x4/Conv", "fc": "4x4/Dense0", "out": "Output"}


def generator_name(name: str) -> str:
    """Our name of a generator's tensor -> the one of the variable."""
    if name == "mapping.w_avg":
        return "dlatent_avg"
    if name == "synthesis.const":
        return "synthesis/4x4/Const/const"
    _, kind, place, rest = name.split(".", 3)
    number = int(place)
    if kind == "layers":
        return f"mapping/Dense{number}/{rest}"
    if rest == "noise_const":
        return f"synthesis/noise{number}"
    if kind == "to_rgbs":
        side, layer = 4 << number, "ToRGB"
    else:
        side = 4 << (number + 1) // 2
        layer = "Conv" if number == 0 else "Conv0_up" if number % 2 else "Conv1"
    return f"synthesis/{side}x{side}/{layer}/{STYLED[rest]}"


def discriminator_name(name: str, resolution: int) -> str:
    """Our name of a discriminator's tensor -> the one of the variable."""
    kind, rest = name.split(".", 1)
    if kind == "from_rgb":
        return f"{resolution}x{resolution}/FromRGB/{rest}"
    if kind == "blocks":
        number, layer, rest = rest.split(".")
        side = resolution >> int(number)
        return f"{side}x{side}/{BLOCK[layer]}/{rest}"
    return f"{ENDS[kind]}/{rest}"


def _take(layout: Layout, theirs: str, shape: torch.Size) -> Tensor:
    """A variable in our axes: [kh,kw,in,out] -> [out,in,kh,kw], [in,out] -> [out,in]."""
    if theirs.endswith("/const"):
        return layout.take(theirs, (1, *shape))[0]
    if "/noise" in theirs and len(shape) == 2:
        return layout.take(theirs, (1, 1, *shape))[0, 0]
    if len(shape) == 4:
        out, features, height, width = shape
        weight = layout.take(theirs, (height, width, features, out)).permute(3, 2, 0, 1)
        return (weight.flip(2, 3) if "Conv0_up" in theirs else weight).contiguous()
    if len(shape) == 2:
        return layout.take(theirs, (shape[1], shape[0])).T.contiguous()
    value = layout.take(theirs, shape)
    return value + 1 if theirs.endswith("mod_bias") else value


# In -----------------------------------------------------------------------------------------------


def _generator(record: Record, label: str, metadata: dict) -> Generator:
    network = _Network(record, label)
    layout = network.layout
    network.check_kind("skip")
    if "synthesis/4x4/Conv/mod_weight" not in layout:
        network.refuse("has no synthesis/4x4/Conv/mod_weight and is no StyleGAN2 generator")
    channels = {
        side: layout.shape(f"synthesis/{side}x{side}/ToRGB/weight", 4)[2]
        for side in (4, *network.sides("synthesis/{}x{}/Conv1/weight"))
    }
    G = empty(
        Generator,
        layout,
        resolution=max(channels),
        z_dim=layout.shape("mapping/Dense0/weight", 2)[0],
        style_dim=layout.shape("synthesis/4x4/Conv/mod_weight", 2)[0],
        mapping_layers=counted(layout, "mapping/Dense{}/weight"),
        mapping_lr_mul=number(
            network.arguments.get("mapping_lrmul", LR_MUL), "mapping_lrmul", label
        ),
        **widths(channels, label),
    )
    fill(G, lambda name, shape: _take(layout, generator_name(name), shape))
    layout.finish()
    network.note_clamp(metadata)
    return G


def _discriminator(record: Record, label: str, metadata: dict) -> Discriminator:
    network = _Network(record, label)
    layout = network.layout
    network.check_kind("resnet")
    sides = network.sides("{}x{}/Conv0/weight")
    if not sides or f"{max(sides)}x{max(sides)}/Skip/weight" not in layout:
        network.refuse("has no skip convolutions: its architecture is not 'resnet'")
    resolution = max(sides)
    channels = {side: layout.shape(f"{side}x{side}/Conv0/weight", 4)[3] for side in sides}
    channels[4] = layout.shape("4x4/Conv/weight", 4)[3]
    group = network.arguments.get("mbstd_group_size", MBSTD_GROUP_SIZE)
    D = empty(
        Discriminator,
        layout,
        resolution=resolution,
        mbstd_group_size=WHOLE_BATCH if group is None else number(group, "group size", label, int),
        **widths(channels, label),
    )
    fill(D, lambda name, shape: _take(layout, discriminator_name(name, resolution), shape))
    layout.finish()
    network.note_clamp(metadata)
    return D
