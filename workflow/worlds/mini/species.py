"""The mini world's species, styles and uniform numbers, and the table that shapes each species.

A face is a mixture of rows of that table: one row for a whole animal, other rows for single parts of a
*chimera*, weights between two rows for the animals that a parent of source models also sees.
"""

from dataclasses import dataclass, fields

import torch

# Parts of a face; each can be of another species.
PARTS = ("head", "ears", "eyes", "muzzle", "coat")
STYLES = ("photo", "sketch", "cartoon", "painting", "watercolour", "monochrome", "woodcut")

# Names of the uniforms, in the order of u's columns.
UNIFORMS = (
    "shift_x", "shift_y", "rotation", "scale", "yaw",
    "head_w", "head_h", "taper", "muzzle_w", "muzzle_h", "muzzle_y",
    "nose_w", "nose_y", "eye_x", "eye_y", "eye_size",
    "ear_lift", "ear_length", "ear_width",
    "fur", "fur_light", "iris", "background_hue", "background_saturation", "background_value",
    "light", "marking_a", "marking_b", "mouth", "gaze",
    "ground", "spot_x", "spot",
)  # fmt: skip
NUM_UNIFORMS = len(UNIFORMS)

# Factors that the judge predicts; the correspondence score compares them (eval/metrics/correspondence.py).
FACTORS = (
    "shift_x", "shift_y", "rotation", "scale", "yaw",
    "background_r", "background_g", "background_b", "fur_r", "fur_g", "fur_b",
)  # fmt: skip

# Pose ranges shared by all species, in canvas units (the canvas is [-1, 1] x [-1, 1], y down) and radians.
POSE = {
    "shift_x": (-0.10, 0.10),
    "shift_y": (0.04, 0.18),
    "rotation": (-0.22, 0.22),
    "scale": (1.08, 1.30),
    "yaw": (-0.09, 0.09),
}

Range = tuple[float, float]
Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Kind:
    """One species. Ranges are walked by the uniform of the same name, palettes by `fur` and `iris`.

    Lengths are in canvas units and angles in radians (0 is up, pi/2 sideways, pi down); colours are RGB in
    [0, 1]; the other numbers are amounts in [0, 1].
    """

    head_w: Range
    head_h: Range
    taper: Range
    muzzle_w: Range
    muzzle_h: Range
    muzzle_y: Range
    nose_w: Range
    nose_y: Range
    eye_x: Range
    eye_y: Range
    eye_size: Range
    ear_at: Range  # where on the head's outline
    ear_angle: Range  # direction of the tip
    ear_length: Range
    ear_base: Range
    ear_tip: Range
    fur: tuple[Colour, Colour, Colour, Colour, Colour]
    iris: tuple[Colour, Colour, Colour]
    nose: Colour
    ear_inner: Colour
    inner: float = 1.0  # how much of the ear's inside shows
    ear_shade: float = 1.0  # brightness of the ear relative to the head
    muzzle_light: float = 0.5  # mix of the muzzle towards white
    slit: float = 0.6  # pupil's width relative to the iris
    pupil: float = 0.6  # pupil's height relative to the iris
    whiskers: float = 0.0
    mouth: float = 0.8
    mane: float = 0.0
    cheeks: float = 0.0  # white cheeks
    stripes: float = 0.0  # share of animals with stripes on the forehead
    blaze: float = 0.0  # share with a white blaze
    patch: float = 0.0  # share with a dark patch around one eye
    tongue: float = 0.0  # share that show their tongue
    tufts: float = 0.0  # dark tips of the ears
    teeth: float = 0.0
    person: float = 0.0  # hair, brows, lips and white of the eye


DARK_NOSE = (0.08, 0.07, 0.08)
PINK_NOSE = (0.93, 0.55, 0.60)
PINK_EAR = (0.95, 0.68, 0.70)

KINDS = {
    "dog": Kind(
        head_w=(.44, .54), head_h=(.44, .56), taper=(.00, .22),
        muzzle_w=(.19, .29), muzzle_h=(.13, .23), muzzle_y=(.16, .25), nose_w=(.08, .13), nose_y=(.07, .14),
        eye_x=(.18, .23), eye_y=(-.15, -.07), eye_size=(.075, .100),
        ear_at=(.60, 1.02), ear_angle=(.25, 2.95), ear_length=(.34, .50), ear_base=(.13, .19), ear_tip=(.03, .17),
        fur=((.17, .15, .15), (.45, .29, .17), (.71, .49, .27), (.86, .74, .55), (.93, .91, .87)),
        iris=((.24, .12, .05), (.62, .38, .10), (.42, .62, .82)),
        nose=(.12, .09, .09), ear_inner=(.72, .50, .44), inner=.45, ear_shade=.6, muzzle_light=.6,
        slit=.60, pupil=.60, mouth=1.0, blaze=.30, patch=.30, tongue=.35,
    ),
    "cat": Kind(
        head_w=(.50, .57), head_h=(.42, .48), taper=(.08, .18),
        muzzle_w=(.19, .24), muzzle_h=(.11, .14), muzzle_y=(.17, .21), nose_w=(.060, .080), nose_y=(.11, .15),
        eye_x=(.21, .25), eye_y=(-.08, -.03), eye_size=(.110, .130),
        ear_at=(.58, .66), ear_angle=(.22, .34), ear_length=(.32, .42), ear_base=(.18, .22), ear_tip=(.01, .03),
        fur=((.15, .15, .17), (.48, .49, .53), (.76, .75, .76), (.88, .62, .34), (.86, .49, .20)),
        iris=((.20, .72, .30), (.80, .82, .22), (.30, .65, .95)),
        nose=PINK_NOSE, ear_inner=PINK_EAR, muzzle_light=.55, slit=.30, pupil=.85, whiskers=1.0, stripes=.55,
    ),
    "bear": Kind(
        head_w=(.58, .66), head_h=(.50, .57), taper=(-.06, .04),
        muzzle_w=(.25, .31), muzzle_h=(.18, .22), muzzle_y=(.20, .25), nose_w=(.11, .14), nose_y=(.10, .14),
        eye_x=(.19, .23), eye_y=(-.10, -.05), eye_size=(.050, .062),
        ear_at=(.72, .82), ear_angle=(.70, .90), ear_length=(.10, .15), ear_base=(.15, .19), ear_tip=(.14, .18),
        fur=((.17, .13, .11), (.30, .20, .13), (.42, .28, .17), (.50, .35, .22), (.55, .40, .27)),
        iris=((.13, .09, .06), (.18, .11, .07), (.22, .14, .08)),
        nose=DARK_NOSE, ear_inner=(.60, .44, .32), inner=.8, muzzle_light=.45, slit=.75, pupil=.75,
    ),
    "fox": Kind(
        head_w=(.50, .58), head_h=(.42, .49), taper=(.34, .48),
        muzzle_w=(.13, .17), muzzle_h=(.15, .20), muzzle_y=(.24, .30), nose_w=(.06, .08), nose_y=(.28, .34),
        eye_x=(.18, .22), eye_y=(-.08, -.03), eye_size=(.070, .085),
        ear_at=(.56, .64), ear_angle=(.22, .34), ear_length=(.38, .48), ear_base=(.18, .22), ear_tip=(.01, .03),
        fur=((.75, .27, .08), (.84, .35, .10), (.90, .42, .12), (.92, .48, .16), (.94, .55, .22)),
        iris=((.78, .52, .12), (.84, .60, .16), (.90, .66, .20)),
        nose=DARK_NOSE, ear_inner=(.12, .08, .07), muzzle_light=.85, slit=.45, pupil=.75, whiskers=.3, mouth=.5,
        cheeks=.9,
    ),
    "rabbit": Kind(
        head_w=(.40, .46), head_h=(.46, .53), taper=(.06, .16),
        muzzle_w=(.16, .20), muzzle_h=(.11, .14), muzzle_y=(.20, .26), nose_w=(.050, .065), nose_y=(.14, .18),
        eye_x=(.20, .23), eye_y=(-.06, -.01), eye_size=(.090, .105),
        ear_at=(.20, .30), ear_angle=(.05, .32), ear_length=(.52, .64), ear_base=(.10, .13), ear_tip=(.05, .08),
        fur=((.55, .46, .38), (.66, .60, .54), (.72, .70, .70), (.84, .82, .80), (.95, .94, .93)),
        iris=((.20, .10, .08), (.30, .16, .10), (.55, .16, .18)),
        nose=(.92, .60, .64), ear_inner=PINK_EAR, muzzle_light=.45, slit=.60, pupil=.60, whiskers=.8, mouth=.6,
        teeth=.8,
    ),
    "lion": Kind(
        head_w=(.48, .54), head_h=(.50, .56), taper=(-.05, .06),
        muzzle_w=(.25, .30), muzzle_h=(.18, .22), muzzle_y=(.20, .25), nose_w=(.10, .13), nose_y=(.09, .13),
        eye_x=(.18, .22), eye_y=(-.10, -.05), eye_size=(.075, .090),
        ear_at=(.78, .86), ear_angle=(.80, 1.0), ear_length=(.08, .12), ear_base=(.12, .15), ear_tip=(.11, .14),
        fur=((.80, .58, .28), (.84, .63, .32), (.87, .68, .38), (.90, .72, .44), (.92, .77, .50)),
        iris=((.70, .72, .20), (.84, .74, .22), (.86, .62, .18)),
        nose=(.70, .36, .36), ear_inner=(.62, .44, .28), inner=.8, muzzle_light=.6, slit=.50, pupil=.55,
        whiskers=.6, mane=1.0,
    ),
    "wolf": Kind(
        head_w=(.48, .56), head_h=(.46, .53), taper=(.22, .34),
        muzzle_w=(.17, .22), muzzle_h=(.18, .24), muzzle_y=(.22, .28), nose_w=(.08, .10), nose_y=(.20, .26),
        eye_x=(.18, .22), eye_y=(-.12, -.06), eye_size=(.070, .090),
        ear_at=(.52, .62), ear_angle=(.14, .26), ear_length=(.34, .44), ear_base=(.15, .19), ear_tip=(.02, .04),
        fur=((.20, .21, .23), (.40, .40, .42), (.56, .54, .52), (.68, .64, .58), (.86, .86, .86)),
        iris=((.84, .68, .20), (.90, .78, .28), (.50, .72, .90)),
        nose=DARK_NOSE, ear_inner=(.48, .36, .34), inner=.8, muzzle_light=.75, slit=.45, pupil=.45, cheeks=.6,
    ),
    "tiger": Kind(
        head_w=(.54, .62), head_h=(.48, .55), taper=(-.02, .08),
        muzzle_w=(.24, .29), muzzle_h=(.16, .20), muzzle_y=(.19, .24), nose_w=(.085, .11), nose_y=(.09, .13),
        eye_x=(.20, .24), eye_y=(-.10, -.05), eye_size=(.085, .105),
        ear_at=(.72, .82), ear_angle=(.60, .80), ear_length=(.13, .18), ear_base=(.14, .17), ear_tip=(.10, .13),
        fur=((.84, .44, .12), (.88, .50, .16), (.91, .56, .20), (.92, .64, .30), (.92, .90, .86)),
        iris=((.62, .74, .24), (.84, .76, .22), (.46, .70, .86)),
        nose=(.90, .50, .52), ear_inner=(.90, .84, .80), inner=.8, muzzle_light=.8, slit=.45, pupil=.45,
        whiskers=.9, stripes=1.0, cheeks=.7,
    ),
    "lynx": Kind(
        head_w=(.50, .57), head_h=(.44, .50), taper=(.02, .12),
        muzzle_w=(.20, .25), muzzle_h=(.13, .17), muzzle_y=(.18, .22), nose_w=(.07, .09), nose_y=(.11, .15),
        eye_x=(.19, .23), eye_y=(-.10, -.05), eye_size=(.080, .095),
        ear_at=(.50, .58), ear_angle=(.10, .22), ear_length=(.40, .50), ear_base=(.15, .18), ear_tip=(.01, .02),
        fur=((.48, .40, .32), (.58, .48, .38), (.68, .56, .42), (.76, .64, .50), (.80, .74, .66)),
        iris=((.78, .66, .22), (.86, .78, .30), (.90, .84, .50)),
        nose=(.60, .34, .32), ear_inner=(.56, .46, .40), inner=.8, muzzle_light=.75, slit=.60, pupil=.60,
        whiskers=.7, cheeks=.9, tufts=1.0,
    ),
    "koala": Kind(
        head_w=(.50, .57), head_h=(.48, .54), taper=(-.04, .06),
        muzzle_w=(.15, .19), muzzle_h=(.20, .25), muzzle_y=(.14, .18), nose_w=(.11, .14), nose_y=(.08, .12),
        eye_x=(.22, .26), eye_y=(-.08, -.03), eye_size=(.055, .070),
        ear_at=(.95, 1.08), ear_angle=(1.0, 1.2), ear_length=(.20, .28), ear_base=(.20, .24), ear_tip=(.20, .25),
        fur=((.42, .43, .45), (.50, .51, .53), (.58, .58, .60), (.66, .65, .66), (.74, .73, .73)),
        iris=((.30, .18, .08), (.46, .28, .12), (.60, .42, .18)),
        nose=(.14, .13, .15), ear_inner=(.90, .86, .86), muzzle_light=.25, slit=.40, pupil=.75, mouth=.6,
    ),
    "mouse": Kind(
        head_w=(.40, .47), head_h=(.42, .48), taper=(.26, .38),
        muzzle_w=(.12, .16), muzzle_h=(.12, .16), muzzle_y=(.22, .28), nose_w=(.05, .07), nose_y=(.24, .30),
        eye_x=(.18, .22), eye_y=(-.04, .02), eye_size=(.070, .085),
        ear_at=(.80, .92), ear_angle=(.70, .90), ear_length=(.26, .34), ear_base=(.20, .24), ear_tip=(.22, .27),
        fur=((.30, .27, .26), (.50, .44, .40), (.60, .58, .58), (.76, .72, .70), (.95, .94, .94)),
        iris=((.08, .06, .06), (.12, .08, .08), (.40, .12, .14)),
        nose=(.94, .58, .62), ear_inner=(.94, .66, .68), muzzle_light=.35, slit=.70, pupil=.70, whiskers=.9,
        mouth=.5, teeth=.4,
    ),
    "beaver": Kind(
        head_w=(.46, .54), head_h=(.48, .55), taper=(-.10, .00),
        muzzle_w=(.24, .30), muzzle_h=(.15, .19), muzzle_y=(.16, .21), nose_w=(.10, .13), nose_y=(.06, .10),
        eye_x=(.19, .23), eye_y=(-.16, -.11), eye_size=(.045, .058),
        ear_at=(.86, .98), ear_angle=(.90, 1.1), ear_length=(.06, .09), ear_base=(.09, .12), ear_tip=(.08, .11),
        fur=((.26, .17, .10), (.36, .23, .13), (.46, .30, .17), (.56, .38, .22), (.64, .46, .29)),
        iris=((.12, .08, .05), (.16, .10, .06), (.20, .12, .07)),
        nose=(.16, .11, .10), ear_inner=(.40, .27, .20), inner=.6, muzzle_light=.25, slit=.75, pupil=.75,
        whiskers=.4, teeth=1.0,
    ),
    "person": Kind(
        head_w=(.40, .46), head_h=(.56, .63), taper=(.12, .24),
        muzzle_w=(.00, .00), muzzle_h=(.00, .00), muzzle_y=(.20, .24), nose_w=(.045, .060), nose_y=(.10, .14),
        eye_x=(.15, .18), eye_y=(-.06, -.02), eye_size=(.070, .085),
        ear_at=(1.5, 1.6), ear_angle=(1.5, 1.6), ear_length=(.02, .04), ear_base=(.07, .09), ear_tip=(.05, .07),
        fur=((.36, .23, .16), (.55, .37, .26), (.74, .54, .41), (.88, .69, .56), (.95, .80, .69)),
        iris=((.20, .12, .07), (.30, .19, .10), (.38, .26, .14)),
        nose=(.70, .45, .36), ear_inner=(.80, .58, .46), inner=.0, ear_shade=.95, muzzle_light=.0, slit=.55,
        pupil=.55, mouth=.0, person=1.0,
    ),
}  # fmt: skip
SPECIES = tuple(KINDS)
ANIMALS = SPECIES[:-1]  # the person is the last row
# From black over brown and blond to red.
HAIR_COLOUR = ((.07, .06, .06), (.26, .16, .10), (.52, .33, .17), (.86, .70, .38), (.68, .28, .12))  # fmt: skip

RANGES = tuple(field.name for field in fields(Kind) if field.type == Range)


class Table:
    """KINDS as tensors, mixed for a batch of faces.

    species: int64 [B] (whole animals), int64 [B, len(PARTS)] (a species for each part), or float
    [B, len(SPECIES)] (weights of a mixture, the same for all parts).
    """

    def __init__(self, species: torch.Tensor, device: torch.device) -> None:
        if species.is_floating_point():
            weights = species[:, None].expand(-1, len(PARTS), -1)
        else:
            if species.ndim == 1:
                species = species[:, None].expand(-1, len(PARTS))
            weights = torch.nn.functional.one_hot(species, len(SPECIES)).float()
        self._weights, self._device = dict(zip(PARTS, weights.unbind(1), strict=True)), device

    def _mixed(self, name: str, part: str) -> torch.Tensor:
        rows = torch.tensor([getattr(kind, name) for kind in KINDS.values()], device=self._device)
        return torch.tensordot(self._weights[part], rows.float(), dims=1)

    def is_a(self, name: str, part: str) -> torch.Tensor:
        """Weight of that species in the part, [B, 1, 1]."""
        return self._weights[part][:, SPECIES.index(name)][:, None, None]

    def range(self, name: str, u: torch.Tensor) -> torch.Tensor:
        """A shape range at u [B], [B, 1, 1]; the column's first word tells the part."""
        part = {"head": "head", "taper": "head", "ear": "ears", "eye": "eyes"}
        low_high = self._mixed(name, part.get(name.split("_")[0], "muzzle"))
        return (low_high[:, 0] + (low_high[:, 1] - low_high[:, 0]) * u)[:, None, None]

    def amount(self, name: str, part: str) -> torch.Tensor:
        """An amount in [0, 1], [B, 1, 1]."""
        return self._mixed(name, part)[:, None, None]

    def colour(self, name: str, part: str) -> torch.Tensor:
        """A colour, RGB [B, 3]; of a palette all its colours, [B, P, 3]."""
        return self._mixed(name, part)


def standing_share(ear_lift: torch.Tensor) -> torch.Tensor:
    """How far a dog's ears stand, 0 to 1, for its `ear_lift` uniform; 3 of 4 dogs are above 1/2."""
    return torch.sigmoid((ear_lift - 0.25) * 12)
