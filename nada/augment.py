"""Random views of a batch before CLIP, the same for both generators' images. Not in the paper.

NadaHyperparameters.augment switches it; the mini world uses it. A change that CLIP sees only at one
place and angle does not lower the loss, which leaves fewer adversarial solutions.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from nada.run.micro_batch import Rows

SCALE = 0.10  # the side is scaled by 1 ± this
ROTATION = 0.12  # rad, ±
SHIFT = 0.08  # of the side, ± in x and in y
CUTOUT = 0.25  # side of the grey square, as a share of the image's
CUTOUT_RATE = 0.5  # of the views
NOISE = 0.2  # standard deviation, where images span [-1,1]: hides grain that no CLIP should reward


@dataclass(frozen=True)
class Views:
    """`count` views of each of N images; each call applies the same views.

    theta: [count·N,2,3], maps an output position to its input position, in [-1,1] coordinates.
    kept: [count·N,1,R,R], 0 under the grey square, 1 elsewhere. noise: [count·N,3,R,R], added last.
    """

    count: int
    theta: Tensor
    kept: Tensor
    noise: Tensor

    def __call__(self, images: Tensor) -> Tensor:
        """Images [N,3,R,R] → views [count·N,3,R,R], ordered by view; differentiable."""
        repeated = images.repeat(self.count, 1, 1, 1)
        grid = F.affine_grid(self.theta, list(repeated.shape), align_corners=False)
        moved = F.grid_sample(repeated, grid, padding_mode="border", align_corners=False)
        return moved * self.kept + self.noise

    def rows(self, rows: Rows) -> "Views":
        """The views of only these images of the batch."""
        parts = (self.theta, self.kept, self.noise)
        return Views(self.count, *(rows.of(part, self.count) for part in parts))


def draw_views(images: Tensor, count: int) -> Views:
    """Draw `count` random views for images of this shape, from torch's global random stream."""
    number, side = count * len(images), images.shape[-1]
    like = {"device": images.device, "dtype": images.dtype}
    scale, angle, *shift = (2 * torch.rand(4, number, **like) - 1).unbind()
    theta = affine(1 + SCALE * scale, ROTATION * angle, SHIFT * torch.stack(shift))
    # the square's corner in pixels; the square lies inside the image
    width = round(CUTOUT * side)
    corner = (torch.rand(2, number, 1, **like) * (side - width + 1)).floor()
    pixels = torch.arange(side, **like)
    rows, columns = ((pixels >= corner) & (pixels < corner + width)).unbind()
    cut = torch.rand(number, 1, 1, **like) < CUTOUT_RATE
    kept = 1 - (rows[:, :, None] & columns[:, None, :] & cut).to(images.dtype)[:, None]
    noise = NOISE * torch.randn(number, images.shape[1], side, side, **like)
    return Views(count, theta, kept, noise)


def affine(scale: Tensor, angle: Tensor, shift: Tensor) -> Tensor:
    """θ [N,2,3] that shows an image scaled [N], turned by [N] rad, shifted by [2,N] of its side.

    θ maps an output position to its input position: the inverse of the movement.
    """
    cos, sin = torch.cos(angle) / scale, torch.sin(angle) / scale
    turn = torch.stack([torch.stack([cos, sin]), torch.stack([-sin, cos])])  # [2,2,N]
    move = -(turn * (2 * shift)).sum(dim=1, keepdim=True)  # a side is 2 long in [-1,1]
    return torch.cat([turn, move], dim=1).permute(2, 0, 1)
