"""How the rehearsal makes each asset of the paper's registry: size, random values and format."""

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from nada.run.atomic import atomic_path, sha256
from workflow.worlds.rehearsal.architectures import (
    ClipSize,
    Inception,
    Numbers,
    StyleGan,
    Vgg,
    clip_tensors,
    inception_tensors,
    stylegan_tensors,
    vgg_tensors,
)
from workflow.worlds.rehearsal.formats.legacy_torch import write_legacy
from workflow.worlds.rehearsal.formats.nvlabs_pickle import write_nvlabs
from workflow.worlds.rehearsal.formats.nvlabs_tf_pickle import write_nvlabs_tf
from workflow.worlds.rehearsal.formats.rosinality_file import write_rosinality
from workflow.worlds.rehearsal.formats.torchscript import write_script
from workflow.worlds.rehearsal.pictures import Afhq, Sketches, write_folder
from workflow.worlds.rehearsal.scripts import InceptionScript, clip_module

PARTS = ("G", "G_ema", "D")


@dataclass(frozen=True)
class Recipe:
    """How one asset is made: `form`, a key of WRITERS; `size`, of the architecture or image set."""

    form: str
    size: object

    def narrow(self) -> "Recipe":
        """The same format with few channels or images."""
        return Recipe(self.form, self.size.narrow())

    @property
    def is_folder(self) -> bool:
        return self.form == "images"


# The published sizes: StyleGAN2's configurations f (1024, LSUN), paper512 and paper256 of its ADA code.
RECIPES = {
    "ffhq_1024": Recipe("rosinality", StyleGan(1024)),
    "afhq_dog_512": Recipe("nvlabs", StyleGan(512, group=8)),
    "ffhq_256": Recipe("nvlabs", StyleGan(256, channel_base=16384, group=8)),
    "lsun_church_256": Recipe("nvlabs_tf", StyleGan(256)),
    "lsun_car_512": Recipe("nvlabs_tf", StyleGan(512)),
    "clip_vit_b_32": Recipe("clip", ClipSize(patch=32)),
    "clip_vit_b_16": Recipe("clip", ClipSize(patch=16)),
    "clip_laion400m_b_32": Recipe("clip_state", ClipSize(patch=32)),
    "inception_clean": Recipe("inception_script", Inception()),
    "inception_pytorch_fid": Recipe("inception_state", Inception()),
    "vgg16": Recipe("vgg", Vgg()),
    "afhq": Recipe("images", Afhq()),
    "sketches_10_shot": Recipe("images", Sketches(count=10)),
    "sketches_fid": Recipe("images", Sketches(count=160)),
}


def tensors(name: str, recipe: Recipe, part: str = "") -> dict[str, Tensor]:
    """Draw the tensors of an asset; part: G, G_ema or D of a StyleGAN2."""
    draw = {"clip": clip_tensors, "clip_state": clip_tensors, "vgg": vgg_tensors}.get(recipe.form, inception_tensors)
    if isinstance(recipe.size, StyleGan):
        return stylegan_tensors(name, recipe.size, part)
    return draw(recipe.size, Numbers(name))


def _stylegan(write):
    def written(file, name, recipe):
        networks = {part: tensors(name, recipe, part) for part in PARTS}
        write(file, networks, recipe.size)

    return written


def _clip(file, name, recipe):
    write_script(file, clip_module(recipe.size, tensors(name, recipe)))


def _clip_state(file, name, recipe):
    """As OpenCLIP publishes its own: a state dict in full precision, without an archive's code."""
    write_legacy(file, OrderedDict((key, x.float()) for key, x in tensors(name, recipe).items()))


def _inception_script(file, name, recipe):
    write_script(file, InceptionScript(tensors(name, recipe)).eval())


def _state(file, name, recipe):
    write_legacy(file, OrderedDict(tensors(name, recipe)))


WRITERS = {
    "rosinality": _stylegan(write_rosinality),
    "nvlabs": _stylegan(write_nvlabs),
    "nvlabs_tf": _stylegan(write_nvlabs_tf),
    "clip": _clip,
    "clip_state": _clip_state,
    "inception_script": _inception_script,
    "inception_state": _state,
    "vgg": _state,
}


def write(name: str, recipe: Recipe, path: Path) -> dict:
    """Write an asset to `path` atomically; returns its entry for the manifest."""
    if recipe.is_folder:
        count = write_folder(path, recipe.size.files(name))
        return {"sha256": digest_of(path), "files": count}
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        WRITERS[recipe.form](file, name, recipe)
    return {"sha256": digest_of(path), "bytes": path.stat().st_size}


def digest_of(path: Path) -> str:
    """SHA-256 of a file; of a folder, of the lines "hash  name" of its files, sorted by name."""
    if path.is_file():
        return sha256(path)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    lines = (f"{sha256(file)}  {file.relative_to(path).as_posix()}\n" for file in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()
