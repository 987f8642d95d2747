"""Read checkpoints of NVlabs' stylegan2-ada-pytorch (`.pkl`).

The file is a pickle of {G, D, G_ema, …}. Its modules carry their Python source, and the original code
runs it to rebuild them. This reader drops the source (nada/stylegan2/readers/unpickle.py) and takes the
tensors from the modules' state: parameters and also buffers, since FreezeD keeps frozen weights as
buffers. Widths, depth and resolution follow from shapes. Minibatch groups, the learning-rate factor of
the mapping and the clamp come from the modules' attributes or constructor arguments.

The conversion renames; no number changes. Two conventions differ without an effect. 3x3 layers
have c = 1 there and 1/sqrt(C_in·9) here, which demodulation cancels up to its 1e-8. Their toRGB
multiplies styles by 1/sqrt(C_in), which is our c of a 1x1 kernel. Their `conv_clamp` (256 in all
configurations) bounds activations; this code has no bound. The conversion is exact if activations stay
below the bound, as in trained networks; the metadata has its value.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from nada.run.errors import UserError
from nada.run.messages import quoted, shown
from nada.stylegan2.architecture import LR_MUL, number
from nada.stylegan2.discriminator import Discriminator
from nada.stylegan2.generator import Generator
from nada.stylegan2.readers.layouts import (
    DRAWN,
    ESTIMATED,
    MBSTD_GROUP_SIZE,
    Layout,
    counted,
    draw_noise,
    empty,
    estimate_w_avg,
    fill,
    joined,
    once,
    parts,
    widths,
)
from nada.stylegan2.readers.unpickle_globals import PERSISTENT
from nada.stylegan2.readers.unpickle_values import Record

FORMAT = "NVlabs PyTorch .pkl"
WHOLE_BATCH = 1 << 16  # their group size None: a group is the batch, whatever its size

# Arguments of the constructors in their order; files store them with or without names.
G_ARGUMENTS = (
    *("z_dim", "c_dim", "w_dim", "img_resolution", "img_channels"),
    *("mapping_kwargs", "synthesis_kwargs"),
)
D_ARGUMENTS = (
    *("c_dim", "img_resolution", "img_channels", "architecture", "channel_base", "channel_max"),
    *("num_fp16_res", "conv_clamp", "cmap_dim", "block_kwargs", "mapping_kwargs"),
    "epilogue_kwargs",
)


def is_nvlabs(tree) -> bool:
    """Whether a tree is of this layout: a dictionary with one or more modules named G, G_ema, D."""
    if not isinstance(tree, dict):
        return False
    return any(_is_module(tree.get(name)) for name in ("G_ema", "G", "D"))


def _is_module(value) -> bool:
    return (
        isinstance(value, Record) and value.origin == PERSISTENT and isinstance(value.state, dict)
    )


def read(tree: dict, where: str) -> tuple[dict, dict]:
    """(networks G, G_ema, D; metadata) of a tree that `is_nvlabs`; D is None if the file's D is None.

    where: the file in messages. Raises UserError for networks of another kind (conditional, 'orig' D,
    G other than 'skip'), and if a tensor is missing, unknown or of another shape.
    """
    if not _is_module(tree.get("G_ema")):
        raise UserError(f"{where}: has no G_ema, the averaged generator; get a complete file")
    metadata: dict = {"format": FORMAT}
    G_ema = _generator(tree["G_ema"], f"{where}: G_ema", metadata)
    G = D = None
    if _is_module(tree.get("G")):
        G = _generator(tree["G"], f"{where}: G", metadata)
    if _is_module(tree.get("D")):
        D = _discriminator(tree["D"], f"{where}: D", metadata)
    return parts(G, G_ema, D, **metadata)


class _Module:
    """A network's record: tensors and attributes of all its modules, and its arguments."""

    def __init__(self, record: Record, arguments: tuple[str, ...], label: str):
        self.label, self.kind = label, record.name
        self.attributes: dict[str, dict] = {}  # of each module, by its path
        self.kinds: dict[str, str] = {}
        tensors: dict[str, Tensor] = {}
        for path, module in _walk(record, label):
            self.attributes[path], self.kinds[path] = module.state, module.name
            for held in ("_parameters", "_buffers"):
                for name, value in _dictionary(module.state.get(held)).items():
                    if isinstance(value, Tensor):
                        tensors[joined(path, name, ".", label)] = value
        self.layout = Layout(tensors, label)
        given = record.state.get("_init_args")
        self.arguments = dict(zip(arguments, given if isinstance(given, tuple | list) else ()))
        self.arguments |= _dictionary(record.state.get("_init_kwargs"))

    def argument(self, *names: str):
        """A constructor argument, by the names of nested arguments; None if it is not stored."""
        value = self.arguments
        for name in names:
            value = _dictionary(value).get(name)
        return value

    def attribute(self, name: str, ending: str = "") -> set:
        """The values of an attribute over all modules whose path has that ending."""
        states = (s for path, s in self.attributes.items() if path.endswith(ending))
        found = (state[name] for state in states if name in state)
        return {value for value in found if isinstance(value, str | int | float | None)}

    def refuse(self, what: str):
        raise UserError(
            f"{self.label}: {what}; only unconditional StyleGAN2 is read, with a 'skip' generator "
            f"and a 'resnet' discriminator"
        )

    def check_kind(self, architecture: str) -> None:
        """Raise UserError for conditional, grey and differently built or activated networks."""
        for size in {*self.attribute("c_dim"), self.argument("c_dim")}:
            if size:
                self.refuse(f"is conditional (c_dim {quoted(size)})")
        for built in {*self.attribute("architecture"), self._architecture()} - {None}:
            if built != architecture:
                self.refuse(f"is of the architecture {quoted(built)}")
        for activation in self.attribute("activation") - {"lrelu", "linear", None}:
            self.refuse(f"has the activation {quoted(activation)}")
        for channels in {*self.attribute("img_channels"), self.argument("img_channels")} - {None}:
            if channels != 3:
                self.refuse(f"makes or takes images of {quoted(channels)} channels")

    def _architecture(self):
        """The architecture among the arguments: of D itself, or of G's blocks."""
        return self.argument("architecture") or self.argument("synthesis_kwargs", "architecture")

    def clamp(self) -> float | None:
        """The bound on activations, or None."""
        found = self.attribute("conv_clamp") - {None}
        return max((number(c, "conv_clamp", self.label) for c in found), default=None)


def _dictionary(value) -> dict:
    return value if isinstance(value, dict) else {}


def _walk(
    record: Record, label: str, path: str = "", seen: set[int] | None = None
) -> Iterator[tuple[str, Record]]:
    """(path, module) of a module and all modules below it; the reader has bounded their depth."""
    seen = set() if seen is None else seen
    once(record, path, seen, label)
    yield path, record
    for name, child in _dictionary(record.state.get("_modules")).items():
        if _is_module(child):
            yield from _walk(child, label, joined(path, name, ".", label), seen)


# Names --------------------------------------------------------------------------------------------


def generator_name(name: str) -> str:
    """Our name of a generator's tensor -> the one in this layout."""
    if name == "mapping.w_avg":
        return name
    if name == "synthesis.const":
        return "synthesis.b4.const"
    _, kind, place, rest = name.split(".", 3)  # mapping.layers.0.weight, synthesis.convs.0.bias
    number = int(place)
    if kind == "layers":
        return f"mapping.fc{number}.{rest}"
    if kind == "to_rgbs":
        return f"synthesis.b{4 << number}.torgb.{rest}"
    # convolution 0 is conv1 of the first block; after it every block has conv0 and conv1
    side, layer = 4 << (number + 1) // 2, "conv0" if number % 2 else "conv1"
    return f"synthesis.b{side}.{layer}.{rest}"


def discriminator_name(name: str, resolution: int) -> str:
    """Our name of a discriminator's tensor -> the one in this layout."""
    kind, rest = name.split(".", 1)
    if kind == "from_rgb":
        return f"b{resolution}.fromrgb.{rest}"
    if kind == "blocks":
        number, rest = rest.split(".", 1)
        return f"b{resolution >> int(number)}.{rest}"
    return f"b4.{name}"


# In -----------------------------------------------------------------------------------------------


def _sides(layout: Layout, pattern: str) -> list[int]:
    """The sides of the blocks that have a tensor of that name, from 4 up, without a gap."""
    return [4 << i for i in range(16) if pattern.format(4 << i) in layout]


def _lr_mul(module: _Module) -> float:
    """The learning-rate factor of the mapping: the factor of its layers' bias."""
    gains = module.attribute("bias_gain", "mapping.fc0")
    recorded = module.argument("mapping_kwargs", "lr_multiplier")
    value = next(iter(gains), LR_MUL if recorded is None else recorded)
    return number(value, "learning-rate factor", module.label)


def _generator(record: Record, label: str, metadata: dict) -> Generator:
    module = _Module(record, G_ARGUMENTS, label)
    layout = module.layout
    if "synthesis.b4.const" not in layout:
        module.refuse(
            f"is a {shown(module.kind)} without synthesis.b4.const, no StyleGAN2 generator"
        )
    if any(path.endswith(".skip") for path in module.attributes):
        module.refuse("is of the architecture 'resnet'")
    module.check_kind("skip")
    channels = {
        side: layout.shape(f"synthesis.b{side}.torgb.weight", 4)[1]
        for side in _sides(layout, "synthesis.b{}.conv1.weight")
    }
    layers = counted(layout, "mapping.fc{}.weight")
    G = empty(
        Generator,
        layout,
        resolution=max(channels),
        z_dim=layout.shape("mapping.fc0.weight", 2)[1],
        style_dim=layout.shape("synthesis.b4.conv1.affine.weight", 2)[1],
        mapping_layers=layers,
        mapping_lr_mul=_lr_mul(module),
        **widths(channels, label),
    )

    def value(name: str, shape: torch.Size) -> Tensor:
        theirs = generator_name(name)
        if theirs not in layout and name == "mapping.w_avg":
            return torch.zeros(shape)
        # layers made without noise have neither its strength nor a stored one
        if theirs not in layout and name.endswith("noise_strength"):
            return torch.zeros(shape)
        if theirs not in layout and name.endswith("noise_const"):
            metadata["noise_const"] = DRAWN
            return draw_noise(shape, int(name.split(".")[2]))
        return layout.take(theirs, shape)

    fill(G, value)
    layout.take_kernels("resample_filter", gain=1)
    layout.finish()
    if "mapping.w_avg" not in layout:
        estimate_w_avg(G)
        metadata["w_avg"] = ESTIMATED
    if module.clamp() is not None:
        metadata["conv_clamp"] = module.clamp()
    return G


def _group_size(module: _Module) -> int:
    """The minibatch group size: the layer's attribute, or the argument, or the default."""
    found = module.attribute("group_size", "b4.mbstd")
    if not found:
        named = _dictionary(module.argument("epilogue_kwargs"))
        found = {named.get("mbstd_group_size", MBSTD_GROUP_SIZE)}
    group = next(iter(found))
    return WHOLE_BATCH if group is None else number(group, "minibatch group", module.label, int)


def _discriminator(record: Record, label: str, metadata: dict) -> Discriminator:
    module = _Module(record, D_ARGUMENTS, label)
    layout = module.layout
    if "b4.fc.weight" not in layout:
        module.refuse(f"is a {shown(module.kind)} without b4.fc, no StyleGAN2 discriminator")
    sides = _sides(layout, "b{}.conv0.weight")
    if not sides:
        module.refuse("has no blocks")
    if f"b{max(sides)}.skip.weight" not in layout:
        module.refuse("is of the architecture 'orig' or 'skip'")
    module.check_kind("resnet")
    resolution = max(sides)
    channels = {side: layout.shape(f"b{side}.conv0.weight", 4)[1] for side in sides}
    channels[4] = layout.shape("b4.conv.weight", 4)[0]
    D = empty(
        Discriminator,
        layout,
        resolution=resolution,
        mbstd_group_size=_group_size(module),
        **widths(channels, label),
    )
    fill(D, lambda name, shape: layout.take(discriminator_name(name, resolution), shape))
    layout.take_kernels("resample_filter", gain=1)
    layout.finish()
    if module.clamp() is not None:
        metadata["conv_clamp"] = module.clamp()
    return D
