"""Edits with one interface, found on a source generator and replayed on any generator of its family.

`edit.move(generator, w_plus, strength)` gives the styles of the edited codes, for `rendered`. Strength 0
is the unedited picture. The unit of strength depends on the edit and is given with each class.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from nada.codes import chunks
from nada.editing import interfacegan
from nada.editing.global_directions import move_styles
from nada.editing.style_space import read_styles, render_styles
from nada.editing.styleflow import StyleFlow, change_attributes
from nada.latent_maps import LatentMapper
from nada.stylegan2.generator import Generator


class Edit(Protocol):
    """What every edit has. name: for tables and messages."""

    name: str

    def move(self, generator: Generator, w_plus: Tensor, strength: float) -> list[Tensor]:
        """Styles of the generator for edited codes [N,num_ws,style_dim] (`read_styles`)."""
        ...


@dataclass(frozen=True)
class BoundaryEdit:
    """InterFaceGAN: w + strength · n. normal: n, unit [D]. Strength in units of w.

    slots: those that move; None: all.
    """

    name: str
    normal: np.ndarray
    slots: range | None = None

    def move(self, generator: Generator, w_plus: Tensor, strength: float) -> list[Tensor]:
        return read_styles(generator, interfacegan.move(w_plus, self.normal, strength, self.slots))


@dataclass(frozen=True)
class StyleEdit:
    """StyleCLIP's global direction: s + strength · step. Strength is its α.

    step: [C], of `GlobalDirections.step` on the source generator.
    """

    name: str
    step: Tensor

    def move(self, generator: Generator, w_plus: Tensor, strength: float) -> list[Tensor]:
        return move_styles(generator, w_plus, self.step, strength)


@dataclass(frozen=True)
class MapperEdit:
    """StyleCLIP's mapper: w + strength · (ŵ − w). Strength 1 is the mapper's own move."""

    name: str
    mapper: LatentMapper

    @torch.no_grad()
    def move(self, generator: Generator, w_plus: Tensor, strength: float) -> list[Tensor]:
        moved = w_plus + strength * (self.mapper.map_w_plus(w_plus) - w_plus)
        return read_styles(generator, moved)


@dataclass(frozen=True)
class FlowEdit:
    """StyleFlow: attribute number `index` of each code changes by `strength`, in the attribute's unit.

    attributes: [N,A] of the pictures of the codes that `move` gets, in their order, as the source draws
    them. slots: those that move; None: all.
    """

    name: str
    flow: StyleFlow
    attributes: Tensor
    index: int
    slots: range | None = None

    def move(self, generator: Generator, w_plus: Tensor, strength: float) -> list[Tensor]:
        changed = self.attributes.clone()
        changed[:, self.index] += strength
        moved = change_attributes(self.flow, w_plus, self.attributes, changed, self.slots)
        return read_styles(generator, moved)


@torch.no_grad()
def rendered(
    generator: Generator, edit: Edit, w_plus: Tensor, strength: float, noise_mode: str = "const"
) -> Tensor:
    """Images [N,3,R,R] of edited codes, about [-1,1], rendered in parts without a graph."""
    styles, images, start = edit.move(generator, w_plus, strength), [], 0
    for size in chunks(len(w_plus)):
        part = [style[start : start + size] for style in styles]
        images.append(render_styles(generator, part, noise_mode))
        start += size
    return torch.cat(images)
