"""Source models: G, G_ema and D of one domain in one safetensors file of this project.

Checkpoints of other projects are converted first: `python -m nada.stylegan2.convert convert IN OUT`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from nada.run.atomic import atomic_path, canonical_json
from nada.run.errors import UserError

if TYPE_CHECKING:  # the command `convert` reads its arguments before it imports torch
    import torch

    from nada.stylegan2.discriminator import Discriminator
    from nada.stylegan2.generator import Generator

FORMAT = "stylegan2-source-1"
NETWORKS = ("G", "G_ema", "D")
#: First bytes of files of torch.save and of pickle; a safetensors file has a brace after eight bytes.
FOREIGN = (b"PK\3\4", b"\x80\2", b"\x80\3", b"\x80\4", b"\x80\5")


@dataclass
class SourceModel:
    """The pre-trained networks of one domain; `metadata` is free provenance (JSON-able values).

    D is None if the file has none (models that NADA or Ojha et al. adapted); `discriminator_for`
    returns it for training. file and layout: where the model was read from, for messages.
    """

    G: Generator
    G_ema: Generator
    D: Discriminator | None
    metadata: dict = field(default_factory=dict)
    file: str = ""
    layout: str = FORMAT

    def networks(self) -> dict:
        """The networks that the model has, by name."""
        every = {name: getattr(self, name) for name in NETWORKS}
        return {name: network for name, network in every.items() if network is not None}

    @property
    def converted_from(self) -> dict | None:
        """File, format and SHA-256 of the checkpoint that the model was converted from, or None."""
        imported = self.metadata.get("imported")
        if not isinstance(imported, dict):
            return None
        return {key: imported.get(key) for key in ("file", "format", "sha256")}

    def discriminator_for(self, purpose: str) -> Discriminator:
        """D. Raises UserError with the file and the purpose if there is none."""
        if self.D is None:
            origin = self.converted_from if self.layout == FORMAT else None
            where = f"{self.file}, converted from {origin['file']}," if origin else self.file
            raise UserError(
                f"{purpose} needs a discriminator, but the file {where or 'of the source model'} has no "
                f"discriminator; use the file that the model's training wrote, with 'd' or 'D' in it"
            )
        return self.D


def save_source(
    path: str | os.PathLike, source: SourceModel, dtype: torch.dtype | None = None
) -> None:
    """Write a source model to one safetensors file, atomically; equal models give equal bytes.

    dtype: torch.float16 (shipped weights, the default) or torch.float32. Raises UserError, before
    anything is written, for a value that is not finite in it. D may be None.
    """
    import torch
    from safetensors.torch import save_file

    from nada.run.finite import is_finite
    from nada.run.manifest import METADATA_KEY

    dtype = torch.float16 if dtype is None else dtype
    if dtype not in (torch.float16, torch.float32):
        raise UserError(f"dtype: {dtype} given, must be torch.float16 or torch.float32")
    networks = source.networks()
    tensors = {}
    for name, network in networks.items():
        for key, value in network.state_dict().items():
            stored = value.detach().to("cpu", dtype, copy=True).contiguous()
            if not is_finite(stored):
                raise UserError(
                    f"{path}: {name}.{key} has values that are not finite in {dtype}; nothing "
                    f"was written"
                )
            tensors[f"{name}.{key}"] = stored
    about = {
        "format": FORMAT,
        "architecture": {n: networks[n].config if n in networks else None for n in NETWORKS},
        "provenance": source.metadata,
    }
    with atomic_path(Path(path)) as temporary:
        save_file(tensors, temporary, metadata={METADATA_KEY: canonical_json(about)})


def load_source(path: str | os.PathLike, device: str | torch.device = "cpu") -> SourceModel:
    """Read a source model in float32 on `device`, networks in eval mode; draws no random numbers.

    Raises UserError if the file is missing, truncated, not a source model of this project, or
    inconsistent, or if a tensor has NaN or infinity.
    """
    from torch import nn

    from nada.run.manifest import described, existing, read_weights
    from nada.run.messages import quoted, shown
    from nada.stylegan2.architecture import empty
    from nada.stylegan2.discriminator import Discriminator
    from nada.stylegan2.generator import Generator

    if is_foreign(existing(path)):
        raise UserError(
            f"{path}: a checkpoint of another project's layout; convert it first: "
            f"python -m nada.stylegan2.convert convert {path} {Path(path).with_suffix('.safetensors')}"
        )
    tensors, metadata = read_weights(path)
    about = described(metadata)
    found = about.get("format")
    if found != FORMAT:
        raise UserError(
            f"{path}: not a source model: format {quoted(found)} in its metadata, {FORMAT!r} expected"
        )

    def made(make: type, name: str, config: dict) -> nn.Module:
        own = {key: value for key, value in tensors.items() if key.startswith(f"{name}.")}
        return empty(make, own, name, **config)

    try:
        provenance = about.get("provenance", {})
        if not isinstance(provenance, dict):
            raise TypeError(f"its provenance is {quoted(provenance)}")
        canonical_json(provenance).encode()  # it must be writable when the model is saved again
        # the file's tensors become the parameters; the device "meta" would import a compiler, for seconds
        configs = about["architecture"]
        networks = {name: made(Generator, name, configs[name]) for name in ("G", "G_ema")}
        if configs["D"] is not None:  # null: the model has no D
            networks["D"] = made(Discriminator, "D", configs["D"])
        nn.ModuleDict(networks).load_state_dict(tensors, strict=True, assign=True)
    except (KeyError, TypeError, ValueError, RuntimeError, UserError) as error:
        raise UserError(
            f"{path}: tensors and architecture do not match ({shown(error, 300)}); make or fetch it "
            f"again"
        ) from error
    for network in networks.values():
        network.to(device).eval()
    networks.setdefault("D", None)
    return SourceModel(**networks, metadata=provenance, file=str(path))


def is_foreign(path: str | os.PathLike) -> bool:
    """Whether a file begins like a checkpoint of torch.save or pickle, and not like a safetensors file."""
    with open(path, "rb") as file:
        head = file.read(9)
    header = int.from_bytes(head[:8], "little")  # of a safetensors file, in bytes
    ours = head[8:] == b"{" and header <= Path(path).stat().st_size - 8
    return head.startswith(FOREIGN) and not ours
