"""Files written to be refused: what the tests of the restricted reader share."""

import io
import pickle
import zipfile
from collections import OrderedDict
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from nada.run.errors import UserError
from nada.stylegan2.readers.unpickle import read_checkpoint

OLD = {"_use_new_zipfile_serialization": False}  # torch.save before 1.6


def torch_file(value, **options) -> bytes:
    file = io.BytesIO()
    torch.save(value, file, **options)
    return file.getvalue()


class Call:
    """Pickles as the call of `function` with `arguments`, then a state or items if any."""

    def __init__(self, function, *arguments, **rest):
        self.function, self.arguments, self.rest = function, arguments, rest

    def __reduce__(self):
        return (self.function, self.arguments, *self.rest.values())


def refusal(content: bytes, read=read_checkpoint, **options) -> str:
    """The one sentence that a file is refused with."""
    with pytest.raises(UserError) as caught:
        read(content, name="bad.pt", **options)
    sentence = str(caught.value)
    assert sentence.startswith("bad.pt: ")
    assert "\n" not in sentence
    assert len(sentence) < 300
    return sentence


def rebuilt(storage_count=4, offset=0, size=(4,), stride=(1,)) -> bytes:
    """A torch.save file of one storage of four floats, and a tensor that views it as it is told."""

    class Writer(pickle._Pickler):
        def persistent_id(self, value):
            if isinstance(value, SimpleNamespace):
                return ("storage", torch.FloatStorage, "0", "cpu", storage_count)

    program = io.BytesIO()
    arguments = (SimpleNamespace(), offset, size, stride, False, OrderedDict())
    Writer(program, protocol=2).dump(Call(torch._utils._rebuild_tensor_v2, *arguments))
    return zipped({"data.pkl": program.getvalue(), "data/0": np.arange(4.0, dtype="<f4").tobytes()})


def zipped(files: dict[str, bytes], compression=zipfile.ZIP_STORED, root="archive/") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(f"{root}{name}", content)
    return file.getvalue()
