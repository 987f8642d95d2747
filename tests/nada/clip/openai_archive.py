"""A small CLIP with the names and the precisions of OpenAI's archives, written from the paper."""

from collections import OrderedDict

import torch
from torch import nn

EMBED, WIDTH, SIZE, PATCH = 16, 64, 32, 16


TEXT_WIDTH, VOCABULARY, CONTEXT = 16, 49408, 77


CONFIG = {
    "embed_dim": EMBED,
    "quick_gelu": True,
    "vision_cfg": {"image_size": SIZE, "layers": 2, "width": WIDTH, "patch_size": PATCH},
    "text_cfg": {
        "context_length": CONTEXT,
        "vocab_size": VOCABULARY,
        "width": TEXT_WIDTH,
        "heads": 2,
        "layers": 1,
    },
}


class Block(nn.Module):
    """A transformer block as OpenAI's archive names its parts, on [L,N,D]."""

    def __init__(self, width, heads, mask=None):
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads)
        parts = {"c_fc": nn.Linear(width, 4 * width), "c_proj": nn.Linear(4 * width, width)}
        self.mlp = nn.Sequential(OrderedDict(parts))
        self.register_buffer("attn_mask", mask)

    def forward(self, x):
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, need_weights=False, attn_mask=self.attn_mask)[0]
        h = self.mlp.c_fc(self.ln_2(x))
        return x + self.mlp.c_proj(h * torch.sigmoid(1.702 * h))


class Tower(nn.Module):
    def __init__(self, width, heads, layers, mask=None):
        super().__init__()
        self.resblocks = nn.Sequential(*(Block(width, heads, mask) for _ in range(layers)))

    def forward(self, x):
        return self.resblocks(x.transpose(0, 1)).transpose(0, 1)


class Vision(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTH, PATCH, PATCH, bias=False)
        self.class_embedding = nn.Parameter(torch.randn(WIDTH))
        self.positional_embedding = nn.Parameter(torch.randn((SIZE // PATCH) ** 2 + 1, WIDTH))
        self.ln_pre, self.ln_post = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.transformer = Tower(WIDTH, 1, 2)
        self.proj = nn.Parameter(torch.randn(WIDTH, EMBED))

    def forward(self, x):
        x = self.conv1(x).flatten(2).transpose(1, 2)
        first = self.class_embedding.expand(x.shape[0], 1, -1)
        x = self.ln_pre(torch.cat([first, x], dim=1) + self.positional_embedding)
        return self.ln_post(self.transformer(x)[:, 0]) @ self.proj


class OpenAi(nn.Module):
    """CLIP written from the paper, under the names of OpenAI's archives, bookkeeping included."""

    def __init__(self):
        super().__init__()
        mask = torch.full((CONTEXT, CONTEXT), float("-inf")).triu(1)
        self.visual = Vision()
        self.transformer = Tower(TEXT_WIDTH, 2, 1, mask)
        self.token_embedding = nn.Embedding(VOCABULARY, TEXT_WIDTH)
        self.positional_embedding = nn.Parameter(torch.randn(CONTEXT, TEXT_WIDTH))
        self.ln_final = nn.LayerNorm(TEXT_WIDTH)
        self.text_projection = nn.Parameter(torch.randn(TEXT_WIDTH, EMBED))
        self.logit_scale = nn.Parameter(torch.tensor(4.6))
        numbers = {"input_resolution": SIZE, "context_length": CONTEXT, "vocab_size": VOCABULARY}
        for name, number in numbers.items():
            self.register_buffer(name, torch.tensor(number))

    def encode_image(self, x):
        return self.visual(x)

    def encode_text(self, ids):
        x = self.transformer(self.token_embedding(ids) + self.positional_embedding)
        x = self.ln_final(x)[torch.arange(x.shape[0]), ids.argmax(dim=-1)]
        return x @ self.text_projection


def halves(name: str) -> bool:
    """What OpenAI keeps in half precision: all but layer norms, embeddings and the scale."""
    return not any(part in name for part in ("ln_", "embedding", "logit_scale"))
