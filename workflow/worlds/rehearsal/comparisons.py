"""Compare each file of the rehearsal, read by the project's loader, with an independent forward pass.

Every function takes an asset's name, recipe and path and yields findings. The reference does not read
the file through the project: StyleGAN2's and Inception's weights are drawn again from the name, CLIP's
archive runs itself, VGG16 uses torch and torchvision. A finding's difference is the largest one divided
by the standard deviation over the samples. If all samples are equal or a value is not finite, no bound
is met.
"""

import hashlib
import json
import math
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from workflow.worlds.rehearsal import oracles
from workflow.worlds.rehearsal.architectures import Numbers
from workflow.worlds.rehearsal.pictures import photograph
from workflow.worlds.rehearsal.recipes import Recipe, tensors
from workflow.worlds.rehearsal.scripts import clip_module

# Largest difference explained by float32 rounding, in standard deviations over the samples.
BOUND = 1e-3
# Above this side the reference of StyleGAN2 uses float32 too: float64 would take gigabytes.
LARGEST_PRECISE = 256
TEXTS = ("a photo of a dog", "a photo of a cat", "a black and white pencil sketch of a face")
# Per-channel statistics of OpenAI's training images (Radford et al. 2021, their code).
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class Finding:
    """What was compared, the largest difference, and its bound."""

    what: str
    difference: float
    bound: float

    @property
    def ok(self) -> bool:
        return self.difference <= self.bound  # false for nan


def compare(what: str, ours, reference, bound: float = BOUND) -> Finding:
    """A finding on two arrays or tensors [N,…] of one shape."""
    ours, reference = (np.asarray(x, dtype=np.float64) for x in (ours, reference))
    if ours.shape != reference.shape:
        return Finding(f"{what}: shape {ours.shape} for {reference.shape}", math.inf, bound)
    spread = (reference - reference.mean(axis=0)).std()
    difference = np.abs(ours - reference).max()
    return Finding(what, float(difference / spread) if spread > 0 else math.inf, bound)


# StyleGAN2 ----------------------------------------------------------------------------------------


@torch.no_grad()
def stylegan(name: str, recipe: Recipe, path: Path) -> Iterator[Finding]:
    """G_ema with truncation, G without, D, and D's minibatch groups."""
    from nada.stylegan2.convert import read_model

    source, size = read_model(path), recipe.size
    dtype = torch.float64 if size.resolution <= LARGEST_PRECISE else torch.float32

    def numbers(part: str) -> dict[str, Tensor]:
        return {key: x.to(dtype) for key, x in tensors(name, recipe, part).items()}

    z = Numbers("check", name).normal(2, size.width)
    for part, psi in (("G_ema", 0.7), ("G", 1.0)):
        ours = getattr(source, part)(z, truncation_psi=psi, noise_mode="const")
        t = numbers(part)
        w = oracles.mapping(t, z.to(dtype))
        w = t["mapping.w_avg"] + psi * (w - t["mapping.w_avg"])
        w_plus = w[:, None].repeat(1, 2 * len(size.sides), 1)
        yield compare(f"images of {part}, truncation {psi}", ours, oracles.generator(t, w_plus))
    found = source.D.config["mbstd_group_size"]
    yield Finding("size of D's minibatch groups", abs(found - size.group), 0)
    # a batch larger than a group only where cheap; patches, because D gives similar logits for noise
    batch = 2 * size.group if size.resolution <= 64 else 2
    coarse = Numbers("check", name).normal(batch, 3, 8, 8)
    images = F.interpolate(coarse, (size.resolution, size.resolution))
    ours = source.D(images)
    del source
    group = min(size.group, batch)
    yield compare("logits of D", ours, oracles.discriminator(numbers("D"), images.to(dtype), group))


# CLIP ---------------------------------------------------------------------------------------------


@torch.no_grad()
def clip(name: str, recipe: Recipe, path: Path) -> Iterator[Finding]:
    """Unit embeddings of images and texts, against the archive's own code in float32.

    A state dict has no code: then an archive's network of the same tensors is the reference.
    """
    import open_clip

    from nada.clip.encoder import load_clip

    size = recipe.size
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "config.json")
        config.write_text(json.dumps(size.config()), encoding="utf-8")
        published = f"ViT-B-{size.patch}-quickgelu"
        named = open_clip.get_model_config(published)["vision_cfg"]["width"] == size.vision_width
        spec = {"name": name, "weights": str(path), "config": published if named else str(config)}
        model = load_clip(spec)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated
        if recipe.form == "clip":
            archive = torch.jit.load(str(path)).float().eval()
        else:
            archive = clip_module(size, tensors(name, recipe)).float().eval()
    coarse = Numbers("check", name).uniform(3, 3, 8, 8, low=-1, high=1)
    images = F.interpolate(coarse, (size.image, size.image))
    mean, std = (torch.tensor(numbers).view(3, 1, 1) for numbers in (MEAN, STD))
    expected = archive.encode_image(((images + 1) / 2 - mean) / std)
    ours = model.encode_images(images)
    yield compare("embeddings of images", ours, expected / expected.norm(dim=1, keepdim=True))
    expected = archive.encode_text(open_clip.get_tokenizer("ViT-B-32")(list(TEXTS)))
    ours = model.encode_texts(list(TEXTS))
    yield compare("embeddings of texts", ours, expected / expected.norm(dim=1, keepdim=True))


# The networks that measure ------------------------------------------------------------------------


def pictures(count: int, side: int) -> np.ndarray:
    """uint8 [count,side,side,3]"""
    kinds = ("cat", "dog", "wild")
    drawn = [photograph(np.random.default_rng(i), kinds[i % 3], side) for i in range(count)]
    return np.stack(drawn)


def _resized(images: np.ndarray, mode: str) -> Tensor:
    """uint8 [N,H,W,3] -> float64 [N,3,299,299] in [0,255], resized as each mode of FID does."""
    if mode == "legacy_pytorch":
        x = torch.from_numpy(images).permute(0, 3, 1, 2).float()
        return F.interpolate(x, (299, 299), mode="bilinear", align_corners=False).double()

    def channel(pixels: np.ndarray) -> np.ndarray:
        image = Image.fromarray(pixels.astype(np.float32))
        return np.asarray(image.resize((299, 299), Image.Resampling.BICUBIC)).clip(0, 255)

    rows = [[channel(image[..., c]) for c in range(3)] for image in images]
    return torch.from_numpy(np.array(rows)).double()


@torch.no_grad()
def inception(name: str, recipe: Recipe, path: Path) -> Iterator[Finding]:
    """Features of images whose size differs from the network's, including the resize."""
    from eval.networks.inception import Resizer, inception_features, load_inception

    mode = "clean" if recipe.form == "inception_script" else "legacy_pytorch"
    images = pictures(2, 160)
    ours = inception_features(images, load_inception(path, mode, made_here=True), Resizer())
    x = _resized(images, mode)
    x = (x - 128) / 128 if mode == "clean" else 2 * x / 255 - 1
    t = {key: value.double() for key, value in tensors(name, recipe).items()}
    yield compare(f"features, mode {mode}", ours, oracles.inception(t, x))


@torch.no_grad()
def vgg(name: str, recipe: Recipe, path: Path) -> Iterator[Finding]:
    """The LPIPS matrix, compared pair by pair with the lpips package on torchvision's layers."""
    import lpips
    from torchvision.models.vgg import cfgs, make_layers

    from eval.networks.lpips_matrix import lpips_matrix
    from eval.networks.lpips_vgg import SIZE, load_lpips_vgg

    published = recipe.size == type(recipe.size)()
    side = SIZE if published else 48
    images = pictures(3, side)
    ours = lpips_matrix(load_lpips_vgg(path, size=side, made_here=True), images)
    prefix = "features."
    state = torch.load(path, map_location="cpu", weights_only=True)
    trunk = make_layers(cfgs["D"], batch_norm=False)
    trunk.load_state_dict(
        {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchvision: the `pretrained` spelling of the package
        package = lpips.LPIPS(net="vgg", pnet_rand=True, verbose=False)
    for place, layer in package.net.named_modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.load_state_dict(trunk[int(place.rpartition(".")[2])].state_dict())
    x = torch.from_numpy(images).permute(0, 3, 1, 2) / 127.5 - 1
    expected = np.zeros((3, 3))
    for i, j in ((0, 1), (0, 2), (1, 2)):
        expected[i, j] = expected[j, i] = package(x[i : i + 1], x[j : j + 1]).item()
    yield compare("LPIPS of every pair", ours, expected)


# Image sets ---------------------------------------------------------------------------------------


def image_set(name: str, recipe: Recipe, path: Path) -> Iterator[Finding]:
    """Pixels read through an index, compared with Pillow file by file."""
    from nada.images.lazy import open_images
    from nada.images.sets import scan, write_index

    inside = "train/cat" if name == "afhq" else ""
    with tempfile.TemporaryDirectory() as folder:
        index, _ = scan(path, resolution=recipe.size.side, split=inside or None)
        write_index(Path(folder, "index.json"), index)
        images = open_images(Path(folder, "index.json"))
        files = sorted(file for file in (path / inside).rglob("*") if file.is_file())
        same_count, seen, difference = len(images) == len(files), set(), 0.0
        for row, file in enumerate(files if same_count else ()):  # one at a time: a set is large
            pixels = np.asarray(Image.open(file).convert("RGB"))
            ours = images[row : row + 1][0].astype(np.int16)
            difference = max(difference, float(np.abs(ours - pixels).max()))
            seen.add(hashlib.sha256(pixels.tobytes()).digest())
    # equal images would hide an index that is off by one
    right = same_count and len(seen) == len(files)
    yield Finding(f"pixels of {len(files)} images", difference if right else math.inf, bound=0)


COMPARISONS = {
    "rosinality": stylegan,
    "nvlabs": stylegan,
    "nvlabs_tf": stylegan,
    "clip": clip,
    "clip_state": clip,
    "inception_script": inception,
    "inception_state": inception,
    "vgg": vgg,
    "images": image_set,
}


def findings(name: str, recipe: Recipe, path: Path) -> Iterator[Finding]:
    """All findings on one asset."""
    yield from COMPARISONS[recipe.form](name, recipe, path)
