"""Label maps as the input of a network."""

import torch
from torch import Tensor

from nada.run.errors import UserError


def one_hot(label_map: Tensor, classes: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Label ids [N,H,W] in 0..classes-1 -> one-hot [N,classes,H,W].

    Resize label maps by the nearest pixel before: other filters make classes that are not there.
    UserError: another id or shape, or ids that are no whole numbers.
    """
    if label_map.ndim != 3 or label_map.is_floating_point() or not label_map.numel():
        raise UserError(
            f"label map: {label_map.dtype} of shape {list(label_map.shape)} given; whole numbers "
            f"[N, H, W] expected."
        )
    ids = label_map.long()
    low, high = ids.min().item(), ids.max().item()
    if low < 0 or high >= classes:
        raise UserError(
            f"label map: has the labels {low} to {high}, but the network knows 0 to {classes - 1}; "
            f"read the map in the layout that the network was trained with."
        )
    shape = (len(ids), classes, *ids.shape[1:])
    return torch.zeros(shape, dtype=dtype, device=ids.device).scatter_(1, ids[:, None], 1)
