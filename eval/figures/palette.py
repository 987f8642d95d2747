"""A colour, a dash and a marker for each method and variant, the same in every figure.

The colours are those of Okabe and Ito (2008, "Color universal design") and one of Tol's, which colour-blind
readers can distinguish. There are seven: a figure with more models has several panels (`eval.figures.facets`),
and within a panel no two models share a colour.
"""

import re
import zlib
from dataclasses import dataclass

#: Okabe and Ito's eight colours without black (real images) and yellow (too light on white), and Tol's wine.
BLUE, ORANGE, GREEN, VERMILLION, PINK, SKY, WINE = range(7)
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#882255")
#: Three of Tol's ("muted") for names that KNOWN lacks.
MORE = ("#332288", "#999933", "#8C564B")
BLACK, GREY, LIGHT = "#000000", "#777777", "#AAAAAA"
#: Lines that give the scale in a panel about others.
CONTEXT = "#DDDDDD"
#: Dashes as matplotlib's (offset, (on, off, …)).
DASHES = ((0, ()), (0, (4, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)), (0, (2.5, 1)))
#: The marker of each method; NADA's families have their own.
MARKERS = {
    "nada": "o", "ojha": "D", "minegan": "^", "tgan": "s", "tgan_ada": "P", "freezed": "v",
    "finetune_gd": "X", "source": "*", "replay": "*", "real": "*",
}  # fmt: skip
#: Colours of k in the sweep; k = 3 is `adaptive`, and k = 7 `all_layers` in the mini world.
K_COLOURS = {1: ORANGE, 2: VERMILLION, 4: PINK, 5: SKY, 6: WINE}
K_MARKER = "p"


@dataclass(frozen=True)
class Family:
    """Variants of NADA that one panel compares: no two share a colour.

    reference: the variant that they depart from; it is drawn with them, so none has its colour.
    """

    title: str
    marker: str
    dash: int
    colours: dict[str, int]
    reference: str | None = None


FAMILIES = (
    Family("losses and layers", "o", 0, {
        "all_layers": BLUE, "manual_layers": ORANGE, "adaptive": GREEN, "global": VERMILLION, "mapper": PINK,
        "source_mapper": SKY, "image_targets": WINE,
    }),
    Family("choices of ours undone", "s", 1, {
        "no_views": BLUE, "drawn_noise": ORANGE, "drawn_codes": VERMILLION, "official_guard": PINK,
        "official_prompt": SKY,
    }, "adaptive"),
    Family("public code: optimiser and layers", "^", 2, {
        "official_adam": BLUE, "official_affine": ORANGE, "official_constant": VERMILLION, "official_slots": PINK,
        "official_score": SKY, "official_state": WINE,
    }, "adaptive"),
    Family("public code: images and codes", "D", 3, {
        "official_resize": BLUE, "mixed": ORANGE, "official_codes": VERMILLION, "official_k": SKY,
    }, "adaptive"),
    Family("mapper", "v", 4, {
        "official_optimiser": BLUE, "printed_norm_loss": ORANGE, "official_norm_loss": ORANGE,
        "official_lambdas": GREEN, "official_normalise": VERMILLION, "official_clip_input": SKY, "official_pool": WINE,
    }, "mapper"),
    Family("image directions", "s", 1, {"official_image_target": GREEN}, "image_targets"),
)  # fmt: skip

#: (method, variant) -> (index of the colour, index of the dash).
KNOWN = {
    ("nada", name): (colour, family.dash) for family in FAMILIES for name, colour in family.colours.items()
}
# Few-shot methods: none has the colour of a NADA variant of the same figure.
KNOWN |= {
    ("tgan", "plain"): (BLUE, 0), ("tgan_ada", "plain"): (ORANGE, 0), ("minegan", "plain"): (VERMILLION, 0),
    ("ojha", "plain"): (SKY, 0), ("freezed", "plain"): (WINE, 0),
}  # fmt: skip
# Switches to what their public code does: with another dash, in a panel of their method's.
KNOWN |= {
    ("tgan", "with_replacement"): (ORANGE, 1),
    ("tgan_ada", "official_warp"): (BLUE, 1), ("tgan_ada", "official_p"): (GREEN, 1),
    ("minegan", "z_miner_only"): (BLUE, 1), ("minegan", "official_gradients"): (GREEN, 1),
    ("ojha", "kl_samples"): (ORANGE, 1), ("ojha", "anchor_005"): (VERMILLION, 1),
    ("ojha", "all_patches"): (PINK, 1), ("ojha", "patch_r1"): (GREEN, 1),
}  # fmt: skip
BOUNDS = {"real": BLACK, "source": GREY, "replay": LIGHT}


def family(method: str, variant: str) -> Family | None:
    """The family of a variant of NADA; None for other names."""
    return next((f for f in FAMILIES if method == "nada" and variant in f.colours), None)


def styles(conditions) -> dict[tuple[str, str], dict]:
    """{(method, variant): {"color", "linestyle", "marker"}} for the lines of one figure.

    A name that KNOWN lacks takes a colour that no known name has: the one that a hash of the name
    selects, or the next free one; then other dashes, then free pairs of known colours.
    """
    names = list(dict.fromkeys(conditions))
    taken = {KNOWN[name] for name in names if name in KNOWN}
    found = {}
    for method, variant in names:
        marker = MARKERS.get(method, "h")
        if method in BOUNDS:
            look = {"color": BOUNDS[method], "linestyle": DASHES[1], "marker": marker}
        elif swept := re.fullmatch(r"k_(\d+)", variant):
            look = _of_k(int(swept[1]))
        else:
            place = KNOWN.get((method, variant)) or _free(f"{method}-{variant}", taken)
            taken.add(place)
            colour, dash = place
            own = family(method, variant)
            look = {
                "color": (*COLOURS, *MORE)[colour], "linestyle": DASHES[dash],
                "marker": own.marker if own else marker,
            }  # fmt: skip
        found[method, variant] = look
    return found


def line(look: dict) -> dict:
    """A look without its marker."""
    return {key: value for key, value in look.items() if key != "marker"}


def _free(name: str, taken: set[tuple[int, int]]) -> tuple[int, int]:
    """The first free (colour, dash), starting from the one that the hash of a name selects."""
    own = range(len(COLOURS), len(COLOURS) + len(MORE))
    start = zlib.crc32(name.encode())
    ring = [own[(start + i) % len(own)] for i in range(len(own))]
    places = [(colour, dash) for dash in range(len(DASHES)) for colour in ring]
    places += [(colour, dash) for dash in range(len(DASHES)) for colour in range(len(COLOURS))]
    return next((place for place in places if place not in taken), places[0])


def _of_k(k: int) -> dict:
    """The look of k layers at a step: colours of K_COLOURS, dashed if k is larger than they reach."""
    free = [colour for colour in range(len(COLOURS)) if colour not in (BLUE, GREEN)]
    colour = K_COLOURS.get(k, free[k % len(free)])
    dash = DASHES[0] if k in K_COLOURS else DASHES[1 + k // len(free) % (len(DASHES) - 1)]
    return {"color": COLOURS[colour], "linestyle": dash, "marker": K_MARKER}
