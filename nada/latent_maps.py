"""Networks that map the latent codes of an adapted model (Gal et al. 2021, §4.3; Wang et al. 2020, §3).

`map_z` takes codes z, `map_w_plus` codes in W+; `config` holds the keyword arguments of a map.
`nada/mapper.py` and `baselines/minegan.py` train them.
"""

import torch
from torch import Tensor, nn

from nada.stylegan2.ops import EqualizedLinear, lrelu

MAPPER_LAYERS = 4  # StyleCLIP, §5
MAPPER_LR_MUL = 0.01  # as in StyleGAN2's mapping network
RESIDUAL_SCALE = 0.1  # ŵ = w + 0.1 M(w), StyleCLIP's code
LEVEL_STARTS = (0, 4, 8)  # coarse: 4-8 px, medium: 16-32 px, fine: 64 px and up


class LatentMapper(nn.Module):
    """ŵ = w + 0.1 M(w) on W+ codes [N,num_ws,style_dim], one network per level of slots.

    StyleCLIP's mapper (Patashnik et al. 2021, §5). Each level normalises a code, over its 'features' or
    over the level's slots ('official'), then applies four equalised linear layers.
    A level above the generator's resolution has no network.
    """

    kind = "mapper"

    def __init__(self, num_ws: int, style_dim: int, normalise: str = "features"):
        super().__init__()
        self.config = {"num_ws": num_ws, "style_dim": style_dim, "normalise": normalise}
        self.normalised_dim = {"features": -1, "official": 1}[normalise]
        starts = [start for start in LEVEL_STARTS if start < num_ws]
        self.widths = [end - start for start, end in zip(starts, [*starts[1:], num_ws])]
        self.levels = nn.ModuleList(
            nn.ModuleList(
                EqualizedLinear(style_dim, style_dim, lr_mul=MAPPER_LR_MUL)
                for _ in range(MAPPER_LAYERS)
            )
            for _ in starts
        )

    def map_w_plus(self, w_plus: Tensor) -> Tensor:
        """w_plus [N,num_ws,style_dim] → mapped w_plus of the same shape."""
        moves = []
        for level, x in zip(self.levels, w_plus.split(self.widths, dim=1), strict=True):
            x = x * (x.square().mean(dim=self.normalised_dim, keepdim=True) + 1e-8).rsqrt()
            for layer in level:
                x = lrelu(layer(x))
            moves.append(x)
        return w_plus + RESIDUAL_SCALE * torch.cat(moves, dim=1)


class Miner(nn.Module):
    """MineGAN's miner (Wang et al. 2020, §3): z ~ N(0, I) [N,z_dim] -> codes of the target, same shape.

    Two linear layers with a ReLU between them and torch's initialisation. The mapping network then
    normalises the mined z, as it does every z.
    """

    kind = "miner"

    def __init__(self, z_dim: int):
        super().__init__()
        self.config = {"z_dim": z_dim}
        self.layers = nn.Sequential(nn.Linear(z_dim, z_dim), nn.ReLU(), nn.Linear(z_dim, z_dim))

    def map_z(self, z: Tensor) -> Tensor:
        return self.layers(z)
