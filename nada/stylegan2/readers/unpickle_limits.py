"""Limits on reading a foreign file: memory relative to the file's size, steps and depth absolute."""

import os
from dataclasses import dataclass

from nada.run.errors import UserError

VIEW_FACTOR = 4  # views of shared storages may have up to this many times the file's bytes
SLACK = 1 << 20  # bytes that are allowed in addition, for small files
OBJECT_BYTES = 256  # approximate overhead of a tensor, a set or a record
ITEM_BYTES = 64  # approximate size of a list, a dictionary or one item of it
MAX_LINE = 1 << 20  # bytes of a line of text in a pickle


@dataclass(frozen=True)
class Limits:
    """Bounds on work and nesting; published checkpoints need at most a tenth of them.

    opcodes: steps of the machine, with those of nested archives. depth: nesting of containers. nodes:
    values of the tree; shared values count at every place.
    """

    opcodes: int = 1_000_000
    depth: int = 64
    nodes: int = 2_000_000


LIMITS = Limits()


class Broken(Exception):
    """The file does not follow its format; the text says where."""


class Bounded:
    """A file that refuses reads beyond its end, so that a false length allocates nothing."""

    def __init__(self, file):
        self.file = file
        start = file.tell()
        self.size = file.seek(0, os.SEEK_END)
        file.seek(start)

    def tell(self) -> int:
        return self.file.tell()

    def peek(self, count: int) -> bytes:
        start = self.file.tell()
        head = self.file.read(count)
        self.file.seek(start)
        return head

    def read(self, count: int) -> bytes:
        if count > self.size - self.file.tell():
            raise Broken(f"{count} bytes are declared where the file ends; it may be truncated")
        content = self.file.read(count)
        if len(content) != count:
            raise Broken("the file became shorter while it was read")
        return content

    def readline(self) -> bytes:
        return self.file.readline(MAX_LINE)


class Budget:
    """The remaining memory and steps for one file; nested archives use the same budget."""

    def __init__(self, size: int, limits: Limits, where: str):
        self.where, self.limits = where, limits
        self.stored = size
        self.viewed = VIEW_FACTOR * size + SLACK
        self.opcodes = limits.opcodes
        self.archives = 0  # archives within archives that are open

    def store(self, count: int) -> None:
        """Count `count` bytes of storage; all storages together must not exceed the file."""
        self.stored -= count
        if self.stored < 0:
            self.refuse("its storages are declared larger than the file")

    def view(self, count: int) -> None:
        """Count `count` bytes of memory of a value: its contents and its overhead."""
        self.viewed -= count
        if self.viewed < 0:
            self.refuse(f"its values show more than {VIEW_FACTOR} times the file's bytes")

    def step(self) -> None:
        self.opcodes -= 1
        if self.opcodes < 0:
            self.refuse(f"its pickle has more than {self.limits.opcodes} steps")

    def refuse(self, reason: str):
        raise UserError(f"{self.where}: refused: {reason}; get the file from its author again")
