"""Random networks for the method's tests: a 16 px generator and a CLIP of one layer."""

import json

import open_clip
import pytest
import torch
from safetensors.torch import save_file

from nada.clip.encoder import load_clip
from nada.stylegan2.generator import Generator

WORDS = ["a", "photo", "of", "dog", "cat", "the"]
CLIP_CONFIG = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 16, "patch_size": 8, "width": 32, "layers": 1, "head_width": 16},
    "text_cfg": {"context_length": 8, "vocab_size": 9, "width": 16, "heads": 2, "layers": 1},
    "image_mean": [0.5, 0.4, 0.3],
    "image_std": [0.5, 0.6, 0.7],
    "tokenizer": {"type": "words", "words": WORDS, "context_length": 8},
}


@pytest.fixture
def generator():
    """16 px, 6 W+ slots, 5 convolutions; noise strength 0.2, so that noise shows."""
    torch.manual_seed(0)
    network = Generator(
        16, z_dim=8, style_dim=8, channel_base=128, channel_max=8, mapping_layers=2
    ).eval()
    with torch.no_grad():
        for conv in network.synthesis.convs:
            conv.noise_strength.fill_(0.2)
    return network


@pytest.fixture(scope="session")
def clip_spec(tmp_path_factory):
    """A run spec's entry for a random CLIP, half precision on disk."""
    folder = tmp_path_factory.mktemp("clip")
    torch.manual_seed(1)
    towers = {key: CLIP_CONFIG[key] for key in ("embed_dim", "vision_cfg", "text_cfg")}
    state = open_clip.model.CLIP(**towers).state_dict()
    save_file(
        {name: tensor.half().contiguous() for name, tensor in state.items()},
        folder / "clip.safetensors",
    )
    (folder / "clip.json").write_text(json.dumps(CLIP_CONFIG))
    return {
        "name": "a",
        "config": str(folder / "clip.json"),
        "weights": str(folder / "clip.safetensors"),
        "weight": 1.0,
    }


@pytest.fixture
def clip(clip_spec):
    return load_clip(clip_spec)
