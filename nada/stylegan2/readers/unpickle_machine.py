"""The stack machine for foreign pickles: every opcode makes plain data, and none calls a function.

The standard library's `pickletools.genops` parses; it yields opcodes and executes nothing.
"""

from collections.abc import Callable
from pickletools import genops

from nada.run.errors import UserError
from nada.run.messages import shown
from nada.stylegan2.readers.unpickle_globals import (
    BUILDERS,
    STORAGES,
    byte_order,
    filled,
    is_known,
    is_record,
)
from nada.stylegan2.readers.unpickle_limits import (
    ITEM_BYTES,
    OBJECT_BYTES,
    Bounded,
    Broken,
    Budget,
)
from nada.stylegan2.readers.unpickle_values import Array, Dtype, Record, Word, as_key, expect, whole

PUSHES = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE"),
    *("BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
# Opcodes that make an empty container, and the bytes that it needs.
EMPTY = {
    "EMPTY_LIST": (list, ITEM_BYTES),
    "EMPTY_DICT": (dict, ITEM_BYTES),
    "EMPTY_SET": (set, OBJECT_BYTES),
    "EMPTY_TUPLE": (tuple, 0),
}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
PUTS = {"PUT", "BINPUT", "LONG_BINPUT"}
GETS = {"GET", "BINGET", "LONG_BINGET"}
IDLE = {"PROTO", "FRAME"}


class Machine:
    """Runs one pickle of a file.

    archive(content): the tree of a torch.save file within the pickle. storage(kind, key, count): the
    numbers of a persistent id; None if the pickle has no external storages.
    """

    def __init__(
        self, file: Bounded, budget: Budget, archive: Callable, storage: Callable | None = None
    ):
        self.file, self.budget, self.archive, self.storage = file, budget, archive, storage
        self.stack: list = []
        self.marks: list[int] = []
        self.memo: dict[int, object] = {}

    def run(self):
        """Run the pickle and return its value; the file's position is then after the pickle."""
        for opcode, argument, _ in genops(self.file):
            self.budget.step()
            name = opcode.name
            if name == "STOP":
                return self.pop()
            if name in PUSHES:
                self.stack.append(argument)
            elif name in CONSTANTS:
                self.stack.append(CONSTANTS[name])
            elif name in EMPTY:
                make, size = EMPTY[name]
                self.budget.view(size)
                self.stack.append(make())
            elif name in TUPLES:
                items = [self.pop() for _ in range(TUPLES[name])]
                self.stack.append(tuple(reversed(items)))
            elif name in PUTS:
                self.memoize(argument)
            elif name in GETS:
                self.stack.append(self.memo[argument])
            elif name not in IDLE:
                step = getattr(self, f"step_{name.lower()}", None)
                if step is None:
                    self.budget.refuse(f"its pickle uses {name}, which no checkpoint needs")
                step(argument)
        raise Broken("a pickle without an end")

    # The stack ................................................................................

    def pop(self):
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise Broken("a pickle that takes more than it has")
        return self.stack.pop()

    def top(self):
        value = self.pop()
        self.stack.append(value)
        return value

    def since_mark(self) -> list:
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def memoize(self, key: int) -> None:
        value = self.top()
        if isinstance(value, Array):
            value.memo_keys.append(key)
        self.memo[key] = value

    def step_memoize(self, _) -> None:
        self.memoize(len(self.memo))

    def step_mark(self, _) -> None:
        self.marks.append(len(self.stack))

    def step_pop(self, _) -> None:
        if self.marks and self.marks[-1] == len(self.stack):
            self.marks.pop()
        else:
            self.pop()

    def step_pop_mark(self, _) -> None:
        self.since_mark()

    def step_dup(self, _) -> None:
        self.stack.append(self.top())

    # Containers ...............................................................................

    def step_list(self, _) -> None:
        self.budget.view(ITEM_BYTES)
        self.stack.append(self.since_mark())

    def step_tuple(self, _) -> None:
        self.stack.append(tuple(self.since_mark()))

    def step_frozenset(self, _) -> None:
        self.budget.view(OBJECT_BYTES)
        self.stack.append(frozenset(map(as_key, self.since_mark())))

    def step_dict(self, _) -> None:
        items = self.since_mark()
        self.budget.view(ITEM_BYTES)
        self.stack.append({})
        self.set_items(items)

    def step_append(self, _) -> None:
        self.append_items([self.pop()])

    def step_appends(self, _) -> None:
        self.append_items(self.since_mark())

    def step_setitem(self, _) -> None:
        value = self.pop()
        self.set_items([self.pop(), value])

    def step_setitems(self, _) -> None:
        self.set_items(self.since_mark())

    def step_additems(self, _) -> None:
        items = self.since_mark()
        expect(self.top(), set).update(map(as_key, items))

    def append_items(self, items: list) -> None:
        expect(self.top(), list).extend(items)

    def set_items(self, items: list) -> None:
        target = expect(self.top(), dict)
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[as_key(key)] = value

    # Globals and objects ......................................................................

    def step_global(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self.stack.append(self.word(module, name))

    def step_stack_global(self, _) -> None:
        name = expect(self.pop(), str)
        self.stack.append(self.word(expect(self.pop(), str), name))

    def word(self, module: str, name: str) -> Word:
        """A global as text, if it is one that checkpoints need."""
        asked = f"{module}.{name}"
        self.budget.view(2 * len(asked))  # STACK_GLOBAL can join long texts many times
        if not is_known(asked):
            raise UserError(
                f"{self.budget.where}: refused: it asks for the global '{shown(asked)}', which no "
                f"checkpoint needs; nothing in it was run: delete the file, or ask its author"
            )
        return Word(asked, name.rpartition(".")[2])

    def step_reduce(self, _) -> None:
        arguments = expect(self.pop(), tuple)
        self.budget.view(OBJECT_BYTES)
        self.stack.append(self.make(expect(self.pop(), Word), arguments))

    step_newobj = step_reduce

    def step_newobj_ex(self, _) -> None:
        if expect(self.pop(), dict):
            raise Broken("an object made with named arguments")
        self.step_reduce(None)

    def make(self, word: Word, arguments: tuple):
        """The result of a call in the file: data from a builder, or an inert record."""
        if word.name in BUILDERS:
            return BUILDERS[word.name](self, *arguments)
        if is_record(word.name):
            return Record(word.name, word.last, arguments or None)
        raise Broken(f"{shown(word.name)} is used as if it were a function")

    def step_build(self, _) -> None:
        state = self.pop()
        target = self.pop()
        if isinstance(target, Record):
            target.state = state
        elif isinstance(target, Dtype):
            target.order = byte_order(state)
        elif isinstance(target, Array):
            array = filled(self, *expect(state, tuple))
            for key in target.memo_keys:
                self.memo[key] = array
            target = array
        elif not isinstance(target, dict):  # the state of a state dict is only its modules' versions
            raise Broken(f"a state for a value of type {type(target).__name__}")
        self.stack.append(target)

    def step_binpersid(self, _) -> None:
        self.persistent(self.pop())

    def persistent(self, mark) -> None:
        """('storage', type, key, device, count[, view]): the numbers of one or more tensors."""
        if self.storage is None:
            raise Broken("a pickle that refers to storages outside it")
        what, kind, key, _, count, *view = expect(mark, tuple)
        kind, key, count = expect(kind, Word).name, expect(key, str), whole(count)
        if what != "storage" or kind not in STORAGES or any(v is not None for v in view):
            raise Broken("a reference that is no storage")
        self.stack.append(self.storage(kind, key, count))
