"""Names beside points, placed by adjustText so that none covers another name, a marker or the frame."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.transforms import Bbox

#: Half the side of a marker's box, in points.
MARKER = 5
#: Iterations of one placement.
ITERATIONS = 150
#: Placements, until one is free of overlaps: how far names are pushed, and whether away from bars as well.
ATTEMPTS = ((1.5, True), (3.0, True), (1.5, False), (3.0, False), (5.0, False))
#: Length of the pieces into which bars are cut, in pixels.
PIECE = 24
SIZE = 7


class Placed(NamedTuple):
    """The names beside points, the lines that join some with their points, and the overlaps that are left."""

    texts: list
    arrows: list
    overlaps: list[tuple[str, str]]

    def remove(self) -> None:
        """Take all of it off the axes."""
        for artist in (*self.texts, *self.arrows):
            artist.remove()


def place(axis, points: np.ndarray, names: Sequence[str], colours: Sequence[str], bars: np.ndarray) -> Placed:
    """Write names beside points. The same data gives the same places.

    points: [N,2] in the axes' units. bars: half lengths of the error bars [N,2], 0 for none. The axes have
    their final limits and the figure its final layout.
    """
    from adjustText import adjust_text
    from matplotlib.patheffects import withStroke

    if not len(names):
        return Placed([], [], [])
    figure = axis.figure
    figure.canvas.draw()
    pixels = axis.transData.inverted()
    marks, lines = (
        [pixels.transform_bbox(box) for box in boxes]
        for boxes in (markers(axis, points), _bars(axis, points, bars))
    )
    best = None
    for push, all_of_bars in ATTEMPTS:
        texts = [
            axis.text(x, y, name, fontsize=SIZE, color=colour, zorder=4, ha="center", va="center",
                      path_effects=[withStroke(linewidth=2, foreground="white")])
            for (x, y), name, colour in zip(points, names, colours, strict=True)
        ]  # fmt: skip
        arrows = adjust_text(
            texts, objects=marks + (lines if all_of_bars else []), ax=axis, iter_lim=ITERATIONS, min_arrow_len=9, max_move=8,
            force_text=(0.1 * push, 0.2 * push), force_static=(0.1 * push, 0.2 * push), expand=(1.08, 1.25),
            force_pull=(0.01 / push, 0.01 / push), arrowprops={"arrowstyle": "-", "color": "#999999", "lw": 0.6},
        )[1]  # fmt: skip
        for artist in (*texts, *arrows):
            artist.set_in_layout(False)  # else the layout would move the points
        found = Placed(texts, arrows, overlaps(axis, texts, points))
        if best is None or len(found.overlaps) < len(best.overlaps):
            best, found = found, best
        if found is not None:
            found.remove()
        if not best.overlaps:
            break
    return best


def overlaps(axis, texts: Sequence, points: np.ndarray) -> list[tuple[str, str]]:
    """(name, what its box meets) for names that meet another name, a marker or the frame."""
    renderer = axis.figure.canvas.get_renderer()
    boxes = [text.get_window_extent(renderer) for text in texts]
    frame, marks = axis.get_window_extent(renderer), markers(axis, points)
    found = []
    for index, (text, box) in enumerate(zip(texts, boxes, strict=True)):
        name = text.get_text()
        found += [(name, texts[other].get_text()) for other in range(index) if box.overlaps(boxes[other])]
        found += [(name, f"marker {other}") for other, mark in enumerate(marks) if box.overlaps(mark)]
        if not (frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1):
            found.append((name, "frame"))
    return found


def markers(axis, points: np.ndarray) -> list[Bbox]:
    """The boxes of the markers, in pixels."""
    half = MARKER * axis.figure.dpi / 72
    return [
        Bbox.from_extents(x - half, y - half, x + half, y + half) for x, y in axis.transData.transform(points)
    ]


def _bars(axis, points: np.ndarray, bars: np.ndarray) -> list[Bbox]:
    """The boxes of the error bars, in pixels, cut into pieces: adjustText pushes from the middle of a box."""
    pieces = []
    for way in (0, 1):
        half = np.zeros_like(bars)
        half[:, way] = bars[:, way]
        low, high = axis.transData.transform(points - half), axis.transData.transform(points + half)
        for start, end in zip(low, high, strict=True):
            steps = max(1, int(np.abs(end - start).max() / PIECE))
            cuts = np.linspace(start, end, steps + 1)
            if np.abs(end - start).max() > 2:
                pieces += [Bbox([a - 1, b + 1]) for a, b in itertools.pairwise(cuts)]
    return pieces
