"""TorchScript archives whose bytes depend on the module alone."""

import io
import re
import warnings
import zipfile

import torch
from torch import nn

MANGLED = re.compile(rb"___torch_mangle_(\d+)")
CONSTANTS = re.compile(rb"(?:^  \w+ : Final\[.*\n)+", re.MULTILINE)  # of one class


def write_script(file, module: nn.Module) -> None:
    """Compile a module and write its archive.

    torch numbers classes of one name in the order in which the process met them, writes a class's
    constants in the order of a set, and adds paths of sources for debugging. Here classes are
    numbered in the archive's own order, constants are sorted, and paths are left out.
    """
    content = io.BytesIO()
    with warnings.catch_warnings():
        # TorchScript is deprecated, but the published files use it
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        torch.jit.save(torch.jit.script(module), content)
    with zipfile.ZipFile(content) as archive:
        names = [name for name in archive.namelist() if not name.endswith(".debug_pkl")]
        names = [name for name in names if not name.endswith("/.data/serialization_id")]
        texts = {n: archive.read(n) for n in names if n.endswith("/data.pkl")}
        texts |= {n: _sorted_constants(archive.read(n)) for n in names if n.endswith(".py")}
        order: dict[bytes, None] = {}
        for name in sorted(texts, key=lambda name: not name.endswith("/data.pkl")):
            order |= dict.fromkeys(MANGLED.findall(texts[name]))
        places = {number: b"___torch_mangle_%d" % place for place, number in enumerate(order)}

        def renamed(text: bytes) -> bytes:
            return MANGLED.sub(lambda match: places[match[1]], text)

        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as out:
            for name in sorted(names, key=lambda name: renamed(name.encode())):
                entry = zipfile.ZipInfo(renamed(name.encode()).decode())
                out.writestr(entry, renamed(texts[name]) if name in texts else archive.read(name))


def _sorted_constants(text: bytes) -> bytes:
    """Source text with the constants of each class in alphabetical order."""
    return CONSTANTS.sub(lambda match: b"".join(sorted(match[0].splitlines(True))), text)
