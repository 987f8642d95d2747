"""Images in the bytes of their files, sound and damaged, and folders and zips full of them."""

import io
import struct
import zipfile
import zlib

import numpy as np
from PIL import Image

R = 8


def noise(height=R, width=R, seed=0, channels=3):
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def encode(image, form="PNG", **options) -> bytes:
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def png(width, height, depth, colour, rows=b"") -> bytes:
    """A PNG made by hand: `rows` are the unfiltered scan lines, each after its filter byte."""

    def chunk(name, data):
        checksum = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + checksum

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def fill(folder, files: dict[str, bytes]):
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def pack(path, files: dict[str, bytes], method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def numbered(count, height=R, width=R) -> dict[str, bytes]:
    return {f"{i:02d}.png": encode(noise(height, width, seed=i)) for i in range(count)}


def names(index):
    return [image["name"] for image in index["images"]]


def afhq() -> dict[str, bytes]:
    return {
        f"{split}/{kind}/{number}.jpg": encode(noise(seed=seed), "JPEG")
        for seed, (split, kind, number) in enumerate(
            (s, k, n) for s in ("train", "val") for k in ("cat", "dog", "wild") for n in range(2)
        )
    }


PNG = encode(noise(32, 32))
JPEG = encode(noise(32, 32), "JPEG")
MIDDLE = len(PNG) // 2


def without(data: bytes, begin: float, end: float, filler: bytes = b"") -> bytes:
    """A file without what lies between two parts of its length; `filler` stands there instead."""
    return data[: int(len(data) * begin)] + filler + data[int(len(data) * end) :]


# Large enough that what is cut out lies in the data behind the header of some 600 bytes.
LARGE = noise(96, 96)
BY_RESTARTS = encode(LARGE, "JPEG", restart_marker_blocks=4)
EOI = b"\xff\xd9"  # the marker that ends a JPEG
DAMAGED = {
    "second half missing.jpg": without(encode(LARGE, "JPEG"), 0.5, 1, EOI),
    "three quarters missing.jpg": without(encode(LARGE, "JPEG"), 0.25, 1, EOI),
    "zeros in the middle.jpg": without(encode(LARGE, "JPEG"), 0.5, 0.52, bytes(100)),
    "a piece cut out.jpg": without(encode(LARGE, "JPEG"), 0.5, 0.55),
    "intervals cut out.jpg": without(BY_RESTARTS, 0.5, 0.75),
    "progressive, half of it.jpg": without(encode(LARGE, "JPEG", progressive=True), 0.5, 1, EOI),
    "cmyk, a piece cut out.jpg": without(
        encode(Image.fromarray(LARGE).convert("CMYK"), "JPEG"), 0.5, 0.55
    ),
    "with a second view, a piece cut out.jpg": without(
        encode(LARGE, "MPO", save_all=True, append_images=[Image.fromarray(noise())]), 0.5, 0.55
    ),
    "cut in half.jpg": JPEG[: len(JPEG) // 2],
    "cut at the end.jpg": JPEG[:-40],
    "cut in half.png": PNG[:MIDDLE],
    "without its end.png": PNG[:-12],
    "flipped bit.png": PNG[:MIDDLE] + bytes([PNG[MIDDLE] ^ 1]) + PNG[MIDDLE + 1 :],
    "text.png": b"no image at all, but a sentence\n",
    "other format.png": encode(noise(), "GIF"),
    "empty.webp": b"",
    "cut.webp": encode(noise(32, 32), "WEBP", lossless=True)[:-60],
    "cut.bmp": encode(noise(32, 32), "BMP")[:-60],
}
