"""LPIPS on VGG16 from local files: the `lpips` package's network with its heads and a published trunk.

Zhang et al. 2018, version 0.1; the diversity of Gal et al. 2021 (Fig. 12) and of Ojha et al. 2021.
The heads come with the package; the trunk is torchvision's file, which the package would download.
`eval.networks.lpips_matrix` takes an `LpipsVgg`, as it takes the mini world's perceptual network.
"""

import warnings
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eval.networks.published import check_published
from nada.run.errors import UserError
from nada.run.finite import check_finite

#: SHA-256 of torchvision's vgg16-397923af.pth, and of the VGG heads of lpips 0.1.4.
TRUNK_SHA256 = "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0"
HEADS_SHA256 = "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868"
#: Images are resized to this side (Ojha et al. 2021).
SIZE = 256
#: Prefix of the classifier's tensors in the trunk's file, which are not used.
UNUSED = "classifier."


class LpipsVgg(nn.Module):
    """The package's LPIPS(net='vgg', version='0.1') as stages and their weights; frozen, float32.

    package: the `lpips.LPIPS` with its trunk. size: images of another size are resized to size x size by
    antialiased bilinear interpolation; the protocol's Pillow does the same, but rounds to whole levels.
    None keeps the size.
    """

    def __init__(
        self, package: nn.Module, size: int | None = SIZE, sha256: str = "", file: str = ""
    ):
        super().__init__()
        self.package, self.size = package, size
        self.sha256, self.file = sha256, file

    @property
    def layer_weights(self) -> list[Tensor]:
        """Weights [C] of the five stages: the package's heads."""
        return [head.model[-1].weight.flatten() for head in self.package.lins]

    def resized(self, x: Tensor) -> Tensor:
        """Images [N,3,H,W] in [-1,1] resized to the protocol's size."""
        if self.size is None or tuple(x.shape[2:]) == (self.size, self.size):
            return x
        size = (self.size, self.size)
        return F.interpolate(x, size, mode="bilinear", align_corners=False, antialias=True)

    def stages(self, x: Tensor) -> list[Tensor]:
        """Images [N,3,H,W] in [-1,1] -> five maps [N,C,h,w], after the package's scaling layer."""
        with torch.autocast(x.device.type, enabled=False):
            return list(self.package.net(self.package.scaling_layer(self.resized(x))))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """LPIPS of pairs of images [N,3,H,W] in [-1,1] -> [N,1,1,1], by the package: the slow reference."""
        return self.package(self.resized(x), self.resized(y))

    def record(self) -> dict:
        """Names and hashes of the files, and the size, for the record of an observation."""
        return {
            "file": self.file,
            "sha256": self.sha256,
            "heads_sha256": HEADS_SHA256,
            "version": self.package.version,
            "size": self.size,
        }


def load_lpips_vgg(
    path,
    device="cpu",
    size: int | None = SIZE,
    sha256: str | None = None,
    made_here: bool = False,
) -> LpipsVgg:
    """LPIPS on the VGG16 trunk of a local file, by default torchvision's vgg16-397923af.pth.

    sha256, made_here: accept other hashes too, see `eval.networks.published`. UserError: no file, another
    hash (of the trunk or of the package's heads), tensors of another network, or NaN or infinity in them.
    """
    from nada.stylegan2.readers.unpickle import read_state_dict

    path = Path(path)
    digest = check_published(path, "the VGG16 trunk of LPIPS", TRUNK_SHA256, sha256, made_here)
    package = _package()
    _put_trunk(package.net, read_state_dict(path), path)
    package = package.eval().requires_grad_(False).to(device)
    return LpipsVgg(package, size, digest, path.name)


def _package() -> nn.Module:
    """The package's network with its verified heads and a random trunk; nothing is downloaded."""
    import lpips  # imports torchvision and matplotlib: only when asked for

    heads = Path(lpips.__file__).with_name("weights") / "v0.1" / "vgg.pth"
    check_published(heads, "the VGG heads of the lpips package", HEADS_SHA256)
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")  # torchvision: the `pretrained` spelling the package uses
        return lpips.LPIPS(net="vgg", version="0.1", pnet_rand=True, verbose=False)


def _put_trunk(net: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """Load torchvision's `features.N.*` into the package's `slice<k>.N.*`."""
    wanted = {name: f"features.{name.partition('.')[2]}" for name in net.state_dict()}
    missing = [theirs for theirs in wanted.values() if theirs not in tensors]
    known = set(wanted.values())
    extra = [name for name in tensors if name not in known and not name.startswith(UNUSED)]
    if missing or extra:
        fault = f"lacks {missing[0]}" if missing else f"has {extra[0]}"
        raise UserError(f"{path}: no VGG16 trunk: it {fault}; fetch vgg16-397923af.pth again.")
    check_finite(path, {name: tensors[name] for name in known}, "fetch vgg16-397923af.pth again")
    try:
        net.load_state_dict({ours: tensors[theirs] for ours, theirs in wanted.items()})
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{path}: no VGG16 trunk: {reason}") from error
