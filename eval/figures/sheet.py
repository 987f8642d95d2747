"""Sheets of pictures: blocks of rows of cells, pixel by pixel, with names above and beside them.

Small pictures are enlarged by a whole factor without smoothing. The same pictures give the same bytes.
"""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

#: Smallest side of a cell in pixels; smaller images are enlarged by a whole factor.
CELL_PIXELS = 96
#: Largest side of a cell in pixels; larger images are reduced to it.
MOST_CELL_PIXELS = 192
#: Gap between cells, between blocks, and at the edges, in pixels.
GAP, BLOCK_GAP, MARGIN = 4, 22, 12
#: Height of a line of text, and width of a letter of it and of the title, in pixels.
LINE, LETTER, TITLE_LETTER = 15, 6.8, 9
#: Pixels per inch; sizes of text are in points.
DPI = 100
#: Widest sheet, in pixels, that wrapping aims at.
WIDEST = 1500


@dataclass(frozen=True)
class Block:
    """Rows of cells. title: above it. heads: above the columns, or none. rows: (name, images uint8 [N,H,W,3])."""

    title: str
    rows: Sequence[tuple[str, np.ndarray]]
    heads: Sequence[str] = ()


def fitted(images: np.ndarray, size: int = CELL_PIXELS, most: int = MOST_CELL_PIXELS) -> np.ndarray:
    """uint8 [N,H,W,3] enlarged to `size` pixels or more by the smallest whole factor (nearest pixel).

    Images larger than `most` pixels are reduced to `most` (Lanczos).
    """
    if images.shape[1] > most:
        from PIL import Image

        pictures = [
            Image.fromarray(i).resize((most, most), Image.Resampling.LANCZOS) for i in images
        ]
        return np.stack([np.asarray(picture) for picture in pictures])
    factor = max(1, -(-size // images.shape[1]))
    return images.repeat(factor, axis=1).repeat(factor, axis=2)


def side_of(images: np.ndarray) -> int:
    """The side of the cells of these images, in pixels."""
    return fitted(images[:1]).shape[1]


def fit_across(side: int, most: int = WIDEST) -> int:
    """How many cells of a side fit beside each other in the widest sheet."""
    return max(2, (most - 100) // (side + GAP))


def draw(blocks: Sequence[Block], title: str, across: int = 1):
    """The sheet as a figure of DPI; `across` blocks beside each other."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    matplotlib.rcParams.update({"svg.hashsalt": "figures", "pdf.fonttype": 42})
    rows = [blocks[start : start + across] for start in range(0, len(blocks), across)]
    sizes = [[_size(block) for block in row] for row in rows]
    left = [max(row[i][0] for row in sizes if len(row) > i) for i in range(min(across, len(blocks)))]
    width = 2 * MARGIN + sum(left) + BLOCK_GAP * (len(left) - 1)
    lines = textwrap.wrap(title, max(20, int((width - 2 * MARGIN) / TITLE_LETTER)))
    top = MARGIN + 20 * len(lines) + 8
    height = top + sum(max(h for _, h in row) + BLOCK_GAP for row in sizes) - BLOCK_GAP + MARGIN
    canvas = np.full((height, width, 3), 255, dtype=np.uint8)
    texts = [(MARGIN, MARGIN + 20 * i, line, {"fontsize": 10.5, "va": "top", "weight": "bold"}) for i, line in enumerate(lines)]
    y = top
    for row, of_row in zip(rows, sizes, strict=True):
        for i, block in enumerate(row):
            texts += _paint(canvas, block, MARGIN + sum(left[:i]) + BLOCK_GAP * i, y)
        y += max(h for _, h in of_row) + BLOCK_GAP
    figure = plt.figure(figsize=(width / DPI, height / DPI), dpi=DPI)
    figure.figimage(canvas, origin="upper", resize=False)
    for x, y, string, style in texts:
        figure.text(x / width, 1 - y / height, string, **style)
    return figure


def _labels(block: Block) -> int:
    """Width of the names of rows, in pixels."""
    longest = max(len(line) for name, _ in block.rows for line in name.split("\n"))
    return int(longest * LETTER) + 8 if longest else 0


def _heads(block: Block) -> int:
    """Height of the names above the cells, in pixels."""
    lines = max((head.count("\n") + 1 for head in block.heads), default=0)
    return 20 * bool(block.title) + LINE * lines + 4 * bool(lines)


def _size(block: Block) -> tuple[int, int]:
    """Width and height of a block, in pixels."""
    side = max(side_of(images) for _, images in block.rows)
    cells = max(len(images) for _, images in block.rows)
    wide = max(_labels(block) + cells * (side + GAP) - GAP, int(len(block.title) * LETTER * 1.1))
    return wide, _heads(block) + len(block.rows) * (side + GAP) - GAP


def _paint(canvas: np.ndarray, block: Block, left: int, top: int) -> list[tuple]:
    """Put a block's cells on the canvas; returns its texts (x, y, string, style)."""
    side = max(side_of(images) for _, images in block.rows)
    x0, y0 = left + _labels(block), top + _heads(block)
    texts = [(x0, top, block.title, {"fontsize": 9, "va": "top", "style": "italic"})] if block.title else []
    for column, head in enumerate(block.heads):
        x = x0 + column * (side + GAP) + side / 2
        texts.append((x, y0 - 5, head, {"fontsize": 8, "va": "bottom", "ha": "center"}))
    for row, (name, images) in enumerate(block.rows):
        y = y0 + row * (side + GAP)
        texts.append((x0 - 8, y + side / 2, name, {"fontsize": 8, "va": "center", "ha": "right"}))
        for column, image in enumerate(fitted(images)):
            x = x0 + column * (side + GAP)
            canvas[y : y + image.shape[0], x : x + image.shape[1]] = image
    return texts
