"""Checkpoints of OASIS: the public code's, read as plain data, and this project's safetensors.

The public code saves state dicts by torch.save: `<iteration>_EMA.pth` or `best_EMA.pth` of the averaged
generator, `…_G.pth` of the generator behind it, `…_D.pth` of the discriminator (boschresearch/OASIS,
utils/utils.py at 307c852). It samples from the average. No code of a file is executed.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from nada.oasis.generator import COCO_CLASSES, OasisGenerator
from nada.run.atomic import atomic_path, canonical_json, sha256
from nada.run.errors import UserError
from nada.run.finite import check_finite
from nada.run.manifest import METADATA_KEY, described, existing, read_weights
from nada.run.messages import shown
from nada.stylegan2.readers.unpickle import UNEXPECTED, read_state_dict

FORMAT = "oasis-1"
#: How the public code was trained on each data set: labels with the unknown one, image width, width / height.
DATA_SETS = {
    "coco-stuff": {"classes": COCO_CLASSES, "resolution": 256, "aspect_ratio": 1.0},
    "ade20k": {"classes": 151, "resolution": 256, "aspect_ratio": 1.0},
    "cityscapes": {"classes": 35, "resolution": 512, "aspect_ratio": 2.0},
}
Z_DIM = 64  # of every published model; the file has only the sum with the classes
EMA, RAW, UNKNOWN = "EMA", "G", "unknown"
#: Parts of tensor names that only a discriminator of the public code has.
DISCRIMINATOR = ("body_up.", "body_down.", "layer_up_last.")
LARGEST = 1 << 16  # channels, classes or blocks of a network; far above any published one
#: Most numbers that the network may hold beyond those of its file.
SLACK = 1 << 22


@dataclass
class OasisModel:
    """A generator in evaluation mode; `provenance`: JSON-able, where it is from or how it was adapted."""

    generator: OasisGenerator
    provenance: dict = field(default_factory=dict)


# The public code's files ----------------------------------------------------------------------------


def read_official(
    path: str | os.PathLike,
    data_set: str = "coco-stuff",
    z_dim: int = Z_DIM,
    weights: str = EMA,
    resolution: int | None = None,
) -> OasisModel:
    """Read a generator's checkpoint of the public code, in float32 on the CPU.

    data_set: a key of DATA_SETS. weights: "EMA", "G", or "unknown" for a file whose name does not tell.
    resolution: an image width other than the data set's; the file's tensors do not depend on it. Channels,
    kernels and the number of blocks are read from the tensors. Provenance: file, SHA-256, data set, weights.
    Raises UserError if the file is missing, damaged, holds objects, another network, another number of
    classes, raw weights where the average is needed, or a value that is not finite.
    """
    if data_set not in DATA_SETS:
        raise UserError(f"OASIS data set '{data_set}' is not known; known: {', '.join(DATA_SETS)}.")
    path = existing(path)
    _check_weights(path, weights)
    tensors = read_state_dict(path)
    check_finite(path, tensors, "get it again")
    about = dict(DATA_SETS[data_set])
    if resolution is not None:
        about["resolution"] = resolution
    config = {**about, "z_dim": z_dim, **_architecture(path, tensors)}
    _check_classes(path, tensors, config, data_set)
    generator = _build(path, config, tensors)
    origin = {"file": path.name, "sha256": sha256(path), "data_set": data_set, "weights": weights_of(path)}
    return OasisModel(generator, {"imported": origin})


def weights_of(path) -> str:
    """Which weights a file of the public code holds, by its name: EMA, G or "unknown"."""
    name = Path(path).stem.upper()
    return next((kind for kind in (EMA, RAW) if name == kind or name.endswith(f"_{kind}")), UNKNOWN)


def _check_weights(path: Path, wanted: str) -> None:
    if wanted not in (EMA, RAW, UNKNOWN):
        raise UserError(f"OASIS weights '{wanted}' are not known; known: {EMA}, {RAW}, {UNKNOWN}.")
    found = weights_of(path)
    if wanted == UNKNOWN or found == wanted:
        return
    held = f"holds the weights '{found}'" if found != UNKNOWN else "has a name that tells no weights"
    raise UserError(
        f"{path}: {held}, but '{wanted}' were asked for; the public code names its averaged generator "
        f"…_EMA.pth and its raw one …_G.pth: give that file, or ask for '{found}'."
    )


def _architecture(path: Path, tensors: dict[str, Tensor]) -> dict:
    """width, multipliers, hidden and kernel, from the shapes. UserError: no generator of OASIS."""
    if any(name.startswith(DISCRIMINATOR) for name in tensors):
        raise UserError(
            f"{path}: is a discriminator of OASIS; the generator's file ends in _EMA.pth or _G.pth."
        )
    width = _shape(path, tensors, "conv_img.weight", 4)[1]
    blocks = 0
    while f"body.{blocks}.conv_0.weight_orig" in tensors:
        blocks += 1
    if not blocks:
        plain = "body.0.conv_0.weight" in tensors
        why = "was trained without spectral norm" if plain else "has no body.0.conv_0.weight_orig"
        raise UserError(f"{path}: no generator of OASIS that can be read: it {why}.")
    channels = [_shape(path, tensors, "fc.weight", 4)[0]]
    channels += [_shape(path, tensors, f"body.{i}.conv_1.weight_orig", 4)[0] for i in range(blocks)]
    shared = _shape(path, tensors, "body.0.norm_0.mlp_shared.0.weight", 4)
    if not all(1 <= n <= LARGEST for n in (*channels, *shared, width, blocks)):
        raise UserError(f"{path}: no generator of OASIS: it has {max(channels)} channels.")
    if channels[-1] != width or any(n % width for n in channels):
        raise UserError(
            f"{path}: no generator of OASIS: its blocks have the channels {channels}, which are no "
            f"multiples of the last one's {width}."
        )
    multipliers = [n // width for n in channels]
    return {"width": width, "multipliers": multipliers, "hidden": shared[0], "kernel": shared[2]}


def _shape(path: Path, tensors: dict[str, Tensor], name: str, ndim: int) -> list[int]:
    if name not in tensors or tensors[name].ndim != ndim:
        found = f"{name} of shape {list(tensors[name].shape)}" if name in tensors else f"no {name}"
        raise UserError(f"{path}: no generator of OASIS: it has {found}.")
    return list(tensors[name].shape)


def _check_classes(path: Path, tensors: dict[str, Tensor], config: dict, data_set: str) -> None:
    """UserError if the first convolution reads another number of channels than classes and noise give."""
    found, z_dim = tensors["fc.weight"].shape[1], config["z_dim"]
    if found == config["classes"] + z_dim:
        return
    fits = [name for name, about in DATA_SETS.items() if about["classes"] + z_dim == found]
    hint = f"; it fits '{fits[0]}'" if fits else ""
    raise UserError(
        f"{path}: reads {found} channels, which are {found - z_dim} classes and {z_dim} of noise, but "
        f"'{data_set}' has {config['classes']} classes{hint}."
    )


# This project's files -------------------------------------------------------------------------------


def save_oasis(
    path: str | os.PathLike, model: OasisModel, dtype: torch.dtype = torch.float32
) -> None:
    """Write a model to one safetensors file, atomically; equal models give equal bytes.

    dtype: torch.float32, or torch.float16 for shipped weights. Raises UserError, before anything is
    written, for a value that is not finite in it.
    """
    if dtype not in (torch.float16, torch.float32):
        raise UserError(f"dtype: {dtype} given, must be torch.float16 or torch.float32")
    stored = {
        name: tensor.detach().cpu().to(dtype if tensor.is_floating_point() else tensor.dtype, copy=True)
        for name, tensor in model.generator.state_dict().items()
    }
    check_finite(path, stored, f"nothing was written in {dtype}")
    about = {"format": FORMAT, "config": model.generator.config, "provenance": model.provenance}
    with atomic_path(Path(path)) as temporary:
        save_file(stored, temporary, metadata={METADATA_KEY: canonical_json(about)})


def load_oasis(path: str | os.PathLike, device: str | torch.device = "cpu") -> OasisModel:
    """Read a model that `save_oasis` wrote, in float32, evaluation mode and without gradients.

    Raises UserError if the file is missing, damaged, of another format, or inconsistent, or has a value
    that is not finite.
    """
    tensors, metadata = read_weights(path)
    about = described(metadata)
    config, provenance = about.get("config"), about.get("provenance")
    if about.get("format") != FORMAT or not isinstance(config, dict) or not isinstance(provenance, dict):
        raise UserError(
            f"{path}: no OASIS generator of this project; read one of the public code with "
            f"read_official and write it with save_oasis."
        )
    return OasisModel(_build(Path(path), config, tensors).to(device), provenance)


def _build(path: Path, config: dict, tensors: dict[str, Tensor]) -> OasisGenerator:
    """The generator of a configuration with the file's tensors. UserError: they do not fit together."""
    try:
        needed = _numbers(config)
        held = sum(tensor.numel() for tensor in tensors.values())
        if needed > 2 * held + SLACK:  # an incomplete file must not allocate a large network
            raise ValueError(f"it needs {needed:,} numbers, but the file has {held:,}")
        with torch.random.fork_rng(devices=[]):  # the initialisation must not move a run's stream
            generator = OasisGenerator(**config)
        floats = {n: t.float() if t.is_floating_point() else t for n, t in tensors.items()}
        generator.load_state_dict(floats, strict=True)
    except (*UNEXPECTED, ArithmeticError, UserError) as error:
        raise UserError(
            f"{path}: the tensors do not fit an OASIS generator of {config.get('classes')} classes at "
            f"{config.get('resolution')} px: {shown(error, 300)}"
        ) from error
    return generator.eval().requires_grad_(False)


def _numbers(config: dict) -> int:
    """About the numbers that a generator holds: its 3x3 convolutions outside SPADE, and SPADE's."""
    channels = [config["width"] * multiplier for multiplier in config["multipliers"]]
    conditions = config["classes"] + config["z_dim"]
    sizes = [*channels, conditions, config["hidden"], config["resolution"], config["kernel"]]
    if not all(type(n) is int and 0 <= n <= LARGEST for n in sizes):
        raise ValueError(f"its sizes {sizes[:8]} are no whole numbers up to {LARGEST}")
    area, hidden = config["kernel"] ** 2, config["hidden"]
    spade = sum(2 * area * hidden * (conditions + 2 * n) for n in channels[:-1])
    return spade + sum(18 * n * n for n in channels[1:])
