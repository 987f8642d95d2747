"""Painting in signed distances: palettes, colours, shapes and a canvas.

Tensors: B images of R x R pixels; colours are RGB in [0, 1].
"""

import math
from dataclasses import dataclass

import torch

INK_WIDTH = 0.020  # half width of an outline, canvas units


@dataclass(frozen=True)
class Palette:
    """Colour conventions of a camera; other palettes give the *shifted* renderer of CLIP's training.

    saturation, brightness: factors of fur and background. hue_shift: turn of all hues, in turns.
    textured: whether fur has a grain. bands: strength of a second background colour in wavy bands.
    ink: width of outlines relative to the standard one.
    """

    saturation: float = 1.0
    brightness: float = 1.0
    hue_shift: float = 0.0
    textured: bool = True
    bands: float = 0.0
    ink: float = 1.0


STANDARD = Palette()


def hsv_to_rgb(hue: torch.Tensor, saturation: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """HSV in [0, 1] (hue periodic), each [B], to RGB [B, 3] in [0, 1]."""
    offsets = torch.tensor([5.0, 3.0, 1.0], device=hue.device)
    k = (offsets[None] + hue[:, None] * 6) % 6
    mix = torch.minimum(k, 4 - k).clamp(0, 1)
    return value[:, None] * (1 - saturation[:, None] * mix)


def along(palette: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
    """Point at u in [0, 1] (shape [B]) on a polyline of colours [B, P, 3] -> [B, 3]."""
    position = u.clamp(0, 1) * (palette.shape[1] - 1)
    left = position.floor().long().clamp(max=palette.shape[1] - 2)
    fraction = (position - left)[:, None]
    rows = torch.arange(len(u), device=u.device)
    return palette[rows, left] * (1 - fraction) + palette[rows, left + 1] * fraction


def gate(u: torch.Tensor, share: torch.Tensor | float, ramp: float = 0.12) -> torch.Tensor:
    """A ramp from 0 to 1 over u, so that `share` of the images show a marking. [B] -> [B, 1, 1]."""
    return ((u - (1 - share)) / ramp).clamp(0, 1)[:, None, None]


def ellipse(x, y, rx, ry):
    """Approximate signed distance to an axis-aligned ellipse at the origin."""
    rx, ry = rx + 1e-4, ry + 1e-4
    k0 = torch.sqrt((x / rx) ** 2 + (y / ry) ** 2 + 1e-9)
    k1 = torch.sqrt((x / rx**2) ** 2 + (y / ry**2) ** 2 + 1e-9)
    return k0 * (k0 - 1) / k1


def capsule(x, y, ax, ay, bx, by, ra, rb):
    """Signed distance to a capsule from a (radius ra) to b (radius rb)."""
    dx, dy = bx - ax, by - ay
    t = (((x - ax) * dx + (y - ay) * dy) / (dx**2 + dy**2 + 1e-6)).clamp(0, 1)
    return torch.sqrt((x - ax - t * dx) ** 2 + (y - ay - t * dy) ** 2 + 1e-9) - (ra + t * (rb - ra))


class Canvas:
    """Painter's algorithm on colour, ink (outlines) and fur (where shading and hatching apply)."""

    def __init__(self, background: torch.Tensor, pixel: torch.Tensor, ink: float) -> None:
        self.colour = background  # [B, 3, R, R]
        batch, _, res, _ = background.shape
        self.ink = background.new_zeros(batch, res, res)
        self.body = background.new_zeros(batch, res, res)
        self._pixel = pixel  # size of a pixel in face units, [B, 1, 1]
        self._ink_width = INK_WIDTH * ink

    def put(self, distance, colour, amount=1.0, outline: float = 1.0) -> None:
        """Paint the inside of a signed distance [B,R,R] in an RGB colour [B,3], `amount` in [0,1] opaque."""
        alpha = (0.5 - distance / self._pixel).clamp(0, 1) * amount
        self.colour = self.colour + alpha[:, None] * (colour[:, :, None, None] - self.colour)
        line = (1 - (distance.abs() - self._ink_width).clamp(min=0) / self._pixel).clamp(0, 1)
        opaque = amount if torch.is_tensor(amount) else float(amount)
        self.ink = torch.maximum(self.ink * (1 - alpha), line * outline * opaque)
        self.body = torch.maximum(self.body, alpha)


def hue_rotation(angle: torch.Tensor) -> torch.Tensor:
    """Turns of RGB about the grey axis by an angle in radians, [N] -> matrices [N, 3, 3]."""
    cos, sin = torch.cos(angle), torch.sin(angle) / math.sqrt(3)
    a, b, c = cos + (1 - cos) / 3, (1 - cos) / 3 - sin, (1 - cos) / 3 + sin
    return torch.stack([torch.stack(row, 1) for row in ((a, b, c), (c, a, b), (b, c, a))], 1)


def turned(rgb: torch.Tensor, turns: float) -> torch.Tensor:
    angle = torch.tensor([2 * math.pi * turns], device=rgb.device)
    return rgb @ hue_rotation(angle)[0].T


def recolour(rgb: torch.Tensor, palette: Palette) -> torch.Tensor:
    if palette.hue_shift:
        rgb = turned(rgb, palette.hue_shift)
    grey = rgb.mean(dim=1, keepdim=True)
    return ((grey + (rgb - grey) * palette.saturation) * palette.brightness).clamp(0, 1)
