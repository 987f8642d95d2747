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
# A face is made of parts; each can be of another species (a *chimera*).
PARTS = ("head", "ears", "eyes", "muzzle", "coat")

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

# What the judge learns to read off an image; the correspondence score compares them (eval/metrics/correspondence.py).
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
# From black over brown and blond to red.
_HAIR_COLOUR = ((.07, .06, .06), (.26, .16, .10), (.52, .33, .17), (.86, .70, .38), (.68, .28, .12))  # fmt: skip
_NOSE_COLOUR = ((.09, .08, .09), (.93, .55, .60), (.08, .07, .07), (.07, .06, .06),
                (.92, .60, .64), (.25, .14, .12), (.70, .45, .36))  # fmt: skip
_EAR_INNER = ((.62, .45, .38), (.95, .66, .68), (.60, .44, .32), (.12, .08, .07),
              (.95, .70, .72), (.62, .44, .28), (.80, .58, .46))  # fmt: skip
# Amounts in [0, 1] by species.
_INNER_AMOUNT = (0.30, 1.0, 0.8, 1.0, 1.0, 0.8, 0.0)
_EAR_DARK = (0.55, 1.0, 0.95, 1.0, 1.0, 1.0, 0.95)  # brightness of the ear relative to the head
_MUZZLE_LIGHT = (0.60, 0.35, 0.45, 0.85, 0.45, 0.55, 0.0)  # mix of the muzzle towards white
_WHISKERS = (0.0, 1.0, 0.0, 0.3, 0.7, 0.0, 0.0)
_SLIT = (0.75, 0.30, 0.75, 0.42, 0.75, 0.60, 0.55)  # pupil width relative to the iris
_PUPIL = (0.75, 0.85, 0.75, 0.75, 0.75, 0.60, 0.55)  # pupil height relative to the iris
_MOUTH = (1.0, 0.8, 0.8, 0.5, 0.6, 0.8, 0.0)

INK_WIDTH = 0.020  # half width of an outline, canvas units


@dataclass(frozen=True)
class Palette:
    """Colour conventions of a camera; other palettes give the *shifted* renderer of CLIP's training.

    saturation, brightness: factors of fur and background. hue_shift: turn of all hues, in turns.
    textured: whether fur has a grain. bands: strength of a second background colour in wavy bands.
    ink: width of outlines relative to the standard one. iris_turn: turn of the eyes' hues, in turns.
    """

    saturation: float = 1.0
    brightness: float = 1.0
    hue_shift: float = 0.0
    textured: bool = True
    bands: float = 0.0
    ink: float = 1.0
    iris_turn: float = 0.0


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


# The part that each column of the tables belongs to, by the column's first word.
_PART_OF = {"head": "head", "taper": "head", "ear": "ears", "eye": "eyes", "muzzle": "muzzle", "nose": "muzzle"}  # fmt: skip


class _Table:
    """The species tables as tensors, gathered for a batch; species int64 [B] or [B, len(PARTS)]."""

    def __init__(self, species: torch.Tensor, device: torch.device) -> None:
        if species.ndim == 1:
            species = species[:, None].expand(-1, len(PARTS))
        self._species, self._device = dict(zip(PARTS, species.T, strict=True)), device

    def is_a(self, name: str, part: str) -> torch.Tensor:
        """1.0 where the part is of that species, [B, 1, 1]."""
        return (self._species[part] == SPECIES.index(name)).float()[:, None, None]

    def range(self, name: str, u: torch.Tensor) -> torch.Tensor:
        rows = self._species[_PART_OF[name.split("_")[0]]]
        low_high = torch.tensor(_SHAPE[name], device=self._device)[rows]  # [B, 2]
        return (low_high[:, 0] + (low_high[:, 1] - low_high[:, 0]) * u)[:, None, None]

    def amount(self, column: tuple[float, ...], part: str) -> torch.Tensor:
        return torch.tensor(column, device=self._device)[self._species[part]][:, None, None]

    def colour(self, column: tuple[tuple[float, ...], ...], part: str) -> torch.Tensor:
        return torch.tensor(column, device=self._device)[self._species[part]]

    def palette(self, table: dict, part: str) -> torch.Tensor:
        colours = torch.tensor([table[name] for name in SPECIES], device=self._device)
        return colours[self._species[part]]


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


def _fur_colour(table: _Table, u: dict[str, torch.Tensor], palette: Palette) -> torch.Tensor:
    fur = _along(table.palette(_FUR, "coat"), u["fur"]) * (0.90 + 0.18 * u["fur_light"])[:, None]
    return _recolour(fur, palette)


def _background_colour(u: dict[str, torch.Tensor], palette: Palette, turn=0.0) -> torch.Tensor:
    rgb = hsv_to_rgb(
        u["background_hue"] + turn,
        0.15 + 0.45 * u["background_saturation"],
        0.35 + 0.55 * u["background_value"],
    )
    return _recolour(rgb, palette)


def hue_rotation(angle: torch.Tensor) -> torch.Tensor:
    """Turns of RGB about the grey axis by an angle in radians, [N] -> matrices [N, 3, 3]."""
    cos, sin = torch.cos(angle), torch.sin(angle) / math.sqrt(3)
    a, b, c = cos + (1 - cos) / 3, (1 - cos) / 3 - sin, (1 - cos) / 3 + sin
    return torch.stack([torch.stack(row, 1) for row in ((a, b, c), (c, a, b), (b, c, a))], 1)


def _turned(rgb: torch.Tensor, turns: float) -> torch.Tensor:
    angle = torch.tensor([2 * math.pi * turns], device=rgb.device)
    return rgb @ hue_rotation(angle)[0].T


def _recolour(rgb: torch.Tensor, palette: Palette) -> torch.Tensor:
    if palette.hue_shift:
        rgb = _turned(rgb, palette.hue_shift)
    grey = rgb.mean(dim=1, keepdim=True)
    return ((grey + (rgb - grey) * palette.saturation) * palette.brightness).clamp(0, 1)


def _named(u: torch.Tensor) -> dict[str, torch.Tensor]:
    if u.ndim != 2 or u.shape[1] != NUM_UNIFORMS:
        raise ValueError(f"u has shape {tuple(u.shape)}; expected [B, {NUM_UNIFORMS}]")
    return {name: u[:, i] for i, name in enumerate(UNIFORMS)}


def standing_share(ear_lift: torch.Tensor) -> torch.Tensor:
    """How far a dog's ears stand, 0 to 1, for its `ear_lift` uniform; 3 of 4 dogs are above 1/2."""
    return torch.sigmoid((ear_lift - 0.25) * 12)


def _pose(u: dict[str, torch.Tensor], name: str) -> torch.Tensor:
    low, high = POSE[name]
    return low + (high - low) * u[name]


def factors(species: torch.Tensor, u: torch.Tensor, palette: Palette = STANDARD) -> torch.Tensor:
    """The labels of FACTORS for each image, [B, len(FACTORS)]: pose scaled to [-1, 1], colours in [-1, 1]."""
    named = _named(u)
    table = _Table(species, u.device)
    pose = [2 * named[name] - 1 for name in FACTORS[:5]]
    colours = torch.cat(
        [_background_colour(named, palette), _fur_colour(table, named, palette)], dim=1
    )
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
        species: int64 [B], indices into SPECIES, or [B, len(PARTS)], one for each part.
        u: float32 [B, NUM_UNIFORMS] in [0, 1].
        style: int64 [B], indices into STYLES.
        resolution: side of the image in pixels.
        palette: colour conventions (the standard ones unless a shifted camera is wanted).

    Returns:
        float32 [B, 3, resolution, resolution] in [-1, 1].
    """
    face = _Face(species, u, resolution, palette)
    face.hair_and_mane()
    face.standing_ears()
    face.head_with_fringe()
    face.markings()
    face.muzzle_and_mouth()
    face.whiskers()
    face.eyes()
    face.hanging_ears()
    return _styled(face, style) * 2 - 1


def _column(values: torch.Tensor) -> torch.Tensor:
    """[B] -> [B, 1, 1], to broadcast over pixels."""
    return values[:, None, None]


class _Face:
    """One batch of faces on its canvas: coordinates, colours, and one method per part.

    Parts are painted from back to front in the order that `render` calls them. `x`, `y` are face
    coordinates (pose undone), `xi` those of inner features, which move with the head's turn.
    """

    def __init__(self, species, u, resolution: int, palette: Palette) -> None:
        self.v = v = _named(u)
        self.table = t = _Table(species, u.device)
        self.palette = palette

        # Face coordinates: undo shift, rotation and scale.
        axis = (torch.arange(resolution, device=u.device) + 0.5) / resolution * 2 - 1
        self.grid_y, self.grid_x = torch.meshgrid(axis, axis, indexing="ij")
        scale = _column(_pose(v, "scale"))
        px = self.grid_x[None] - _column(_pose(v, "shift_x"))
        py = self.grid_y[None] - _column(_pose(v, "shift_y"))
        angle = _pose(v, "rotation")
        cos, sin = _column(torch.cos(angle)), _column(torch.sin(angle))
        self.x, self.y = (px * cos + py * sin) / scale, (py * cos - px * sin) / scale
        self.yaw = _column(_pose(v, "yaw"))
        self.xi = self.x - self.yaw
        self.nose_x = self.x - 1.35 * self.yaw  # the nose stands out, so it moves more

        # Who it is, as amounts in [0, 1], [B, 1, 1].
        self.person = t.is_a("person", "head")

        # Colours, [B, 3].
        self.fur = _fur_colour(t, v, palette)
        self.dark = torch.full_like(self.fur, 0.06)
        self.white = torch.full_like(self.fur, 0.96)
        pink = torch.tensor([0.90, 0.42, 0.46], device=u.device)
        self.pink = pink.expand(len(u), 3)
        hair = torch.tensor(_HAIR_COLOUR, device=u.device).expand(len(u), -1, -1)
        self.hair = _recolour(_along(hair, v["marking_a"]), palette)

        # Shapes that several parts use.
        self.head_w = t.range("head_w", v["head_w"])
        self.head_h = t.range("head_h", v["head_h"])
        taper = t.range("taper", v["taper"])
        narrow = 1 - taper * ((self.y / self.head_h).clamp(-1, 1.2) + 0.15)
        head = _ellipse(self.x / narrow, self.y, self.head_w, self.head_h)
        self.head = head * narrow.clamp(max=1)
        self.nose_y = t.range("nose_y", v["nose_y"])
        self.eye_x = t.range("eye_x", v["eye_x"])
        self.eye_y = t.range("eye_y", v["eye_y"])
        self.eye = t.range("eye_size", v["eye_size"])
        self._shape_ears()

        gradient = 1.08 - 0.16 * (self.grid_y[None, None] + 1)
        background = _background_colour(v, palette)[:, :, None, None] * gradient
        if palette.bands:
            wave = torch.sin(
                5 * self.grid_x + 3 * torch.sin(4 * self.grid_y + 6 * _column(v["light"]))
            )
            other = _background_colour(v, palette, turn=0.3)[:, :, None, None]
            background = background + palette.bands * (0.5 + 0.5 * wave[:, None]) * (
                other - background
            )
        size = (len(u), 3, resolution, resolution)
        pixel = 2 / resolution / scale
        self.canvas = _Canvas(background.clamp(0, 1).expand(size), pixel, palette.ink)

    def _shape_ears(self) -> None:
        """Signed distances of ear and inner ear, and the share of dogs' ears that hang.

        An ear is a tapered capsule. Most dogs have standing ears, some hanging ones, and some
        are between: their lift is continuous.
        """
        v, t = self.v, self.table
        dog = t.is_a("dog", "ears")
        is_dog = dog[:, 0, 0]
        standing = standing_share(v["ear_lift"])
        dog_lift = 0.10 + 0.86 * (1 - standing) + 0.10 * (v["ear_width"] - 0.5)
        lift = is_dog * dog_lift + (1 - is_dog) * v["ear_lift"]
        at, angle = t.range("ear_at", lift), t.range("ear_angle", lift)
        length = t.range("ear_length", v["ear_length"])
        base = t.range("ear_base", v["ear_width"])
        tip = t.range("ear_tip", is_dog * lift + (1 - is_dog) * v["ear_width"])
        base_x, base_y = self.head_w * 0.92 * torch.sin(at), -self.head_h * 0.86 * torch.cos(at)
        tip_x, tip_y = base_x + length * torch.sin(angle), base_y - length * torch.cos(angle)
        mirrored = self.x.abs()
        self.ear = _capsule(mirrored, self.y, base_x * 0.92, base_y * 0.92, tip_x, tip_y, base, tip)
        inner_x, inner_y = base_x + 0.72 * (tip_x - base_x), base_y + 0.72 * (tip_y - base_y)
        self.ear_inner = _capsule(
            mirrored, self.y, base_x, base_y, inner_x, inner_y, base * 0.52, tip * 0.45
        )
        self.hanging = dog * (1 - _column((0.5 - (lift - 0.5) * 4).clamp(0, 1)))
        brightness = t.amount(_EAR_DARK, "ears") * self.hanging
        brightness = brightness + (1 - self.hanging) * (1 - 0.12 * dog)
        self.eared = 1 - t.is_a("person", "ears")  # a person's lie under the hair
        self.ear_colour = self.fur * brightness[:, 0]

    def hair_and_mane(self) -> None:
        """Behind the head: a person's hair, short to long, and a lion's wavy mane."""
        x, y, put = self.x, self.y, self.canvas.put
        length = 0.25 + 0.75 * _column(self.v["marking_b"])
        hair = torch.minimum(
            _ellipse(x, y + 0.10, self.head_w + 0.11, self.head_h + 0.06),
            torch.maximum(_ellipse(x, y, self.head_w + 0.12, length), -(y + 0.3)),
        )
        put(hair, self.hair, self.person)
        wave = 0.025 * torch.sin(torch.atan2(y, x) * 13)
        mane = _ellipse(x, y - 0.02, self.head_w + 0.25 + wave, self.head_h + 0.23 + wave)
        put(
            mane,
            self.fur * self.fur.new_tensor([0.62, 0.48, 0.36]),
            self.table.is_a("lion", "head"),
        )

    def standing_ears(self) -> None:
        """Ears that stand, under the head's outline; their inside shows."""
        amount = self.eared * (1 - self.hanging)
        self.canvas.put(self.ear, self.ear_colour, amount)
        inner = self.table.amount(_INNER_AMOUNT, "ears") * (1 - self.hanging) * amount
        self.canvas.put(self.ear_inner, self.table.colour(_EAR_INNER, "ears"), inner, outline=0.4)

    def hanging_ears(self) -> None:
        """Ears that hang lie over the head."""
        self.canvas.put(self.ear, self.ear_colour, self.eared * self.hanging)

    def head_with_fringe(self) -> None:
        """The head, a person's fringe, a fox's white cheeks."""
        x, y, put = self.x, self.y, self.canvas.put
        put(self.head, self.fur)
        edge = y + 0.28 - 0.05 * torch.sin(9 * x + 6 * _column(self.v["marking_a"]))
        fringe = torch.maximum(_ellipse(x, y, self.head_w, self.head_h), edge)
        put(fringe, self.hair, self.person, outline=0.5)
        cheeks = _ellipse(x.abs() - self.head_w * 0.66, y - 0.16, 0.30, 0.26).maximum(self.head)
        put(cheeks, self.white, 0.9 * self.table.is_a("fox", "coat"), outline=0.3)

    def markings(self) -> None:
        """A dog's blaze and a cat's stripes on the forehead."""
        xi, y, zero = self.xi, self.y, 0 * self.yaw
        blaze = _capsule(xi, y, zero, -self.head_h, zero, 0.12 + zero, 0.05 + zero, 0.10 + zero)
        amount = self.table.is_a("dog", "coat") * _gate(self.v["marking_a"], 0.30)
        self.canvas.put(torch.maximum(blaze, self.head), self.white, amount, outline=0.0)
        stripes = (torch.sin(xi * 34).abs() - 0.35) * 0.05
        stripes = torch.maximum(stripes, torch.maximum(y + 0.20, self.head))
        amount = self.table.is_a("cat", "coat") * _gate(self.v["marking_a"], 0.55)
        self.canvas.put(stripes, self.fur * 0.5, amount, outline=0.0)

    def muzzle_and_mouth(self) -> None:
        """Muzzle, tongue (some dogs), mouth, nose, and a person's lips."""
        v, t, put = self.v, self.table, self.canvas.put
        y, nose_x, below = self.y, self.nose_x, self.y - self.nose_y
        muzzle = _ellipse(
            self.x - 1.15 * self.yaw,
            y - t.range("muzzle_y", v["muzzle_y"]),
            t.range("muzzle_w", v["muzzle_w"]),
            t.range("muzzle_h", v["muzzle_h"]),
        )
        light = t.amount(_MUZZLE_LIGHT, "muzzle")[:, 0]
        colour = self.fur + (self.white - self.fur) * light
        person = t.is_a("person", "muzzle")
        put(torch.maximum(muzzle, self.head - 0.03), colour, 1 - person, outline=0.6)

        zero = 0 * self.yaw
        tongue = _ellipse(nose_x, below - 0.22, 0.055 + zero, 0.085 + zero)
        tongues = t.is_a("dog", "muzzle") * _gate(v["mouth"], 0.35)
        put(tongue, self.pink, tongues, outline=0.7)
        smile = 0.06 + 0.05 * _column(v["mouth"])
        philtrum = torch.maximum(nose_x.abs() - 0.012, (below - 0.08).abs() - 0.07)
        bow = y - (self.nose_y + 0.15) - smile * (1 - (nose_x / 0.12) ** 2) + smile
        mouth = torch.maximum(bow.abs() - 0.012, nose_x.abs() - 0.12)
        put(
            torch.minimum(philtrum, mouth),
            self.dark,
            0.75 * t.amount(_MOUTH, "muzzle"),
            outline=0.0,
        )

        nose_w = t.range("nose_w", v["nose_w"])
        nose = _ellipse(nose_x, below, nose_w, nose_w * 0.72)
        put(nose, t.colour(_NOSE_COLOUR, "muzzle"), 1 - 0.4 * person, outline=0.5)
        lips_y = below - 0.19 + 0.35 * smile * (nose_x / 0.12) ** 2
        lips = _ellipse(nose_x, lips_y, 0.11 + zero, 0.030 + zero)
        put(lips, self.pink * 0.85, person, outline=0.6)

    def whiskers(self) -> None:
        """Three lines a side."""
        side = self.xi.abs()
        below, spread = self.y - self.nose_y - 0.05, (side - 0.12).clamp(min=0)
        lines = [(below - slope * spread).abs() - 0.008 for slope in (-0.22, 0.06, 0.34)]
        ends = torch.maximum(0.15 - side, side - 0.60)
        whiskers = torch.maximum(torch.stack(lines).amin(dim=0), ends)
        self.canvas.put(
            whiskers, self.white, 0.85 * self.table.amount(_WHISKERS, "muzzle"), outline=0.0
        )

    def eyes(self) -> None:
        """A dog's patch around one eye, sclera (people), iris, pupil, glint, and a person's brows."""
        v, t, put, eye = self.v, self.table, self.canvas.put, self.eye
        side, right = self.xi.abs(), torch.sign(self.xi)
        patch = _ellipse(self.xi - self.eye_x, self.y - self.eye_y, eye + 0.085, eye + 0.10)
        patched = t.is_a("dog", "coat") * _gate(v["marking_b"], 0.35)
        put(patch, self.fur * 0.45, patched, outline=0.0)

        ex, ey = side - self.eye_x, self.y - self.eye_y
        human = t.is_a("person", "eyes")
        put(_ellipse(ex, ey, eye * 1.25, eye * 0.85), self.white, human, outline=0.5)
        size = eye * (1 - 0.35 * human)
        iris = _recolour(_along(t.palette(_IRIS, "eyes"), v["iris"]), self.palette)
        if self.palette.iris_turn:
            iris = _turned(iris, self.palette.iris_turn).clamp(0, 1)
        put(_ellipse(ex, ey, size, size * 1.02), iris, 1.0, outline=0.8)
        gaze = 0.015 * (_column(v["gaze"]) * 2 - 1)
        pupil = _ellipse(
            ex - gaze * right, ey, size * t.amount(_SLIT, "eyes"), size * t.amount(_PUPIL, "eyes")
        )
        put(pupil, self.dark, 1.0, outline=0.0)
        glint = _ellipse(ex + eye * 0.25 * right, ey + eye * 0.35, eye * 0.26, eye * 0.26)
        put(glint, self.white, 0.9, outline=0.0)

        zero = 0 * self.yaw
        inner, outer = self.eye_x - 0.07, self.eye_x + 0.07
        high, low = self.eye_y - 0.14, self.eye_y - 0.13
        brow = _capsule(side, self.y, inner, low, outer, high, 0.018 + zero, 0.014 + zero)
        put(brow, self.hair * 0.8, self.person, outline=0.0)

    def shading(self) -> torch.Tensor:
        """Lambertian shading of an ellipsoid lit from above and one side; [B, R, R], about 0.7-1.1."""
        nx, ny = self.x / (self.head_w + 0.25), self.y / (self.head_h + 0.25)
        nz = torch.sqrt((1 - nx**2 - ny**2).clamp(min=0.02))
        light_x = (_column(self.v["light"]) * 2 - 1) * 0.6
        return 0.68 + 0.40 * (nx * light_x - ny * 0.45 + nz * 0.75)


def _styled(face: _Face, style: torch.Tensor) -> torch.Tensor:
    """Compose colour, ink and shading into one of STYLES; [B, 3, R, R] in [0, 1]."""
    canvas, grid_x, grid_y = face.canvas, face.grid_x, face.grid_y
    body, shade = canvas.body[:, None], face.shading()[:, None]
    lit = canvas.colour * (1 + body * (shade - 1))
    if face.palette.textured:
        fur = torch.sin(23 * face.x + 5 * torch.sin(9 * face.y))[:, None]
        lit = lit * (1 + 0.035 * body * fur)
    photo = lit.clamp(0, 1)

    grey = canvas.colour.mean(dim=1, keepdim=True)
    paper = photo.new_tensor([0.97, 0.95, 0.91])[None, :, None, None]
    hatch = (torch.sin((grid_x + grid_y) * 26) > 0).to(photo.dtype)[None, None]
    tone = body * (0.62 - grey * (1 + body * (shade - 1))).clamp(min=0) * (0.55 + 0.45 * hatch)
    sketch = (paper - 0.82 * canvas.ink[:, None] - 0.75 * tone).clamp(0.06, 1)

    vivid = ((grey + (canvas.colour - grey) * 1.6) * 1.05).clamp(0, 1)
    flat = torch.round(vivid * 5) / 5 * 0.6 + vivid * 0.4
    cartoon = flat * (1 - 0.95 * canvas.ink[:, None])

    strokes = torch.sin(7 * grid_x + 4 * torch.sin(3 * grid_y))[None, None]
    warm = photo * photo.new_tensor([1.10, 0.98, 0.78])[None, :, None, None] + 0.04
    painting = (torch.round((warm + 0.10 * strokes) * 4) / 4 * 0.7 + warm * 0.3).clamp(0, 1)

    every = torch.stack([photo, sketch, cartoon, painting])  # [S, B, 3, R, R]
    return every[style, torch.arange(len(style), device=style.device)]
