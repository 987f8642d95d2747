"""The mini world's camera: faces of animals and people drawn from known factors.

An image is a pure function of (species, style, u) where ``u`` are uniform numbers in [0, 1). All randomness is in
``u``, so the same ``u`` with another species is the ground-truth counterpart of an image, and pose and colours are
known labels. Shapes are signed distances on a pixel grid with analytic antialiasing, hence the same picture at every
resolution. Every factor acts continuously (also ears: one tapered capsule whose lift, length and sharpness vary), so
that a small generator can learn the map from latents to pictures.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

SPECIES = ("dog", "cat", "bear", "fox", "rabbit", "lion", "person")
STYLES = ("photo", "sketch", "cartoon", "painting")

# Names of the uniforms, in the order of u's columns.
UNIFORMS = (
    "shift_x", "shift_y", "rotation", "scale", "yaw",
    "head_w", "head_h", "taper", "muzzle_w", "muzzle_h", "muzzle_y",
    "nose_w", "nose_y", "eye_x", "eye_y", "eye_size",
    "ear_lift", "ear_length", "ear_width",
    "fur", "fur_light", "iris", "background_hue", "background_saturation", "background_value",
    "light", "marking_a", "marking_b", "mouth", "gaze",
)  # fmt: skip
NUM_UNIFORMS = len(UNIFORMS)

# What the judge learns to read off an image; the correspondence score compares them (eval/correspondence.py).
FACTORS = (
    "shift_x", "shift_y", "rotation", "scale", "yaw",
    "background_r", "background_g", "background_b", "fur_r", "fur_g", "fur_b",
)  # fmt: skip

# Pose ranges shared by all species, in canvas units (the canvas is [-1, 1] x [-1, 1], y down) and radians.
POSE = {
    "shift_x": (-0.12, 0.12),
    "shift_y": (-0.02, 0.16),
    "rotation": (-0.25, 0.25),
    "scale": (0.95, 1.20),
    "yaw": (-0.09, 0.09),
}

# Shape ranges (low, high) by species; columns in the order dog, cat, bear, fox, rabbit, lion, person.
_SHAPE = {
    #             dog           cat           bear          fox           rabbit        lion          person
    "head_w": ((.44, .54), (.50, .57), (.58, .66), (.50, .58), (.40, .46), (.48, .54), (.40, .46)),
    "head_h": ((.44, .56), (.42, .48), (.50, .57), (.42, .49), (.46, .53), (.50, .56), (.56, .63)),
    "taper": ((.00, .22), (.08, .18), (-.06, .04), (.34, .48), (.06, .16), (-.05, .06), (.12, .24)),
    "muzzle_w": ((.20, .31), (.20, .25), (.26, .32), (.13, .17), (.16, .20), (.26, .31), (.00, .00)),
    "muzzle_h": ((.15, .26), (.11, .14), (.18, .22), (.15, .20), (.11, .14), (.19, .23), (.00, .00)),
    "muzzle_y": ((.16, .26), (.17, .21), (.20, .25), (.24, .30), (.20, .26), (.20, .25), (.20, .24)),
    "nose_w": ((.09, .15), (.055, .075), (.11, .14), (.06, .08), (.045, .06), (.12, .15), (.045, .06)),
    "nose_y": ((.06, .14), (.11, .15), (.10, .14), (.28, .34), (.14, .18), (.08, .12), (.10, .14)),
    "eye_x": ((.17, .22), (.21, .25), (.19, .23), (.18, .22), (.20, .23), (.17, .21), (.15, .18)),
    "eye_y": ((-.16, -.08), (-.08, -.03), (-.10, -.05), (-.08, -.03), (-.06, -.01), (-.10, -.05), (-.06, -.02)),
    "eye_size": ((.055, .080), (.105, .130), (.045, .058), (.060, .075), (.085, .105), (.055, .070), (.070, .085)),
    # Ear: angle of the attachment on the head and direction of the tip (0 is up, pi/2 is sideways, pi is down).
    "ear_at": ((.60, 1.02), (.58, .66), (.72, .82), (.56, .64), (.20, .30), (.78, .86), (1.5, 1.6)),
    "ear_angle": ((.25, 2.95), (.22, .34), (.70, .90), (.22, .34), (.05, .32), (.80, 1.0), (1.5, 1.6)),
    "ear_length": ((.34, .50), (.32, .42), (.10, .15), (.38, .48), (.55, .70), (.08, .12), (.02, .04)),
    "ear_base": ((.13, .19), (.18, .22), (.15, .19), (.18, .22), (.10, .13), (.12, .15), (.07, .09)),
    "ear_tip": ((.04, .17), (.01, .03), (.14, .18), (.01, .03), (.05, .08), (.11, .14), (.05, .07)),
}  # fmt: skip

# Fur palettes in RGB [0, 1]: the `fur` uniform walks along them by linear interpolation, without jumps.
_FUR = {
    "dog": ((.20, .17, .16), (.45, .29, .17), (.71, .49, .27), (.86, .74, .55), (.93, .91, .87)),
    "cat": ((.15, .15, .17), (.48, .49, .53), (.74, .74, .76), (.88, .60, .30), (.87, .49, .18)),
    "bear": ((.17, .13, .11), (.30, .20, .13), (.42, .28, .17), (.50, .35, .22), (.55, .40, .27)),
    "fox": ((.75, .27, .08), (.84, .35, .10), (.90, .42, .12), (.92, .48, .16), (.94, .55, .22)),
    "rabbit": ((.55, .46, .38), (.66, .60, .54), (.72, .70, .70), (.84, .82, .80), (.95, .94, .93)),
    "lion": ((.80, .58, .28), (.84, .63, .32), (.87, .68, .38), (.90, .72, .44), (.92, .77, .50)),
    "person": ((.36, .23, .16), (.55, .37, .26), (.74, .54, .41), (.88, .69, .56), (.95, .80, .69)),
}  # fmt: skip
_IRIS = {
    "dog": ((.22, .12, .06), (.30, .17, .08), (.38, .23, .10)),
    "cat": ((.20, .72, .30), (.88, .82, .20), (.30, .65, .95)),
    "bear": ((.13, .09, .06), (.18, .11, .07), (.22, .14, .08)),
    "fox": ((.78, .52, .12), (.84, .60, .16), (.90, .66, .20)),
    "rabbit": ((.20, .10, .08), (.28, .13, .10), (.40, .14, .14)),
    "lion": ((.70, .50, .15), (.76, .56, .18), (.82, .62, .22)),
    "person": ((.22, .14, .08), (.22, .45, .30), (.26, .46, .75)),
}  # fmt: skip
_NOSE_COLOUR = ((.09, .08, .09), (.93, .55, .60), (.08, .07, .07), (.07, .06, .06),
                (.92, .60, .64), (.25, .14, .12), (.70, .45, .36))  # fmt: skip
_EAR_INNER = ((.62, .45, .38), (.95, .66, .68), (.60, .44, .32), (.12, .08, .07),
              (.95, .70, .72), (.62, .44, .28), (.80, .58, .46))  # fmt: skip
# Amounts in [0, 1] by species.
_INNER_AMOUNT = (0.30, 1.0, 0.8, 1.0, 1.0, 0.8, 0.0)
_EAR_DARK = (0.55, 1.0, 0.95, 1.0, 1.0, 1.0, 0.95)  # brightness of the ear relative to the head
_MUZZLE_LIGHT = (0.60, 0.35, 0.45, 0.85, 0.45, 0.55, 0.0)  # mix of the muzzle towards white
_CHEEK = (0.0, 0.0, 0.0, 0.9, 0.0, 0.0, 0.0)
_MANE = (0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0)
_HAIR = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)
_WHISKERS = (0.0, 1.0, 0.0, 0.3, 0.7, 0.0, 0.0)
_SLIT = (0.75, 0.30, 0.75, 0.42, 0.75, 0.60, 0.55)  # pupil width relative to the iris
_PUPIL = (0.75, 0.85, 0.75, 0.75, 0.75, 0.60, 0.55)  # pupil height relative to the iris
_SCLERA = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)
_MOUTH = (1.0, 0.8, 0.8, 0.5, 0.6, 0.8, 0.0)
_LIPS = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)

INK_WIDTH = 0.020  # half width of an outline, canvas units


@dataclass(frozen=True)
class Palette:
    """Colour and noise conventions of a camera; another palette gives a *shifted* renderer for CLIP's training."""

    saturation: float = 1.0
    brightness: float = 1.0
    hue_shift: float = 0.0
    textured: bool = True


STANDARD = Palette()


def hsv_to_rgb(hue: torch.Tensor, saturation: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """HSV in [0, 1] (hue periodic), each [B], to RGB [B, 3] in [0, 1]."""
    offsets = torch.tensor([5.0, 3.0, 1.0], device=hue.device)
    k = (offsets[None] + hue[:, None] * 6) % 6
    mix = torch.minimum(k, 4 - k).clamp(0, 1)
    return value[:, None] * (1 - saturation[:, None] * mix)


def _along(palette: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
    """Point at u in [0, 1] (shape [B]) on a polyline of colours [B, P, 3] -> [B, 3]."""
    position = u.clamp(0, 1) * (palette.shape[1] - 1)
    left = position.floor().long().clamp(max=palette.shape[1] - 2)
    fraction = (position - left)[:, None]
    rows = torch.arange(len(u), device=u.device)
    return palette[rows, left] * (1 - fraction) + palette[rows, left + 1] * fraction


def _gate(u: torch.Tensor, share: float, ramp: float = 0.12) -> torch.Tensor:
    """0 below, 1 above, a ramp between, so that about `share` of the images show a marking. [B] -> [B,1,1]."""
    return ((u - (1 - share)) / ramp + 0.5).clamp(0, 1)[:, None, None]


class _Table:
    """The species tables as tensors, gathered for a batch."""

    def __init__(self, species: torch.Tensor, device: torch.device) -> None:
        self._species, self._device = species, device

    def range(self, name: str, u: torch.Tensor) -> torch.Tensor:
        low_high = torch.tensor(_SHAPE[name], device=self._device)[self._species]  # [B, 2]
        return (low_high[:, 0] + (low_high[:, 1] - low_high[:, 0]) * u)[:, None, None]

    def amount(self, column: tuple[float, ...]) -> torch.Tensor:
        return torch.tensor(column, device=self._device)[self._species][:, None, None]

    def colour(self, column: tuple[tuple[float, ...], ...]) -> torch.Tensor:
        return torch.tensor(column, device=self._device)[self._species]

    def palette(self, table: dict) -> torch.Tensor:
        return torch.tensor([table[name] for name in SPECIES], device=self._device)[self._species]


def _ellipse(x, y, rx, ry):
    """Approximate signed distance to an axis-aligned ellipse at the origin."""
    rx, ry = rx + 1e-4, ry + 1e-4
    k0 = torch.sqrt((x / rx) ** 2 + (y / ry) ** 2 + 1e-9)
    k1 = torch.sqrt((x / rx**2) ** 2 + (y / ry**2) ** 2 + 1e-9)
    return k0 * (k0 - 1) / k1


def _capsule(x, y, ax, ay, bx, by, ra, rb):
    """Signed distance to a capsule from a (radius ra) to b (radius rb)."""
    dx, dy = bx - ax, by - ay
    t = (((x - ax) * dx + (y - ay) * dy) / (dx**2 + dy**2 + 1e-6)).clamp(0, 1)
    return torch.sqrt((x - ax - t * dx) ** 2 + (y - ay - t * dy) ** 2 + 1e-9) - (ra + t * (rb - ra))


class _Canvas:
    """Painter's algorithm on colour, ink (outlines) and fur (where shading and hatching apply)."""

    def __init__(self, background: torch.Tensor, pixel: torch.Tensor) -> None:
        self.colour = background  # [B, 3, R, R]
        batch, _, res, _ = background.shape
        self.ink = background.new_zeros(batch, res, res)
        self.body = background.new_zeros(batch, res, res)
        self._pixel = pixel  # size of a pixel in face units, [B, 1, 1]

    def put(self, distance, colour, amount=1.0, outline: float = 1.0) -> None:
        """Paint the inside of a signed distance [B,R,R] in an RGB colour [B,3], `amount` in [0,1] opaque."""
        alpha = (0.5 - distance / self._pixel).clamp(0, 1) * amount
        self.colour = self.colour + alpha[:, None] * (colour[:, :, None, None] - self.colour)
        line = (1 - (distance.abs() - INK_WIDTH).clamp(min=0) / self._pixel).clamp(0, 1)
        opaque = amount if torch.is_tensor(amount) else float(amount)
        self.ink = torch.maximum(self.ink * (1 - alpha), line * outline * opaque)
        self.body = torch.maximum(self.body, alpha)


def _fur_colour(table: _Table, u: dict[str, torch.Tensor], palette: Palette) -> torch.Tensor:
    fur = _along(table.palette(_FUR), u["fur"]) * (0.90 + 0.18 * u["fur_light"])[:, None]
    return _recolour(fur, palette)


def _background_colour(u: dict[str, torch.Tensor], palette: Palette) -> torch.Tensor:
    rgb = hsv_to_rgb(
        u["background_hue"], 0.15 + 0.45 * u["background_saturation"], 0.35 + 0.55 * u["background_value"]
    )
    return _recolour(rgb, palette)


def _recolour(rgb: torch.Tensor, palette: Palette) -> torch.Tensor:
    if palette.hue_shift:
        angle = 2 * math.pi * palette.hue_shift
        cos, sin = math.cos(angle), math.sin(angle) / math.sqrt(3)
        a, b, c = cos + (1 - cos) / 3, (1 - cos) / 3 - sin, (1 - cos) / 3 + sin
        matrix = torch.tensor([[a, b, c], [c, a, b], [b, c, a]], device=rgb.device)
        rgb = rgb @ matrix.T
    grey = rgb.mean(dim=1, keepdim=True)
    return ((grey + (rgb - grey) * palette.saturation) * palette.brightness).clamp(0, 1)


def _named(u: torch.Tensor) -> dict[str, torch.Tensor]:
    if u.ndim != 2 or u.shape[1] != NUM_UNIFORMS:
        raise ValueError(f"u has shape {tuple(u.shape)}; expected [B, {NUM_UNIFORMS}]")
    return {name: u[:, i] for i, name in enumerate(UNIFORMS)}


def _pose(u: dict[str, torch.Tensor], name: str) -> torch.Tensor:
    low, high = POSE[name]
    return low + (high - low) * u[name]


def factors(species: torch.Tensor, u: torch.Tensor, palette: Palette = STANDARD) -> torch.Tensor:
    """The labels of FACTORS for each image, [B, len(FACTORS)]: pose scaled to [-1, 1], colours in [-1, 1]."""
    named = _named(u)
    table = _Table(species, u.device)
    pose = [2 * named[name] - 1 for name in FACTORS[:5]]
    colours = torch.cat([_background_colour(named, palette), _fur_colour(table, named, palette)], dim=1)
    return torch.cat([torch.stack(pose, dim=1), 2 * colours - 1], dim=1)


def render(
    species: torch.Tensor,
    u: torch.Tensor,
    style: torch.Tensor,
    resolution: int,
    palette: Palette = STANDARD,
) -> torch.Tensor:
    """Draw a batch of faces.

    Args:
        species: int64 [B], indices into SPECIES.
        u: float32 [B, NUM_UNIFORMS] in [0, 1].
        style: int64 [B], indices into STYLES.
        resolution: side of the image in pixels.
        palette: colour conventions (the standard ones unless a shifted camera is wanted).

    Returns:
        float32 [B, 3, resolution, resolution] in [-1, 1].
    """
    v = _named(u)
    t = _Table(species, u.device)
    batch = len(u)

    def column(values: torch.Tensor) -> torch.Tensor:
        return values[:, None, None]

    # Face coordinates: undo shift, rotation and scale.
    axis = (torch.arange(resolution, device=u.device) + 0.5) / resolution * 2 - 1
    grid_y, grid_x = torch.meshgrid(axis, axis, indexing="ij")
    scale = column(_pose(v, "scale"))
    px = grid_x[None] - column(_pose(v, "shift_x"))
    py = grid_y[None] - column(_pose(v, "shift_y"))
    cos, sin = column(torch.cos(_pose(v, "rotation"))), column(torch.sin(_pose(v, "rotation")))
    x, y = (px * cos + py * sin) / scale, (py * cos - px * sin) / scale
    pixel = 2 / resolution / scale

    # Colours.
    fur = _fur_colour(t, v, palette)
    iris = _recolour(_along(t.palette(_IRIS), v["iris"]), palette)
    dark = torch.full_like(fur, 0.06)
    white = torch.full_like(fur, 0.96)
    background = _background_colour(v, palette)
    gradient = 1.08 - 0.16 * (grid_y[None, None] + 1)
    canvas = _Canvas((background[:, :, None, None] * gradient).clamp(0, 1).expand(batch, 3, resolution, resolution), pixel)

    # Shapes.
    head_w, head_h = t.range("head_w", v["head_w"]), t.range("head_h", v["head_h"])
    taper = t.range("taper", v["taper"])
    narrow = 1 - taper * ((y / head_h).clamp(-1, 1.2) + 0.15)
    head = _ellipse(x / narrow, y, head_w, head_h) * narrow.clamp(max=1)
    yaw = column(_pose(v, "yaw"))
    xi = x - yaw  # inner features move with the head's turn
    ax = (xi).abs()

    # Hair of a person and mane of a lion, behind the head.
    hair_rgb = _recolour(0.08 + 0.75 * _along(t.palette(_FUR), v["marking_a"] * 0.7) * v["marking_a"][:, None], palette)
    hair_drop = 0.25 + 0.75 * column(v["marking_b"])
    hair = torch.minimum(
        _ellipse(x, y + 0.10, head_w + 0.11, head_h + 0.06),
        torch.maximum(_ellipse(x, y, head_w + 0.12, hair_drop), -(y + 0.3)),
    )
    canvas.put(hair, hair_rgb, t.amount(_HAIR))
    angle = torch.atan2(y, x)
    wave = 0.025 * torch.sin(angle * 13)
    canvas.put(
        _ellipse(x, y - 0.02, head_w + 0.25 + wave, head_h + 0.23 + wave),
        fur * torch.tensor([0.62, 0.48, 0.36], device=u.device),
        t.amount(_MANE),
    )

    # Ears of animals are drawn over the head, so that a lifted ear and a hanging one are the same part.
    ear_length = t.range("ear_length", v["ear_length"])
    # Dogs: most hang, about a third stand; between them the lift is continuous.
    lift = v["ear_lift"]
    is_dog = (species == SPECIES.index("dog")).to(u.dtype)
    s_curve = torch.sigmoid((lift - 0.60) * 26)
    lift = is_dog * (0.10 + 0.86 * (1 - s_curve) + 0.10 * (v["ear_width"] - 0.5)) + (1 - is_dog) * lift
    ear_at, ear_angle = t.range("ear_at", lift), t.range("ear_angle", lift)
    ear_base = t.range("ear_base", v["ear_width"])
    ear_tip = t.range("ear_tip", is_dog * lift + (1 - is_dog) * v["ear_width"])
    bx, by = head_w * 0.92 * torch.sin(ear_at), -head_h * 0.86 * torch.cos(ear_at)
    tx, ty = bx + ear_length * torch.sin(ear_angle), by - ear_length * torch.cos(ear_angle)
    mirrored = x.abs()
    ear = _capsule(mirrored, y, bx * 0.92, by * 0.92, tx, ty, ear_base, ear_tip)
    inner_x, inner_y = bx + 0.72 * (tx - bx), by + 0.72 * (ty - by)
    ear_inner = _capsule(mirrored, y, bx, by, inner_x, inner_y, ear_base * 0.52, ear_tip * 0.45)
    standing = (0.5 - (lift - 0.5) * 4).clamp(0, 1)[:, None, None]
    hanging_share = column(is_dog) * (1 - standing)
    ear_dark = t.amount(_EAR_DARK) * hanging_share + (1 - hanging_share) * (1 - 0.12 * column(is_dog))
    ear_rgb = fur * ear_dark[:, 0]
    inner_amount = t.amount(_INNER_AMOUNT) * (1 - hanging_share) + 0 * hanging_share
    animal = 1 - t.amount(_HAIR)

    standing_amount = animal * (1 - hanging_share)
    canvas.put(ear, ear_rgb, standing_amount)
    canvas.put(ear_inner, t.colour(_EAR_INNER), inner_amount * standing_amount, outline=0.4)
    canvas.put(head, fur)
    fringe = torch.maximum(_ellipse(x, y, head_w, head_h), y + 0.28 - 0.05 * torch.sin(9 * x + 6 * column(v["marking_a"])))
    canvas.put(fringe, hair_rgb, t.amount(_HAIR), outline=0.5)
    canvas.put(_ellipse(mirrored - head_w * 0.66, y - 0.16, 0.30, 0.26) .maximum(head), white, t.amount(_CHEEK), outline=0.3)

    # Markings: a dog's blaze and eye patch, a cat's forehead stripes.
    is_cat = (species == SPECIES.index("cat")).to(u.dtype)[:, None, None]
    dog = column(is_dog)
    blaze = torch.maximum(_capsule(xi, y, 0 * yaw, -head_h, 0 * yaw, 0.12 + 0 * yaw, 0.05 + 0 * yaw, 0.10 + 0 * yaw), head)
    canvas.put(blaze, white, dog * _gate(v["marking_a"], 0.30), outline=0.0)
    stripes = torch.maximum((torch.sin(xi * 34).abs() - 0.35) * 0.05, torch.maximum(y + 0.20, head))
    canvas.put(stripes, fur * 0.5, is_cat * _gate(v["marking_a"], 0.55), outline=0.0)

    # Muzzle, nose, mouth.
    muzzle_y = t.range("muzzle_y", v["muzzle_y"])
    muzzle_w, muzzle_h = t.range("muzzle_w", v["muzzle_w"]), t.range("muzzle_h", v["muzzle_h"])
    nose_x = x - 1.35 * yaw
    light = t.amount(_MUZZLE_LIGHT)[:, 0]
    muzzle = torch.maximum(_ellipse(x - 1.15 * yaw, y - muzzle_y, muzzle_w, muzzle_h), head - 0.03)
    canvas.put(muzzle, fur + (white - fur) * light, animal, outline=0.6)
    nose_w, nose_y = t.range("nose_w", v["nose_w"]), t.range("nose_y", v["nose_y"])
    nose = _ellipse(nose_x, y - nose_y, nose_w, nose_w * 0.72)
    mouth_line = torch.maximum(nose_x.abs() - 0.012, (y - nose_y - 0.08).abs() - 0.07)
    smile = 0.06 + 0.05 * column(v["mouth"])
    mouth_curve = torch.maximum(
        (y - (nose_y + 0.15) - smile * (1 - (nose_x / 0.12) ** 2) + smile).abs() - 0.012, nose_x.abs() - 0.12
    )
    tongue = _ellipse(nose_x, y - nose_y - 0.22, 0.055 + 0 * yaw, 0.085 + 0 * yaw)
    pink = torch.tensor([0.90, 0.42, 0.46], device=u.device).expand(batch, 3)
    canvas.put(tongue, pink, dog * _gate(v["mouth"], 0.35), outline=0.7)
    canvas.put(torch.minimum(mouth_line, mouth_curve), dark, 0.75 * t.amount(_MOUTH), outline=0.0)
    canvas.put(nose, t.colour(_NOSE_COLOUR), animal + 0.6 * t.amount(_HAIR), outline=0.5)
    lips = _ellipse(nose_x, y - nose_y - 0.19 + 0.35 * smile * (nose_x / 0.12) ** 2, 0.11 + 0 * yaw, 0.030 + 0 * yaw)
    canvas.put(lips, pink * 0.85, t.amount(_LIPS), outline=0.6)

    # Whiskers: three lines a side.
    whisker_y = y - nose_y - 0.05
    spread = (ax - 0.12).clamp(min=0)
    lines = torch.stack([(whisker_y - slope * spread).abs() - 0.008 for slope in (-0.22, 0.06, 0.34)]).amin(dim=0)
    whiskers = torch.maximum(lines, torch.maximum(0.15 - ax, ax - 0.60))
    canvas.put(whiskers, white, 0.85 * t.amount(_WHISKERS), outline=0.0)

    # Eyes.
    eye_x, eye_y = t.range("eye_x", v["eye_x"]), t.range("eye_y", v["eye_y"])
    eye = t.range("eye_size", v["eye_size"])
    patch = _ellipse(xi - eye_x, y - eye_y, eye + 0.085, eye + 0.10)
    canvas.put(patch, fur * 0.45, dog * _gate(v["marking_b"], 0.35), outline=0.0)
    ex, ey = ax - eye_x, y - eye_y
    canvas.put(_ellipse(ex, ey, eye * 1.25, eye * 0.85), white, t.amount(_SCLERA), outline=0.5)
    iris_scale = 1 - 0.35 * t.amount(_SCLERA)
    gaze = 0.015 * (column(v["gaze"]) * 2 - 1)
    canvas.put(_ellipse(ex, ey, eye * iris_scale, eye * 1.02 * iris_scale), iris, 1.0, outline=0.8)
    pupil = _ellipse(ex - gaze * torch.sign(xi), ey, eye * t.amount(_SLIT) * iris_scale, eye * t.amount(_PUPIL) * iris_scale)
    canvas.put(pupil, dark, 1.0, outline=0.0)
    glint = _ellipse(ex + eye * 0.25 * torch.sign(xi), ey + eye * 0.35, eye * 0.26, eye * 0.26)
    canvas.put(glint, white, 0.9, outline=0.0)
    brow = _capsule(ax, y, eye_x - 0.07, eye_y - 0.13, eye_x + 0.07, eye_y - 0.14, 0.018 + 0 * yaw, 0.014 + 0 * yaw)
    canvas.put(brow, hair_rgb * 0.8, t.amount(_HAIR), outline=0.0)
    canvas.put(ear, ear_rgb, animal * hanging_share)  # hanging ears lie over the head

    shade = _shading(x, y, head_w, head_h, column(v["light"]))
    return _styled(canvas, shade, style, grid_x, grid_y, x, y, palette) * 2 - 1


def _shading(x, y, head_w, head_h, light) -> torch.Tensor:
    """Lambertian shading of an ellipsoid lit from above, the side given by `light` in [0, 1]. [B,R,R], about 0.7-1.1."""
    nx, ny = x / (head_w + 0.25), y / (head_h + 0.25)
    nz = torch.sqrt((1 - nx**2 - ny**2).clamp(min=0.02))
    lx = (light * 2 - 1) * 0.6
    return 0.68 + 0.40 * (nx * lx - ny * 0.45 + nz * 0.75)


def _styled(canvas: _Canvas, shade, style, grid_x, grid_y, x, y, palette: Palette) -> torch.Tensor:
    """Compose colour, ink and shading into one of STYLES; [B, 3, R, R] in [0, 1]."""
    body = canvas.body[:, None]
    lit = canvas.colour * (1 + body * (shade[:, None] - 1))
    if palette.textured:
        lit = lit * (1 + 0.035 * body * torch.sin(23 * x + 5 * torch.sin(9 * y))[:, None])
    photo = lit.clamp(0, 1)

    grey = canvas.colour.mean(dim=1, keepdim=True) * (1 + body * (shade[:, None] - 1))
    paper = photo.new_tensor([0.97, 0.95, 0.91])[None, :, None, None]
    hatch = (torch.sin((grid_x + grid_y) * 26) > 0).to(photo.dtype)[None, None]
    tone = body * (0.62 - grey).clamp(min=0) * (0.55 + 0.45 * hatch)
    sketch = (paper - 0.82 * canvas.ink[:, None] - 0.75 * tone).clamp(0.06, 1)

    mean = canvas.colour.mean(dim=1, keepdim=True)
    vivid = ((mean + (canvas.colour - mean) * 1.6) * 1.05).clamp(0, 1)
    flat = torch.round(vivid * 5) / 5 * 0.6 + vivid * 0.4
    cartoon = flat * (1 - 0.95 * canvas.ink[:, None])

    strokes = torch.sin(11 * grid_x + 7 * torch.sin(5 * grid_y))[None, None]
    warm = photo * photo.new_tensor([1.10, 0.98, 0.78])[None, :, None, None] + 0.04
    painting = (torch.round((warm + 0.10 * strokes) * 4) / 4 * 0.7 + warm * 0.3).clamp(0, 1)

    every = torch.stack([photo, sketch, cartoon, painting])  # [S, B, 3, R, R]
    return every[style, torch.arange(len(style), device=style.device)]
