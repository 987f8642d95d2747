"""Names of NVlabs' modules for writing their pickles; the modules are not installed here.

Pickle imports a module to check that a name is in it, so empty modules of these names exist while a
file is written.
"""

import sys
import types
from contextlib import contextmanager

# Python source that NVlabs' files carry; here it raises an error if anything executes it.
SOURCE = "raise RuntimeError('source text of a checkpoint was executed')\n"


class EasyDict(dict):
    __module__, __qualname__ = "dnnlib.util", "EasyDict"


class Network:
    __module__, __qualname__ = "dnnlib.tflib.network", "Network"

    def __init__(self, **state):
        self.__dict__.update(state)


def rebuild(_meta):
    raise AssertionError("only the name of this function is pickled")


rebuild.__module__ = "torch_utils.persistence"
rebuild.__qualname__ = "_reconstruct_persistent_obj"


FOREIGN = (EasyDict, Network, rebuild)


@contextmanager
def foreign_modules():
    """Within the context, the modules of FOREIGN can be imported; afterwards all is as before."""
    roots = {value.__module__.split(".")[0] for value in FOREIGN}

    def taken_out():
        names = [name for name in sys.modules if name.split(".")[0] in roots]
        return {name: sys.modules.pop(name) for name in names}

    before = taken_out()
    for value in FOREIGN:
        parts = value.__module__.split(".")
        for end in range(1, len(parts) + 1):
            name = ".".join(parts[:end])
            sys.modules.setdefault(name, types.ModuleType(name))
        setattr(sys.modules[value.__module__], value.__qualname__, value)
    try:
        yield
    finally:
        taken_out()
        sys.modules.update(before)
