"""What reading a foreign file may cost: bytes by the file's size, steps and depth by limits."""

import os
from dataclasses import dataclass

from nada.run.errors import UserError

VIEW_FACTOR = 4  # tensors of a file may share storages, but not show more than this many times it
SLACK = 1 << 20  # bytes that small files may show beyond that
OBJECT_BYTES = 256  # about what a tensor, a set or a record takes beside its numbers
ITEM_BYTES = 64  # about what a list, a dictionary or one item of it takes
MAX_LINE = 1 << 20  # bytes of a line of text in a pickle


@dataclass(frozen=True)
class Limits:
    """Bounds on work and nesting; what any published checkpoint needs is a tenth of them or less.

    opcodes: steps of the machine, archives within included. depth: containers within containers.
    nodes: values of the tree, shared ones counted as often as they are shown.
    """

    opcodes: int = 1_000_000
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
        content = self.file.read(count)
        if len(content) != count:
            raise Broken("the file became shorter while it was read")
        return content

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
        """Take `count` bytes of memory that a value needs: what it shows, and its own size."""
        self.viewed -= count
        if self.viewed < 0:
            self.refuse(f"its values show more than {VIEW_FACTOR} times the file's bytes")

    def step(self) -> None:
        self.opcodes -= 1
        if self.opcodes < 0:
            self.refuse(f"its pickle has more than {self.limits.opcodes} steps")

    def refuse(self, reason: str):
        raise UserError(f"{self.where}: refused: {reason}; get the file from its author again")
