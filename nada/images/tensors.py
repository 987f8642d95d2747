"""Images as pixels (uint8, HWC) and as networks take them (float, CHW, [-1,1])."""

import numpy as np
import torch


def to_tensor(images) -> torch.Tensor:
    """uint8 [N,H,W,3] (numpy or torch) → float32 [N,3,H,W] in [-1,1]."""
    pixels = torch.as_tensor(images)
    if pixels.dtype != torch.uint8 or pixels.ndim != 4 or pixels.shape[-1] != 3:
        raise ValueError(f"images must be uint8 [N,H,W,3], not {pixels.dtype} {pixels.shape}")
    return pixels.permute(0, 3, 1, 2).to(torch.float32).contiguous() / 127.5 - 1


def to_uint8(images: torch.Tensor) -> np.ndarray:
    """Float [N,3,H,W], about [-1,1] → uint8 [N,H,W,3]: clamped, rounded half up."""
    levels = torch.floor((images.detach().float() + 1) * 127.5 + 0.5).clamp(0, 255)
    return levels.to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()
