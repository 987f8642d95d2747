"""A generator that returns stored images: the `replay` control, which bounds memorisation."""

import torch
from torch import Tensor, nn

from nada.images.tensors import to_tensor


class ImageBank(nn.Module):
    """Stored images, one for each latent code, mirrored for every other.

    images: uint8 [count,R,R,3]. The first two entries of z ~ N(0, I) choose: Φ(z₀), uniform in
    (0,1), the image, and the sign of z₁ whether it is mirrored. Every image is equally likely,
    mirrored or not, and nearby codes mostly give the same image.
    """

    def __init__(self, count: int, resolution: int):
        super().__init__()
        self.config = {"count": count, "resolution": resolution}
        empty = torch.zeros(count, resolution, resolution, 3, dtype=torch.uint8)
        self.register_buffer("images", empty)

    def sample(self, z: Tensor, truncation_psi: float = 1.0) -> Tensor:
        """z [N,z_dim], z_dim ≥ 2 → images [N,3,R,R] in [-1,1]; there is no mean image, so
        truncation_psi has no effect."""
        if z.ndim != 2 or z.shape[1] < 2:
            raise ValueError(f"z must have shape [N, 2 or more], got {list(z.shape)}")
        count = len(self.images)
        uniform = torch.special.ndtr(z[:, 0].double())
        index = (uniform * count).long().clamp(max=count - 1)
        images = to_tensor(self.images[index])
        return torch.where((z[:, 1] > 0)[:, None, None, None], images.flip(3), images)
