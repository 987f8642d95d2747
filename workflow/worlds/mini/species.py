"""The mini world's species, styles and uniform numbers, and the tables that shape each species."""

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

# Factors that the judge predicts; the correspondence score compares them (eval/metrics/correspondence.py).
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
SHAPE = {
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
FUR = {
    "dog": ((.20, .17, .16), (.45, .29, .17), (.71, .49, .27), (.86, .74, .55), (.93, .91, .87)),
    "cat": ((.15, .15, .17), (.48, .49, .53), (.74, .74, .76), (.88, .60, .30), (.87, .49, .18)),
    "bear": ((.17, .13, .11), (.30, .20, .13), (.42, .28, .17), (.50, .35, .22), (.55, .40, .27)),
    "fox": ((.75, .27, .08), (.84, .35, .10), (.90, .42, .12), (.92, .48, .16), (.94, .55, .22)),
    "rabbit": ((.55, .46, .38), (.66, .60, .54), (.72, .70, .70), (.84, .82, .80), (.95, .94, .93)),
    "lion": ((.80, .58, .28), (.84, .63, .32), (.87, .68, .38), (.90, .72, .44), (.92, .77, .50)),
    "person": ((.36, .23, .16), (.55, .37, .26), (.74, .54, .41), (.88, .69, .56), (.95, .80, .69)),
}  # fmt: skip
IRIS = {
    "dog": ((.22, .12, .06), (.30, .17, .08), (.38, .23, .10)),
    "cat": ((.20, .72, .30), (.88, .82, .20), (.30, .65, .95)),
    "bear": ((.13, .09, .06), (.18, .11, .07), (.22, .14, .08)),
    "fox": ((.78, .52, .12), (.84, .60, .16), (.90, .66, .20)),
    "rabbit": ((.20, .10, .08), (.28, .13, .10), (.40, .14, .14)),
    "lion": ((.70, .50, .15), (.76, .56, .18), (.82, .62, .22)),
    "person": ((.22, .14, .08), (.22, .45, .30), (.26, .46, .75)),
}  # fmt: skip
# From black over brown and blond to red.
HAIR_COLOUR = ((.07, .06, .06), (.26, .16, .10), (.52, .33, .17), (.86, .70, .38), (.68, .28, .12))  # fmt: skip
NOSE_COLOUR = ((.09, .08, .09), (.93, .55, .60), (.08, .07, .07), (.07, .06, .06),
                (.92, .60, .64), (.25, .14, .12), (.70, .45, .36))  # fmt: skip
EAR_INNER = ((.62, .45, .38), (.95, .66, .68), (.60, .44, .32), (.12, .08, .07),
              (.95, .70, .72), (.62, .44, .28), (.80, .58, .46))  # fmt: skip
# Amounts in [0, 1] by species.
INNER_AMOUNT = (0.30, 1.0, 0.8, 1.0, 1.0, 0.8, 0.0)
EAR_DARK = (0.55, 1.0, 0.95, 1.0, 1.0, 1.0, 0.95)  # brightness of the ear relative to the head
MUZZLE_LIGHT = (0.60, 0.35, 0.45, 0.85, 0.45, 0.55, 0.0)  # mix of the muzzle towards white
WHISKERS = (0.0, 1.0, 0.0, 0.3, 0.7, 0.0, 0.0)
SLIT = (0.75, 0.30, 0.75, 0.42, 0.75, 0.60, 0.55)  # pupil width relative to the iris
PUPIL = (0.75, 0.85, 0.75, 0.75, 0.75, 0.60, 0.55)  # pupil height relative to the iris
MOUTH = (1.0, 0.8, 0.8, 0.5, 0.6, 0.8, 0.0)

# The part that each column of the tables belongs to, by the column's first word.
PART_OF = {"head": "head", "taper": "head", "ear": "ears", "eye": "eyes", "muzzle": "muzzle", "nose": "muzzle"}  # fmt: skip


class Table:
    """The species tables as tensors, gathered for a batch; species int64 [B] or [B, len(PARTS)]."""

    def __init__(self, species: torch.Tensor, device: torch.device) -> None:
        if species.ndim == 1:
            species = species[:, None].expand(-1, len(PARTS))
        self._species, self._device = dict(zip(PARTS, species.T, strict=True)), device

    def is_a(self, name: str, part: str) -> torch.Tensor:
        """1.0 where the part is of that species, [B, 1, 1]."""
        return (self._species[part] == SPECIES.index(name)).float()[:, None, None]

    def range(self, name: str, u: torch.Tensor) -> torch.Tensor:
        rows = self._species[PART_OF[name.split("_")[0]]]
        low_high = torch.tensor(SHAPE[name], device=self._device)[rows]  # [B, 2]
        return (low_high[:, 0] + (low_high[:, 1] - low_high[:, 0]) * u)[:, None, None]

    def amount(self, column: tuple[float, ...], part: str) -> torch.Tensor:
        return torch.tensor(column, device=self._device)[self._species[part]][:, None, None]

    def colour(self, column: tuple[tuple[float, ...], ...], part: str) -> torch.Tensor:
        return torch.tensor(column, device=self._device)[self._species[part]]

    def palette(self, table: dict, part: str) -> torch.Tensor:
        colours = torch.tensor([table[name] for name in SPECIES], device=self._device)
        return colours[self._species[part]]


def standing_share(ear_lift: torch.Tensor) -> torch.Tensor:
    """How far a dog's ears stand, 0 to 1, for its `ear_lift` uniform; 3 of 4 dogs are above 1/2."""
    return torch.sigmoid((ear_lift - 0.25) * 12)
