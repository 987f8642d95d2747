"""Weights with NaN or infinity: refused where a file is read or written, by file and tensor.

No setting mends such a network, and a training with it would only say that its loss is not finite.
One pass over the numbers: 20 to 100 ms for 120 MB on one core, by what else the machine does.
"""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from nada.run.errors import UserError

MAX_NAME = 200  # characters of a tensor's name in a message; the file may give any


def check_finite(where, tensors: Mapping[str, Tensor], advice: str = "restore the file") -> None:
    """Raise UserError where a tensor has NaN or infinity, naming `where`, the tensor and `advice`.

    Whole numbers and truth values are passed over. A tensor under many names is looked at once.
    """
    distinct = {id(tensor): (name, tensor) for name, tensor in reversed(tensors.items())}
    for name, tensor in reversed(distinct.values()):
        if not is_finite(tensor):
            raise UserError(
                f"{where}: the tensor {name[:MAX_NAME]} has values that are not finite (NaN or "
                f"infinity); {advice}."
            )


def is_finite(tensor: Tensor) -> bool:
    """Whether a tensor holds neither NaN nor infinity; true of whole numbers and of no numbers."""
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor)
    if not tensor.is_floating_point() or tensor.numel() == 0:
        return True
    if tensor.element_size() == 1:  # 8-bit floats, for which torch has no minimum
        tensor = tensor.float()
    # a NaN is both the least and the largest of its tensor; twenty times as fast as isfinite
    return all(bound.isfinite().item() for bound in torch.aminmax(tensor))


def used(tensors: Mapping[str, Tensor], unused: Iterable[str]) -> dict[str, Tensor]:
    """The tensors whose last name is none of `unused`."""
    return {name: t for name, t in tensors.items() if name.rpartition(".")[2] not in unused}
