"""Many images as 8-bit numbers in one file, appended in order and read a batch at a time.

25,000 images of 512 px need 18.3 GiB as bytes and four times that as floats, more than a GPU has. In a
file they need only the memory of one batch, on the host and on the device.
"""

import os
import shutil
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from nada.run.errors import UserError

GIB = 1 << 30


class StoredImages:
    """A growing file of up to `count` images of `side` pixels, uint8 [count,3,side,side].

    images[rows] -> float32 [n,3,side,side] in [-1,1] on `device`, for rows [n] on the host; the host
    does not wait for the device. len(images) is the number of images in the file. An existing file of
    an interrupted run keeps its complete images. Use it in a `with` block, which keeps the file.
    Raises UserError if the disk has no room for the missing images.
    """

    def __init__(self, path, count: int, side: int, device):
        self.path, self.count, self.device = Path(path), count, torch.device(device)
        self.shape = (3, side, side)
        self.bytes = 3 * side * side  # of an image
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        self._stored = min(count, os.fstat(self._file).st_size // self.bytes)
        missing = (count - self._stored) * self.bytes
        free = shutil.disk_usage(self.path.parent).free
        if missing > free:
            os.close(self._file)
            raise UserError(
                f"the {count:,} images to train on take {missing / GIB:.3g} GiB more in "
                f"{self.path.parent}, but its disk has {free / GIB:.3g} GiB left; free some space, "
                "or set fewer images."
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error) -> None:
        os.close(self._file)

    def __len__(self) -> int:
        return self._stored

    def put(self, first: int, images: Tensor) -> None:
        """Write float images [n,3,side,side] as rows first, first + 1, …, clamped and rounded to 8 bits.

        `first` is at most len(images); later rows of the file are dropped.
        """
        if first > self._stored or images.shape[1:] != self.shape:
            raise ValueError(f"row {first} of {self._stored}, shape {list(images.shape)}")
        levels = ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
        place = first * self.bytes
        os.ftruncate(self._file, place)
        pixels = memoryview(levels.contiguous().cpu().numpy()).cast("B")
        while len(pixels):
            written = os.pwrite(self._file, pixels, place)
            pixels, place = pixels[written:], place + written
        os.fsync(self._file)  # a resumed run trusts the file's length
        self._stored = first + len(images)

    def __getitem__(self, rows: Tensor) -> Tensor:
        levels = torch.empty(len(rows), *self.shape, dtype=torch.uint8)
        for image, row in zip(levels.numpy(), rows.tolist(), strict=True):
            self._read(memoryview(image).cast("B"), row)
        if self.device.type == "cuda":
            levels = levels.pin_memory()  # only a copy from pinned memory does not wait
        return levels.to(self.device, non_blocking=True).float() / 127.5 - 1

    def _read(self, pixels: memoryview, row: int) -> None:
        """Fill `pixels` with an image's bytes; a read may return only a part of them."""
        place = row * self.bytes
        while len(pixels):
            found = os.preadv(self._file, [pixels], place)
            if not found:
                raise UserError(
                    f"{self.path}: image {row} is cut off; remove the file to start the run again."
                )
            pixels, place = pixels[found:], place + found
