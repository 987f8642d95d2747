"""CLIP and Inception as modules that TorchScript compiles, as in the published archives.

CLIP (Radford et al. 2021) under the names of OpenAI's archives, in their mixture of half and full
precision; Inception v3 (TensorFlow's of 2015) with the part `layers` that clean-fid calls. Each can
run from its archive alone, which is the reference for the project's loaders.
"""

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workflow.worlds.rehearsal.architectures import ClipSize


def _frozen(*shape: int) -> nn.Parameter:
    """An empty parameter that is filled later."""
    return nn.Parameter(torch.empty(shape), requires_grad=False)


# CLIP ---------------------------------------------------------------------------------------------


class LayerNorm(nn.Module):
    """Layer norm in the precision of its weights, whatever the input's."""

    def __init__(self, width: int):
        super().__init__()
        self.weight, self.bias = _frozen(width), _frozen(width)

    def forward(self, x: Tensor) -> Tensor:
        full = x.to(self.weight.dtype)
        centred = full - full.mean(dim=-1, keepdim=True)
        full = centred / torch.sqrt(centred.square().mean(dim=-1, keepdim=True) + 1e-5)
        return (full * self.weight + self.bias).to(x.dtype)


class Dense(nn.Module):
    def __init__(self, n_in: int, n_out: int):
        super().__init__()
        self.weight, self.bias = _frozen(n_out, n_in), _frozen(n_out)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)


class QuickGelu(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


class Attention(nn.Module):
    """Self-attention on [N,L,D], all heads in one product; `mask` [L,L] is added to the scores."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.in_proj_weight, self.in_proj_bias = _frozen(3 * width, width), _frozen(3 * width)
        self.out_proj = Dense(width, width)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        n, length, width = x.shape
        side = width // self.heads
        projected = F.linear(x, self.in_proj_weight, self.in_proj_bias)
        q, k, v = projected.reshape(n, length, 3, self.heads, side).permute(2, 0, 3, 1, 4).unbind(0)
        scores = q @ k.transpose(2, 3) / side**0.5
        if mask is not None:
            scores = scores + mask.to(x.dtype)
        mixed = scores.softmax(dim=-1) @ v
        return self.out_proj(mixed.transpose(1, 2).reshape(n, length, width))


class Block(nn.Module):
    """A transformer block; every block holds the mask of texts, as in OpenAI's archives."""

    def __init__(self, width: int, heads: int, masked: int):
        super().__init__()
        self.ln_1, self.ln_2 = LayerNorm(width), LayerNorm(width)
        self.attn = Attention(width, heads)
        parts = [
            ("c_fc", Dense(width, 4 * width)),
            ("gelu", QuickGelu()),
            ("c_proj", Dense(4 * width, width)),
        ]
        self.mlp = nn.Sequential(OrderedDict(parts))
        self.register_buffer("attn_mask", torch.empty(masked, masked) if masked else None)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x), self.attn_mask)
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    """Blocks one after the other; `masked`: length of the texts, 0 for images."""

    def __init__(self, width: int, heads: int, layers: int, masked: int = 0):
        super().__init__()
        self.resblocks = nn.Sequential(*(Block(width, heads, masked) for _ in range(layers)))

    def forward(self, x: Tensor) -> Tensor:
        return self.resblocks(x)


class Patches(nn.Module):
    """Images [N,3,S,S] -> patches [N,L,D]."""

    def __init__(self, width: int, patch: int):
        super().__init__()
        self.patch = patch
        self.weight = _frozen(width, 3, patch, patch)

    def forward(self, image: Tensor) -> Tensor:
        x = F.conv2d(image.to(self.weight.dtype), self.weight, None, [self.patch, self.patch])
        return x.flatten(2).transpose(1, 2)


class Vision(nn.Module):
    """Normalised images [N,3,S,S] -> embeddings [N,E]."""

    def __init__(self, size: ClipSize):
        super().__init__()
        width = size.vision_width
        self.conv1 = Patches(width, size.patch)
        self.class_embedding = _frozen(width)
        self.positional_embedding = _frozen(size.grid**2 + 1, width)
        self.ln_pre, self.ln_post = LayerNorm(width), LayerNorm(width)
        self.transformer = Transformer(width, size.vision_heads, size.vision_layers)
        self.proj = _frozen(width, size.embed)

    def forward(self, image: Tensor) -> Tensor:
        x = self.conv1(image)
        first = self.class_embedding.to(x.dtype).expand(x.shape[0], 1, -1)
        x = torch.cat([first, x], dim=1) + self.positional_embedding.to(x.dtype)
        x = self.transformer(self.ln_pre(x))
        return self.ln_post(x[:, 0]) @ self.proj


class Clip(nn.Module):
    """Both towers: `encode_image` and `encode_text`; a call returns logits."""

    def __init__(self, size: ClipSize):
        super().__init__()
        width, length = size.text_width, size.context
        self.visual = Vision(size)
        self.transformer = Transformer(width, size.text_heads, size.text_layers, masked=length)
        self.token_embedding = nn.Embedding(
            size.vocabulary, width, _weight=torch.empty(size.vocabulary, width)
        )
        self.positional_embedding = _frozen(length, width)
        self.ln_final = LayerNorm(width)
        self.text_projection = _frozen(width, size.embed)
        self.logit_scale = _frozen()
        for name in ("input_resolution", "context_length", "vocab_size"):
            self.register_buffer(name, torch.tensor(0))

    @torch.jit.export
    def encode_image(self, image: Tensor) -> Tensor:
        return self.visual(image)

    @torch.jit.export
    def encode_text(self, text: Tensor) -> Tensor:
        x = self.token_embedding(text) + self.positional_embedding
        x = self.ln_final(self.transformer(x.to(self.text_projection.dtype)))
        ends = text.argmax(dim=-1)  # the end of a text has the largest id
        return x[torch.arange(x.shape[0], device=x.device), ends] @ self.text_projection

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        seen = F.normalize(self.encode_image(image), dim=-1)
        read = F.normalize(self.encode_text(text), dim=-1)
        return self.logit_scale.exp() * seen @ read.t()


def clip_module(size: ClipSize, tensors: dict[str, Tensor]) -> nn.Module:
    """A CLIP with these tensors in their data types, and the other entries of OpenAI's archives."""
    mask = torch.full((size.context, size.context), float("-inf")).triu(1)
    beside = {
        "input_resolution": torch.tensor(size.image),
        "context_length": torch.tensor(size.context),
        "vocab_size": torch.tensor(size.vocabulary),
    }
    for i in range(size.text_layers):
        beside[f"transformer.resblocks.{i}.attn_mask"] = mask.clone()
    module = Clip(size)
    module.load_state_dict({**tensors, **beside}, strict=True, assign=True)
    return module.eval().requires_grad_(False)


# Inception v3 -------------------------------------------------------------------------------------


class Convolution(nn.Module):
    """Convolution, batch norm, ReLU; the tensors of one name."""

    def __init__(self, tensors: dict[str, Tensor], name: str, stride: int = 1, same: bool = True):
        super().__init__()
        weight = tensors[f"{name}.conv.weight"]
        self.stride = [stride, stride]
        self.padding = [weight.shape[2] // 2, weight.shape[3] // 2] if same else [0, 0]
        self.register_buffer("weight", weight)
        for kind in ("weight", "bias", "running_mean", "running_var"):
            self.register_buffer(f"norm_{kind}", tensors[f"{name}.bn.{kind}"])

    def forward(self, x: Tensor) -> Tensor:
        x = F.conv2d(x, self.weight, None, self.stride, self.padding)
        x = F.batch_norm(
            x,
            self.norm_running_mean,
            self.norm_running_var,
            self.norm_weight,
            self.norm_bias,
            False,
            0.0,
            1e-3,
        )
        return F.relu(x)


class Branches(nn.Module):
    """Several branches of one input, concatenated over channels."""

    def __init__(self, *branches: nn.Module):
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        found = []
        for branch in self.branches:
            found.append(branch(x))
        return torch.cat(found, dim=1)


class Features(nn.Module):
    """Normalised images [N,3,299,299] -> [N,2048]."""

    def __init__(self, tensors: dict[str, Tensor]):
        super().__init__()
        half = {"stride": 2, "same": False}

        def conv(name, **how):
            return Convolution(tensors, name, **how)

        def chain(block, *names, first=()):
            return nn.Sequential(*first, *(conv(f"{block}.{name}") for name in names))

        def pooled(block, pool):
            return chain(block, "branch_pool", first=[pool])

        def average():
            return nn.AvgPool2d(3, 1, 1, count_include_pad=False)

        def five(block):
            return Branches(
                chain(block, "branch1x1"),
                chain(block, "branch5x5_1", "branch5x5_2"),
                chain(block, "branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"),
                pooled(block, average()),
            )

        def six(block):
            return Branches(
                chain(block, "branch1x1"),
                chain(block, "branch7x7_1", "branch7x7_2", "branch7x7_3"),
                chain(block, *(f"branch7x7dbl_{i}" for i in range(1, 6))),
                pooled(block, average()),
            )

        def seven(block, pool):
            return Branches(
                chain(block, "branch1x1"),
                nn.Sequential(
                    conv(f"{block}.branch3x3_1"),
                    Branches(conv(f"{block}.branch3x3_2a"), conv(f"{block}.branch3x3_2b")),
                ),
                nn.Sequential(
                    chain(block, "branch3x3dbl_1", "branch3x3dbl_2"),
                    Branches(conv(f"{block}.branch3x3dbl_3a"), conv(f"{block}.branch3x3dbl_3b")),
                ),
                pooled(block, pool),
            )

        self.body = nn.Sequential(
            conv("Conv2d_1a_3x3", **half),
            conv("Conv2d_2a_3x3", same=False),
            conv("Conv2d_2b_3x3"),
            nn.MaxPool2d(3, 2),
            conv("Conv2d_3b_1x1"),
            conv("Conv2d_4a_3x3", same=False),
            nn.MaxPool2d(3, 2),
            *(five(block) for block in ("Mixed_5b", "Mixed_5c", "Mixed_5d")),
            Branches(
                conv("Mixed_6a.branch3x3", **half),
                nn.Sequential(
                    chain("Mixed_6a", "branch3x3dbl_1", "branch3x3dbl_2"),
                    conv("Mixed_6a.branch3x3dbl_3", **half),
                ),
                nn.MaxPool2d(3, 2),
            ),
            *(six(block) for block in ("Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e")),
            Branches(
                nn.Sequential(conv("Mixed_7a.branch3x3_1"), conv("Mixed_7a.branch3x3_2", **half)),
                nn.Sequential(
                    chain("Mixed_7a", "branch7x7x3_1", "branch7x7x3_2", "branch7x7x3_3"),
                    conv("Mixed_7a.branch7x7x3_4", **half),
                ),
                nn.MaxPool2d(3, 2),
            ),
            seven("Mixed_7b", average()),
            seven("Mixed_7c", nn.MaxPool2d(3, 1, 1)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x).mean(dim=[2, 3])


class InceptionScript(nn.Module):
    """Images [N,3,299,299] in [0,255] -> class probabilities, or features."""

    def __init__(self, tensors: dict[str, Tensor]):
        super().__init__()
        self.layers = Features(tensors)
        self.register_buffer("output_weight", tensors["fc.weight"])
        self.register_buffer("output_bias", tensors["fc.bias"])

    def forward(self, x: Tensor, return_features: bool = False) -> Tensor:
        features = self.layers((x - 128) / 128)
        if return_features:
            return features
        return F.linear(features, self.output_weight, self.output_bias).softmax(dim=1)
