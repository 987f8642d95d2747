"""Source models: G, G_ema and D of one domain in one safetensors file."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from nada.atomic import atomic_path, canonical_json
from nada.errors import UserError
from nada.manifest import read_weights
from nada.stylegan2.discriminator import Discriminator
from nada.stylegan2.generator import Generator

FORMAT = "stylegan2-source-1"
# One metadata key: safetensors writes several in a random order, and bytes must not depend on it.
METADATA_KEY = "json"
NETWORKS = {"G": Generator, "G_ema": Generator, "D": Discriminator}


@dataclass
class SourceModel:
    """The pre-trained networks of one domain; `metadata` is free provenance (JSON-able values)."""

    G: Generator
    G_ema: Generator
    D: Discriminator
    metadata: dict = field(default_factory=dict)


def save_source(
    path: str | os.PathLike, source: SourceModel, dtype: torch.dtype = torch.float16
) -> None:
    """Write a source model to one safetensors file, atomically; equal models give equal bytes.

    dtype: torch.float16 (shipped weights) or torch.float32. A value that is not finite in it is a
    UserError, and nothing is written.
    """
    if dtype not in (torch.float16, torch.float32):
        raise UserError(f"dtype: {dtype} given, must be torch.float16 or torch.float32")
    tensors = {}
    for name in NETWORKS:
        for key, value in getattr(source, name).state_dict().items():
            stored = value.detach().to("cpu", dtype, copy=True).contiguous()
            if not torch.isfinite(stored).all():
                raise UserError(
                    f"{path}: {name}.{key} has values that are not finite in {dtype}; nothing "
                    f"was written"
                )
            tensors[f"{name}.{key}"] = stored
    about = {
        "format": FORMAT,
        "architecture": {name: getattr(source, name).config for name in NETWORKS},
        "provenance": source.metadata,
    }
    with atomic_path(Path(path)) as temporary:
        save_file(tensors, temporary, metadata={METADATA_KEY: canonical_json(about)})


def load_source(path: str | os.PathLike, device: str | torch.device = "cpu") -> SourceModel:
    """Read a source model in float32 on `device`, networks in eval mode; draws no random numbers.

    Raises UserError where the file is missing, truncated, not a source model, or inconsistent.
    """
    tensors, metadata = read_weights(path)
    try:
        about = json.loads(metadata[METADATA_KEY])
        found = about["format"]
    except (KeyError, TypeError, ValueError):
        found = None
    if found != FORMAT:
        raise UserError(
            f"{path}: not a source model: format {found!r} in its metadata, {FORMAT!r} expected"
        )
    try:
        # the file's tensors move in; on the device "meta" this would import a compiler, for seconds
        with torch.random.fork_rng(devices=[]):
            configs = about["architecture"]
            networks = {name: make(**configs[name]) for name, make in NETWORKS.items()}
        nn.ModuleDict(networks).load_state_dict(tensors, strict=True, assign=True)
    except (KeyError, TypeError, ValueError, RuntimeError, UserError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{path}: tensors and architecture do not match ({reason}); make or fetch it again"
        ) from error
    for network in networks.values():
        network.to(device).eval()
    return SourceModel(**networks, metadata=about.get("provenance", {}))
