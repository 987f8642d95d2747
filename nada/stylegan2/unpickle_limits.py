"""What reading a foreign file may cost: bytes by the file's size, steps and depth by limits."""

import os
from dataclasses import dataclass

from nada.errors import UserError

VIEW_FACTOR = 4  # tensors of a file may share storages, but not show more than this many times it
SLACK = 1 << 20  # bytes that small files may show beyond that
MAX_LINE = 1 << 20  # bytes of a line of text in a pickle


@dataclass(frozen=True)
class Limits:
    """Bounds on work and nesting; what any published checkpoint needs is a tenth of them or less.

    opcodes: steps of the machine, archives within included. depth: containers within containers.
    nodes: values of the tree, shared ones counted as often as they are shown.
    """

    opcodes: int = 2_000_000
    depth: int = 64
    nodes: int = 2_000_000


LIMITS = Limits()


class Broken(Exception):
    """The file does not follow its format; the text says where."""


class Bounded:
    """A file that answers no request beyond its end, so that a false length allocates nothing."""

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
        return self.file.read(count)

    def readline(self) -> bytes:
        return self.file.readline(MAX_LINE)


class Budget:
    """What one file may still cost; archives within it draw on the same budget."""

    def __init__(self, size: int, limits: Limits, where: str):
        self.where, self.limits = where, limits
        self.stored = size
        self.viewed = VIEW_FACTOR * size + SLACK
        self.opcodes = limits.opcodes
        self.archives = 0  # archives within archives that are open

    def store(self, count: int) -> None:
        """Take `count` bytes of storage: all together, no more than the file has."""
        self.stored -= count
        if self.stored < 0:
            self.refuse("its storages are declared larger than the file")

    def view(self, count: int) -> None:
        """Take `count` bytes that a tensor, an array or a text shows."""
        self.viewed -= count
        if self.viewed < 0:
            self.refuse(f"its tensors show more than {VIEW_FACTOR} times the file's bytes")

    def step(self) -> None:
        self.opcodes -= 1
        if self.opcodes < 0:
            self.refuse(f"its pickle has more than {self.limits.opcodes} steps")

    def refuse(self, reason: str):
        raise UserError(f"{self.where}: refused: {reason}; get the file from its author again")


def shown(text) -> str:
    """Text of the file for a message: one line, printable, not long."""
    clean = "".join(c if c.isprintable() else " " for c in str(text)[:400])
    clean = " ".join(clean.split())
    return clean if len(clean) <= 80 else clean[:77] + "..."
