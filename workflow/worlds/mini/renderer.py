"""The mini world's camera: faces of animals and people drawn from known factors.

An image is a pure function of (species, style, u), where `u` are uniform numbers in [0, 1). All
randomness is in `u`: the same `u` with another species gives the ground-truth counterpart of an
image, and pose and colours are known labels. Shapes are signed distances on a pixel grid with
analytic antialiasing, so a picture is the same at every resolution. Every factor acts continuously
(ears too: one tapered capsule whose lift, length and sharpness vary), so that a small generator can
learn the map from latents to pictures.
"""

import torch
from torch.nn import functional as F

from workflow.worlds.mini.painting import (
    STANDARD,
    Canvas,
    Palette,
    along,
    capsule,
    ellipse,
    gate,
    hsv_to_rgb,
    recolour,
)
from workflow.worlds.mini.species import (
    FACTORS,
    HAIR_COLOUR,
    NUM_UNIFORMS,
    POSE,
    UNIFORMS,
    Table,
    standing_share,
)


def _fur_colour(table: Table, u: dict[str, torch.Tensor], palette: Palette) -> torch.Tensor:
    fur = along(table.colour("fur", "coat"), u["fur"]) * (0.90 + 0.18 * u["fur_light"])[:, None]
    return recolour(fur, palette)


def _background_colour(u: dict[str, torch.Tensor], palette: Palette, turn=0.0) -> torch.Tensor:
    rgb = hsv_to_rgb(
        u["background_hue"] + turn,
        0.15 + 0.45 * u["background_saturation"],
        0.35 + 0.55 * u["background_value"],
    )
    return recolour(rgb, palette)


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
    table = Table(species, u.device)
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
        species: int64 [B], indices into SPECIES, or [B, len(PARTS)], one for each part, or float
            [B, len(SPECIES)], weights of a mixture.
        u: float32 [B, NUM_UNIFORMS] in [0, 1].
        style: int64 [B], indices into STYLES, or float [B, len(STYLES)], weights of a mixture.
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
        self.table = t = Table(species, u.device)
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

        # Amounts of each species, in [0, 1], [B, 1, 1].
        self.person = t.amount("person", "head")

        # Colours, [B, 3].
        self.fur = _fur_colour(t, v, palette)
        self.dark = torch.full_like(self.fur, 0.06)
        self.white = torch.full_like(self.fur, 0.96)
        pink = torch.tensor([0.90, 0.42, 0.46], device=u.device)
        self.pink = pink.expand(len(u), 3)
        hair = torch.tensor(HAIR_COLOUR, device=u.device).expand(len(u), -1, -1)
        self.hair = recolour(along(hair, v["marking_a"]), palette)

        # Shapes that several parts use.
        self.head_w = t.range("head_w", v["head_w"])
        self.head_h = t.range("head_h", v["head_h"])
        taper = t.range("taper", v["taper"])
        narrow = 1 - taper * ((self.y / self.head_h).clamp(-1, 1.2) + 0.15)
        head = ellipse(self.x / narrow, self.y, self.head_w, self.head_h)
        self.head = head * narrow.clamp(max=1)
        self.nose_y = t.range("nose_y", v["nose_y"])
        self.eye_x = t.range("eye_x", v["eye_x"])
        self.eye_y = t.range("eye_y", v["eye_y"])
        self.eye = t.range("eye_size", v["eye_size"])
        self._shape_ears()

        size = (len(u), 3, resolution, resolution)
        pixel = 2 / resolution / scale
        background = self._background(palette).clamp(0, 1).expand(size)
        self.canvas = Canvas(background, pixel, palette.ink)

    def _background(self, palette: Palette) -> torch.Tensor:
        """A wall that grows darker downwards, a soft spot of light on it, and often a ground; [B, 3, R, R]."""
        v, x, y = self.v, self.grid_x[None], self.grid_y[None]
        wall = _background_colour(v, palette)[:, :, None, None]
        background = wall * (1.08 - 0.16 * (y[:, None] + 1))
        if palette.bands:
            wave = torch.sin(5 * x + 3 * torch.sin(4 * y + 6 * _column(v["light"])))
            other = _background_colour(v, palette, turn=0.3)[:, :, None, None]
            share = palette.bands * (0.5 + 0.5 * wave[:, None])
            background = background + share * (other - background)
        away = (x - 1.4 * (_column(v["spot_x"]) - 0.5)) ** 2 + (y + 0.55) ** 2
        spot = (_column(v["spot"]) - 0.4).clamp(min=0) * torch.exp(-away / 0.18)
        background = background + 0.55 * spot[:, None]
        # the ground rises into the picture as its uniform grows
        edge = 1.15 - 0.75 * _column(v["ground"])
        ground = torch.sigmoid((y - edge) * 14)[:, None]
        return background + 0.65 * ground * (0.55 * wall - background)

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
        self.ear = capsule(mirrored, self.y, base_x * 0.92, base_y * 0.92, tip_x, tip_y, base, tip)
        inner_x, inner_y = base_x + 0.72 * (tip_x - base_x), base_y + 0.72 * (tip_y - base_y)
        self.ear_inner = capsule(
            mirrored, self.y, base_x, base_y, inner_x, inner_y, base * 0.52, tip * 0.45
        )
        self.ear_tip = ellipse(mirrored - tip_x, self.y - tip_y, tip + 0.055, tip + 0.085)
        self.hanging = dog * (1 - _column((0.5 - (lift - 0.5) * 4).clamp(0, 1)))
        brightness = t.amount("ear_shade", "ears") * self.hanging
        brightness = brightness + (1 - self.hanging) * (1 - 0.12 * dog)
        self.eared = 1 - t.amount("person", "ears")  # a person's lie under the hair
        self.ear_colour = self.fur * brightness[:, 0]

    def hair_and_mane(self) -> None:
        """Behind the head: a person's hair, short to long, and a lion's wavy mane."""
        x, y, put = self.x, self.y, self.canvas.put
        length = 0.25 + 0.75 * _column(self.v["marking_b"])
        hair = torch.minimum(
            ellipse(x, y + 0.10, self.head_w + 0.11, self.head_h + 0.06),
            torch.maximum(ellipse(x, y, self.head_w + 0.12, length), -(y + 0.3)),
        )
        put(hair, self.hair, self.person)
        wave = 0.025 * torch.sin(torch.atan2(y, x) * 13)
        mane = ellipse(x, y - 0.02, self.head_w + 0.25 + wave, self.head_h + 0.23 + wave)
        put(
            mane,
            self.fur * self.fur.new_tensor([0.62, 0.48, 0.36]),
            self.table.amount("mane", "head"),
        )

    def standing_ears(self) -> None:
        """Ears that stand, under the head's outline; their inside shows."""
        amount = self.eared * (1 - self.hanging)
        self.canvas.put(self.ear, self.ear_colour, amount)
        inner = self.table.amount("inner", "ears") * (1 - self.hanging) * amount
        self.canvas.put(self.ear_inner, self.table.colour("ear_inner", "ears"), inner, outline=0.4)
        tufts = self.table.amount("tufts", "ears") * amount
        self.canvas.put(self.ear_tip, self.dark, tufts, outline=0.0)

    def hanging_ears(self) -> None:
        """Ears that hang lie over the head."""
        self.canvas.put(self.ear, self.ear_colour, self.eared * self.hanging)

    def head_with_fringe(self) -> None:
        """The head, a person's fringe, white cheeks."""
        x, y, put = self.x, self.y, self.canvas.put
        put(self.head, self.fur)
        edge = y + 0.28 - 0.05 * torch.sin(9 * x + 6 * _column(self.v["marking_a"]))
        fringe = torch.maximum(ellipse(x, y, self.head_w, self.head_h), edge)
        put(fringe, self.hair, self.person, outline=0.5)
        cheeks = ellipse(x.abs() - self.head_w * 0.66, y - 0.16, 0.30, 0.26).maximum(self.head)
        put(cheeks, self.white, self.table.amount("cheeks", "coat"), outline=0.3)

    def marked(self, name: str, part: str, uniform: str) -> torch.Tensor:
        """Opacity of a marking that only a share of a species has, [B, 1, 1]."""
        return gate(self.v[uniform], self.table.amount(name, part)[:, 0, 0])

    def markings(self) -> None:
        """A dog's blaze, a cat's and a tiger's stripes on the forehead."""
        xi, y, zero = self.xi, self.y, 0 * self.yaw
        blaze = capsule(xi, y, zero, -self.head_h, zero, 0.12 + zero, 0.05 + zero, 0.10 + zero)
        amount = self.marked("blaze", "coat", "marking_a")
        self.canvas.put(torch.maximum(blaze, self.head), self.white, amount, outline=0.0)
        stripes = (0.62 - torch.cos(xi * 21)) * 0.06
        stripes = torch.maximum(stripes, torch.maximum(y + 0.20, self.head))
        amount = 0.9 * self.marked("stripes", "coat", "marking_a")
        self.canvas.put(stripes, self.fur * 0.35, amount, outline=0.0)

    def muzzle_and_mouth(self) -> None:
        """Muzzle, tongue (some dogs), mouth, teeth, nose, and a person's lips."""
        v, t, put = self.v, self.table, self.canvas.put
        y, nose_x, below = self.y, self.nose_x, self.y - self.nose_y
        muzzle = ellipse(
            self.x - 1.15 * self.yaw,
            y - t.range("muzzle_y", v["muzzle_y"]),
            t.range("muzzle_w", v["muzzle_w"]),
            t.range("muzzle_h", v["muzzle_h"]),
        )
        light = t.amount("muzzle_light", "muzzle")[:, 0]
        colour = self.fur + (self.white - self.fur) * light
        person = t.amount("person", "muzzle")
        put(torch.maximum(muzzle, self.head - 0.03), colour, 1 - person, outline=0.6)

        zero = 0 * self.yaw
        tongue = ellipse(nose_x, below - 0.22, 0.055 + zero, 0.085 + zero)
        put(tongue, self.pink, self.marked("tongue", "muzzle", "mouth"), outline=0.7)
        teeth = ellipse(nose_x, below - 0.19, 0.050 + zero, 0.070 + zero)
        put(teeth, self.white, t.amount("teeth", "muzzle"), outline=0.6)
        smile = 0.06 + 0.05 * _column(v["mouth"])
        philtrum = torch.maximum(nose_x.abs() - 0.012, (below - 0.08).abs() - 0.07)
        bow = y - (self.nose_y + 0.15) - smile * (1 - (nose_x / 0.12) ** 2) + smile
        mouth = torch.maximum(bow.abs() - 0.012, nose_x.abs() - 0.12)
        put(
            torch.minimum(philtrum, mouth),
            self.dark,
            0.75 * t.amount("mouth", "muzzle"),
            outline=0.0,
        )

        nose_w = t.range("nose_w", v["nose_w"])
        nose = ellipse(nose_x, below, nose_w, nose_w * 0.72)
        put(nose, t.colour("nose", "muzzle"), 1 - 0.4 * person, outline=0.5)
        lips_y = below - 0.19 + 0.35 * smile * (nose_x / 0.12) ** 2
        lips = ellipse(nose_x, lips_y, 0.11 + zero, 0.030 + zero)
        put(lips, self.pink * 0.85, person, outline=0.6)

    def whiskers(self) -> None:
        """Two lines a side, thick enough to show at 32 pixels, light on dark faces and dark on light ones."""
        side = self.xi.abs()
        below, spread = self.y - self.nose_y - 0.05, (side - 0.12).clamp(min=0)
        lines = [(below - slope * spread).abs() - 0.014 for slope in (-0.16, 0.24)]
        ends = torch.maximum(0.16 - side, side - 0.70)
        whiskers = torch.maximum(torch.stack(lines).amin(dim=0), ends)
        light = (self.fur.mean(dim=1, keepdim=True) - 0.55) * 6
        colour = 0.95 - 0.75 * torch.sigmoid(light).expand(-1, 3)
        self.canvas.put(whiskers, colour, 0.7 * self.table.amount("whiskers", "muzzle"), outline=0.0)

    def eyes(self) -> None:
        """A dog's patch around one eye, sclera (people), iris, pupil, glint, and a person's brows."""
        v, t, put, eye = self.v, self.table, self.canvas.put, self.eye
        side, right = self.xi.abs(), torch.sign(self.xi)
        patch = ellipse(self.xi - self.eye_x, self.y - self.eye_y, eye + 0.085, eye + 0.10)
        put(patch, self.fur * 0.45, self.marked("patch", "coat", "marking_b"), outline=0.0)

        ex, ey = side - self.eye_x, self.y - self.eye_y
        human = t.amount("person", "eyes")
        put(ellipse(ex, ey, eye * 1.25, eye * 0.85), self.white, human, outline=0.5)
        size = eye * (1 - 0.35 * human)
        iris = recolour(along(t.colour("iris", "eyes"), v["iris"]), self.palette)
        put(ellipse(ex, ey, size, size * 1.02), iris, 1.0, outline=0.8)
        gaze = 0.015 * (_column(v["gaze"]) * 2 - 1)
        pupil = ellipse(
            ex - gaze * right, ey, size * t.amount("slit", "eyes"), size * t.amount("pupil", "eyes")
        )
        put(pupil, self.dark, 1.0, outline=0.0)
        glint = ellipse(ex + eye * 0.25 * right, ey + eye * 0.35, eye * 0.32, eye * 0.32)
        put(glint, self.white, 0.9, outline=0.0)

        zero = 0 * self.yaw
        inner, outer = self.eye_x - 0.07, self.eye_x + 0.07
        high, low = self.eye_y - 0.14, self.eye_y - 0.13
        brow = capsule(side, self.y, inner, low, outer, high, 0.018 + zero, 0.014 + zero)
        put(brow, self.hair * 0.8, self.person, outline=0.0)

    def shading(self) -> torch.Tensor:
        """Lambertian shading of an ellipsoid lit from above and one side; [B, R, R], about 0.7-1.1."""
        nx, ny = self.x / (self.head_w + 0.25), self.y / (self.head_h + 0.25)
        nz = torch.sqrt((1 - nx**2 - ny**2).clamp(min=0.02))
        light_x = (_column(self.v["light"]) * 2 - 1) * 0.6
        return 0.68 + 0.40 * (nx * light_x - ny * 0.45 + nz * 0.75)


def _styled(face: _Face, style: torch.Tensor) -> torch.Tensor:
    """Compose colour, ink and shading into one of STYLES or a mixture; [B, 3, R, R] in [0, 1]."""
    canvas, grid_x, grid_y = face.canvas, face.grid_x, face.grid_y
    body, shade, ink = canvas.body[:, None], face.shading()[:, None], canvas.ink[:, None]
    lit = canvas.colour * (1 + body * (shade - 1))
    if face.palette.textured:
        fur = torch.sin(23 * face.x + 5 * torch.sin(9 * face.y))[:, None]
        lit = lit * (1 + 0.035 * body * fur)
    photo = lit.clamp(0, 1)
    grey = canvas.colour.mean(dim=1, keepdim=True)
    light = photo.mean(dim=1, keepdim=True)

    def paper(*rgb: float) -> torch.Tensor:
        return photo.new_tensor(rgb)[None, :, None, None]

    hatch = (torch.sin((grid_x + grid_y) * 26) > 0).to(photo.dtype)[None, None]
    tone = body * (0.62 - grey * (1 + body * (shade - 1))).clamp(min=0) * (0.55 + 0.45 * hatch)
    sketch = (paper(0.97, 0.96, 0.93) - 0.76 * ink - 0.75 * tone).clamp(0.06, 1)

    vivid = ((grey + (canvas.colour - grey) * 1.6) * 1.05).clamp(0, 1)
    flat = torch.round(vivid * 5) / 5 * 0.6 + vivid * 0.4
    cartoon = flat * (1 - 0.95 * ink)

    strokes = torch.sin(7 * grid_x + 4 * torch.sin(3 * grid_y))[None, None]
    warm = photo * paper(1.10, 0.98, 0.78) + 0.04
    painting = (torch.round((warm + 0.10 * strokes) * 4) / 4 * 0.7 + warm * 0.3).clamp(0, 1)

    # thin washes that run over their edges and leave the paper free towards the picture's rim
    pale = 0.97 - 0.62 * (0.97 - photo)
    wash = F.avg_pool2d(F.pad(pale, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    rim = torch.sigmoid(((grid_x**2 + grid_y**2).sqrt() - 0.95) * 9)[None, None]
    watercolour = wash + 0.8 * rim * (0.97 - wash)
    watercolour = (watercolour - 0.35 * ink).clamp(0, 1)

    monochrome = ((light - 0.5) * 1.15 + 0.5).clamp(0, 1).expand_as(photo)

    lines = torch.sin(grid_y * 26)[None, None] * 0.10
    inked = torch.sigmoid((light + lines - 0.34) * 12)
    woodcut = (paper(0.95, 0.94, 0.92) * inked * (1 - ink)).clamp(0.05, 1)

    every = torch.stack([photo, sketch, cartoon, painting, watercolour, monochrome, woodcut])
    if style.is_floating_point():
        return torch.einsum("bs,sbchw->bchw", style, every)
    return every[style, torch.arange(len(style), device=style.device)]
