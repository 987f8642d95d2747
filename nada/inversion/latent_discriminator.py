"""e4e's latent discriminator: codes of an encoder against codes of the mapping network (Tov et al. 2021).

Constants and names of tensors: models/discriminator.py, models/latent_codes_pool.py and
options/train_options.py of omertov/encoder4editing.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LAYERS = 4
SLOPE = 0.2


class LatentDiscriminator(nn.Module):
    """w [N,style_dim] -> logits [N,1]: four linear layers, leaky ReLU of slope 0.2 between them."""

    def __init__(self, style_dim: int):
        super().__init__()
        layers = []
        for _ in range(LAYERS - 1):
            layers += [nn.Linear(style_dim, style_dim), nn.LeakyReLU(SLOPE)]
        self.mlp = nn.Sequential(*layers, nn.Linear(style_dim, 1))

    def forward(self, w: Tensor) -> Tensor:
        return self.mlp(w)


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """mean softplus(-D(w)) + mean softplus(D(E(x))) of logits: the non-saturating loss."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def adversarial_loss(discriminator: nn.Module, w_plus: Tensor) -> Tensor:
    """mean softplus(-D(w_i)) over codes and slots [N,slots,style_dim]; 0 is best for the encoder."""
    return F.softplus(-discriminator(w_plus.flatten(0, 1))).mean()


def r1_penalty(discriminator: nn.Module, real: Tensor) -> Tensor:
    """mean ‖∇_w D(w)‖² over real codes w [N,style_dim], differentiable; the caller weights it."""
    real = real.detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(discriminator(real).sum(), real, create_graph=True)
    return gradient.square().sum(dim=1).mean()


class CodePool:
    """Earlier codes, so that the discriminator does not follow the newest alone.

    size: most codes that are kept; 0 keeps none. A code that comes in is kept while there is room; then
    with probability 1/2 it replaces a random earlier one, which is returned in its place.
    """

    def __init__(self, size: int, style_dim: int, device="cpu"):
        self.size = size
        self.codes = torch.zeros(0, style_dim, device=device)

    def exchange(self, w: Tensor, stream: torch.Generator) -> Tensor:
        """Codes [N,style_dim] for codes of that shape. stream: on the CPU."""
        if self.size == 0:
            return w
        swaps = torch.rand(len(w), generator=stream) > 0.5
        places = torch.randint(self.size, (len(w),), generator=stream)
        returned = []
        for code, swap, place in zip(w.detach(), swaps.tolist(), places.tolist(), strict=True):
            if len(self.codes) < self.size:
                self.codes = torch.cat([self.codes, code[None]])
            elif swap:
                self.codes, earlier = self.codes.clone(), self.codes[place]
                self.codes[place] = code
                code = earlier
            returned.append(code)
        return torch.stack(returned)

    def state_dict(self) -> dict:
        return {"codes": self.codes}

    def load_state_dict(self, state: dict) -> None:
        self.codes = state["codes"].to(self.codes)
