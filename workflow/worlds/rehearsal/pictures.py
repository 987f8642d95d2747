"""Generated images in the published layouts: AFHQ's folders of JPEGs, folders of sketches.

The images are smooth, structured and different from each other: noise would make all features and
distances alike, and equal images would hide an index that is off by one.
"""

import io
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from nada.run.streams import stream_seed

KINDS = ("cat", "dog", "wild")
BLOBS = 6
COARSE = 4  # photographs are drawn at 1/4 of their side and enlarged
JPEG_QUALITY = 90


@dataclass(frozen=True)
class Afhq:
    """AFHQ v1: side in pixels, images in the folders that the benchmark uses and in the others."""

    side: int = 512
    used: int = 160
    others: int = 20

    def narrow(self) -> "Afhq":
        return replace(self, side=32, used=6, others=2)

    def files(self, name: str) -> Iterator[tuple[str, bytes]]:
        """Yield (path in the folder, content) in the layout of the published archive: train/cat/…"""
        for split in ("train", "val"):
            for kind in KINDS:
                used = split == "train" and kind != "wild"
                for i in range(self.used if used else self.others):
                    pixels = photograph(_stream(name, split, kind, i), kind, self.side)
                    path = f"{split}/{kind}/flickr_{kind}_{i:06d}.jpg"
                    yield path, _encoded(pixels, "JPEG", quality=JPEG_QUALITY)


@dataclass(frozen=True)
class Sketches:
    """A folder of grey PNGs; side: in pixels, count: of images."""

    count: int
    side: int = 256

    def narrow(self) -> "Sketches":
        return replace(self, side=32, count=min(self.count, 5))

    def files(self, name: str) -> Iterator[tuple[str, bytes]]:
        """Yield (name in the folder, content)."""
        for i in range(self.count):
            yield f"{i:05d}.png", _encoded(sketch(_stream(name, i), self.side), "PNG")


def _stream(*name) -> np.random.Generator:
    return np.random.default_rng(stream_seed("rehearsal", *name))


def _encoded(pixels: np.ndarray, kind: str, **options) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, kind, **options)
    return content.getvalue()


def _radii(rng: np.random.Generator, side: int) -> np.ndarray:
    """Distance from a random ellipse's centre, 1 on its outline: [side,side]."""
    y, x = np.mgrid[:side, :side] / side
    angle = rng.uniform(0, np.pi)
    u, v = x - rng.uniform(0.2, 0.8), y - rng.uniform(0.2, 0.8)
    u, v = u * np.cos(angle) + v * np.sin(angle), v * np.cos(angle) - u * np.sin(angle)
    return np.hypot(u / rng.uniform(0.1, 0.35), v / rng.uniform(0.1, 0.35))


def photograph(rng: np.random.Generator, kind: str, side: int) -> np.ndarray:
    """Soft coloured ellipses on a gradient; their colours depend on the kind: uint8 [side,side,3]."""
    small = max(8, side // COARSE)
    palette = _stream("palette", kind).uniform(40, 215, (2, 3))
    y, x = np.mgrid[:small, :small] / small
    slope = x * rng.uniform(-1, 1) + y * rng.uniform(-1, 1)
    image = palette[0] + 40 * slope[..., None] + rng.normal(0, 15, 3)
    for _ in range(BLOBS):
        cover = 1 / (1 + np.exp(12 * (_radii(rng, small) - 1)))[..., None]
        image += cover * (palette[1] + rng.normal(0, 45, 3) - image)
    pixels = image.clip(0, 255).astype(np.uint8)
    return np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC))


def sketch(rng: np.random.Generator, side: int) -> np.ndarray:
    """Outlines of ellipses on paper: uint8 [side,side]."""
    light = np.full((side, side), 235.0)
    for _ in range(BLOBS):
        distance = (_radii(rng, side) - 1) / 0.06
        light -= rng.uniform(60, 180) * np.exp(-(distance**2))
    return light.clip(0, 255).astype(np.uint8)


def write_folder(folder: Path, files: Iterator[tuple[str, bytes]]) -> int:
    """Write a folder atomically, replacing an earlier one; returns the number of files."""
    new, old = (folder.with_name(f".{folder.name}.{os.getpid()}.{word}") for word in ("new", "old"))
    count = 0
    try:
        for name, content in files:
            path = new / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            count += 1
        if folder.exists():
            os.replace(folder, old)
        os.replace(new, folder)
    finally:
        if old.exists() and not folder.exists():
            os.replace(old, folder)
        for rest in (new, old):
            shutil.rmtree(rest, ignore_errors=True)
    return count
