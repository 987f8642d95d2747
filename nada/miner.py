"""The miner of MineGAN (Wang et al. 2020, §3): a small network in front of a generator's z."""

from torch import Tensor, nn


class Miner(nn.Module):
    """z ~ N(0, I) [N,z_dim] -> the codes that the target's images need, of the same shape.

    Two linear layers with a ReLU between them, torch's initialisation; z is then normalised by the
    mapping network as any other.
    """

    kind = "miner"

    def __init__(self, z_dim: int):
        super().__init__()
        self.config = {"z_dim": z_dim}
        self.layers = nn.Sequential(nn.Linear(z_dim, z_dim), nn.ReLU(), nn.Linear(z_dim, z_dim))

    def map_z(self, z: Tensor) -> Tensor:
        return self.layers(z)
