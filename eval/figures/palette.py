"""A colour and a dash for each method and variant, the same in every figure.

The colours are those of Okabe and Ito (2008, "Color universal design"), which colour-blind readers can
distinguish; dashes distinguish more lines than there are colours. Values of k take colours of viridis.
"""

import re
import zlib

#: Okabe and Ito's eight colours without black (real images) and yellow (too light on white).
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9")
#: FreezeD's brown, and three of Tol's ("muted") for names that KNOWN lacks.
MORE = ("#8C564B", "#882255", "#999933", "#332288")
BLACK, GREY, LIGHT = "#000000", "#777777", "#AAAAAA"
#: Dashes as matplotlib's (offset, (on, off, …)).
DASHES = ((0, ()), (0, (4, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)))
#: Markers for figures without lines, in the order of the dashes.
MARKERS = ("o", "s", "^", "D")
#: The largest k with a colour of its own.
LARGEST_K = 17

#: (method, variant) -> (index of the colour, index of the dash). The paper's variants come first.
KNOWN = {
    ("nada", name): (index % len(COLOURS), index // len(COLOURS))
    for index, name in enumerate(
        (
            *("all_layers", "manual_layers", "adaptive", "global", "mapper", "source_mapper"),
            *("official_adam", "official_affine", "official_constant", "official_slots"),
            *("official_score", "drawn_codes", "official_state", "drawn_noise"),
            *("official_guard", "official_resize", "official_prompt", "official_k"),
            *("printed_norm_loss", "official_lambdas", "official_optimiser"),
            *("official_normalise", "official_clip_input", "official_pool"),
        )
    )
}
# Those for which no pair is left take FreezeD's brown: no figure shows both. The last is the paper world's
# form of a switch that the mini world sets the other way.
KNOWN |= {
    ("nada", "official_image_target"): (6, 0), ("nada", "mixed"): (6, 1),
    ("nada", "official_codes"): (6, 2), ("nada", "no_views"): (6, 3),
    ("nada", "official_norm_loss"): KNOWN["nada", "printed_norm_loss"],
}  # fmt: skip
# Few-shot methods: none has the colour of a NADA variant of the same figure.
KNOWN |= {
    ("tgan", "plain"): (0, 0), ("tgan_ada", "plain"): (1, 0), ("minegan", "plain"): (3, 0),
    ("ojha", "plain"): (5, 0), ("freezed", "plain"): (6, 0),
}  # fmt: skip
# Switches to what their public code does: the method's colour with another dash, while one is left.
KNOWN |= {
    ("tgan", "with_replacement"): (0, 1), ("tgan_ada", "official_warp"): (1, 1),
    ("minegan", "z_miner_only"): (3, 1), ("minegan", "official_gradients"): (3, 2),
    ("ojha", "kl_samples"): (5, 1), ("ojha", "anchor_005"): (5, 2),
    ("ojha", "all_patches"): (5, 3), ("ojha", "patch_r1"): (2, 0),
}  # fmt: skip
BOUNDS = {"real": BLACK, "source": GREY, "replay": LIGHT}


def styles(conditions) -> dict[tuple[str, str], dict]:
    """{(method, variant): {"color", "linestyle"}} for the lines of one figure.

    A name that KNOWN lacks takes a colour that no known name has: the one that a hash of the name
    selects, or the next free one; then other dashes, then free pairs of known colours.
    """
    names = list(dict.fromkeys(conditions))
    taken = {KNOWN[name] for name in names if name in KNOWN}
    found = {}
    for method, variant in names:
        if method in BOUNDS:
            found[method, variant] = {"color": BOUNDS[method], "linestyle": DASHES[1]}
        elif swept := re.fullmatch(r"k_(\d+)", variant):
            found[method, variant] = {"color": _walk(int(swept[1])), "linestyle": DASHES[0]}
        else:
            place = KNOWN.get((method, variant)) or _free(f"{method}-{variant}", taken)
            taken.add(place)
            colour, dash = place
            found[method, variant] = {
                "color": (*COLOURS, *MORE)[colour], "linestyle": DASHES[dash]
            }  # fmt: skip
    return found


def _free(name: str, taken: set[tuple[int, int]]) -> tuple[int, int]:
    """The first free (colour, dash), starting from the one that the hash of a name selects."""
    own = range(len(COLOURS) + 1, len(COLOURS) + len(MORE))
    start = zlib.crc32(name.encode())
    ring = [own[(start + i) % len(own)] for i in range(len(own))]
    places = [(colour, dash) for dash in range(len(DASHES)) for colour in ring]
    places += [(colour, dash) for dash in range(len(DASHES)) for colour in range(len(COLOURS))]
    return next((place for place in places if place not in taken), places[0])


def _walk(k: int) -> str:
    """The colour of k in viridis, dark for small k."""
    from matplotlib import colormaps, colors

    return colors.to_hex(colormaps["viridis"](min(k, LARGEST_K) / (LARGEST_K + 1)))
