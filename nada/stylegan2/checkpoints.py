"""Source models: G, G_ema and D of one domain in one file, of ours or of other people's layouts.

Ours is a safetensors file. Other layouts (rosinality's `.pt`, NVlabs' `.pkl` of PyTorch and of
TensorFlow) are told apart by content and read without running a byte of theirs.

    python -m nada.stylegan2.checkpoints show FILE
    python -m nada.stylegan2.checkpoints check FILE [--sha256 HEX]
    python -m nada.stylegan2.checkpoints convert IN OUT      (OUT .safetensors: ours, .pt: rosinality)
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from nada.run.atomic import atomic_path, canonical_json, sha256
from nada.run.errors import UserError, command
from nada.run.outputs import check_output

if TYPE_CHECKING:  # the command line reads its arguments before it imports torch
    import torch

    from nada.stylegan2.discriminator import Discriminator
    from nada.stylegan2.generator import Generator

FORMAT = "stylegan2-source-1"
NETWORKS = ("G", "G_ema", "D")


@dataclass
class SourceModel:
    """The pre-trained networks of one domain; `metadata` is free provenance (JSON-able values).

    D is None where the file has none (models that NADA or Ojha et al. adapted); who trains one asks
    `discriminator_for`. file and layout: what the model was read from, for messages.
    """

    G: Generator
    G_ema: Generator
    D: Discriminator | None
    metadata: dict = field(default_factory=dict)
    file: str = ""
    layout: str = FORMAT

    def discriminator_for(self, purpose: str) -> Discriminator:
        """D. Raises UserError, naming the file and the purpose, where there is none."""
        if self.D is None:
            raise UserError(
                f"{purpose} needs a discriminator, but the file {self.file or 'of the source model'} "
                f"has no discriminator; use the file that the model's training wrote, with 'd' or "
                f"'D' in it"
            )
        return self.D


def save_source(
    path: str | os.PathLike, source: SourceModel, dtype: torch.dtype | None = None
) -> None:
    """Write a source model to one safetensors file, atomically; equal models give equal bytes.

    dtype: torch.float16 (shipped weights, the default) or torch.float32. A value that is not finite
    in it is a UserError, and nothing is written. A model without D is written without.
    """
    import torch
    from safetensors.torch import save_file

    from nada.run.finite import is_finite
    from nada.run.manifest import METADATA_KEY

    dtype = torch.float16 if dtype is None else dtype
    if dtype not in (torch.float16, torch.float32):
        raise UserError(f"dtype: {dtype} given, must be torch.float16 or torch.float32")
    networks = _networks(source)
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

    The content says which layout it is: ours, rosinality's, NVlabs' of PyTorch or TensorFlow. A
    file of another layout is read as plain data (nada/stylegan2/readers/unpickle.py), and what it lacks or
    what cannot be converted is in the metadata.
    Raises UserError where the file is missing, truncated, not a source model, or inconsistent, and
    where a tensor has NaN or infinity.
    """
    from nada.stylegan2.readers.unpickle import tell_format

    if tell_format(path) in ("torch zip", "pickle"):
        source = _load_foreign(path)
    else:
        source = _load_own(path)
    for network in _networks(source).values():
        network.to(device).eval()
    return source


def _load_own(path: str | os.PathLike) -> SourceModel:
    from torch import nn

    from nada.run.manifest import described, read_weights
    from nada.stylegan2.discriminator import Discriminator
    from nada.stylegan2.generator import Generator
    from nada.stylegan2.readers.layouts import Layout, empty
    from nada.stylegan2.readers.unpickle_limits import quoted, shown

    tensors, metadata = read_weights(path)
    about = described(metadata)
    found = about.get("format")
    if found != FORMAT:
        raise UserError(
            f"{path}: not a source model: format {quoted(found)} in its metadata, {FORMAT!r} expected"
        )

    def made(make: type, name: str, config: dict) -> nn.Module:
        own = {key: value for key, value in tensors.items() if key.startswith(f"{name}.")}
        return empty(make, Layout(own, name), **config)

    try:
        provenance = about.get("provenance", {})
        if not isinstance(provenance, dict):
            raise TypeError(f"its provenance is {quoted(provenance)}")
        canonical_json(provenance).encode()  # as who saves the model again will write it
        # the file's tensors move in; on the device "meta" this would import a compiler, for seconds
        configs = about["architecture"]
        networks = {name: made(Generator, name, configs[name]) for name in ("G", "G_ema")}
        if configs["D"] is not None:  # null says that the model has none
            networks["D"] = made(Discriminator, "D", configs["D"])
        nn.ModuleDict(networks).load_state_dict(tensors, strict=True, assign=True)
    except (KeyError, TypeError, ValueError, RuntimeError, UserError) as error:
        raise UserError(
            f"{path}: tensors and architecture do not match ({shown(error, 300)}); make or fetch it "
            f"again"
        ) from error
    networks.setdefault("D", None)
    return SourceModel(**networks, metadata=provenance, file=str(path))


def _load_foreign(path: str | os.PathLike) -> SourceModel:
    """A checkpoint of other people, by the layout that its tree is in."""
    from nada.stylegan2.readers import nvlabs, nvlabs_tf, rosinality
    from nada.stylegan2.readers.unpickle import UNEXPECTED, read_checkpoint
    from nada.stylegan2.readers.unpickle_limits import shown

    tree = read_checkpoint(path)
    layouts = (
        (rosinality.is_rosinality, rosinality.read),
        (nvlabs.is_nvlabs, nvlabs.read),
        (nvlabs_tf.is_nvlabs_tf, nvlabs_tf.read),
    )
    for matches, read in layouts:
        if matches(tree):
            try:
                networks, notes = read(tree, str(path))
                imported = {**notes, "file": Path(path).name, "sha256": sha256(path)}
            # the tree is whatever the file said; what no reader expects is damage, not a crash
            except (*UNEXPECTED, ArithmeticError, MemoryError, OSError) as error:
                reason = shown(f"{type(error).__name__}: {error}", 120)
                raise UserError(
                    f"{path}: damaged, or of a kind that is not known ({reason}); get the file again"
                ) from error
            about = {"file": str(path), "layout": notes["format"]}
            return SourceModel(**networks, metadata={"imported": imported}, **about)
    raise UserError(
        f"{path}: no source model: neither rosinality's g_ema, nor G_ema of NVlabs' PyTorch code, "
        f"nor (G, D, Gs) of its TensorFlow code is in it"
    )


def _networks(source: SourceModel) -> dict:
    """The networks that the model has, by name."""
    every = {name: getattr(source, name) for name in NETWORKS}
    return {name: network for name, network in every.items() if network is not None}


# The command --------------------------------------------------------------------------------------


@command
def main(argv=None) -> int:
    options = _parser().parse_args(argv)
    return options.run(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m nada.stylegan2.checkpoints",
        description="ObservationSpec into, check and convert StyleGAN2 checkpoints; no code in them is run.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    listing = commands.add_parser("show", help="say what a file holds")
    listing.add_argument("file", type=Path)
    listing.set_defaults(run=_show)
    checking = commands.add_parser("check", help="verify a file and draw one image with it")
    checking.add_argument("file", type=Path)
    checking.add_argument("--sha256", metavar="HEX", help="the hash that the file must have")
    checking.set_defaults(run=_check)
    converting = commands.add_parser("convert", help="write a file in another layout")
    converting.add_argument("source", type=Path, metavar="IN")
    converting.add_argument(
        "out", type=Path, metavar="OUT", help=".safetensors: this project's, .pt: rosinality's"
    )
    converting.add_argument(
        "--half",
        action="store_true",
        help="16-bit numbers in a .safetensors file, for half its size",
    )
    converting.set_defaults(run=_convert)
    return parser


def _show(options) -> int:
    source = load_source(options.file)
    for line in describe(source):
        print(line)
    print(f"size: {options.file.stat().st_size:,} bytes")
    print(f"sha256: {sha256(options.file)}")
    return 0


def describe(source: SourceModel) -> list[str]:
    """What a source model is, in lines for people: layout, networks, widths, notes."""
    from nada.stylegan2.readers.unpickle_limits import shown

    config = source.G_ema.config
    notes = source.metadata.get("imported")
    notes = {k: shown(v) for k, v in notes.items()} if isinstance(notes, dict) else {}
    widths = " ".join(
        f"{conv.resolution}:{conv.weight.shape[0]}" for conv in source.G_ema.synthesis.convs[::2]
    )
    mapping = f"{config['mapping_layers']} layers, z {config['z_dim']}, w {config['style_dim']}"
    lines = [
        f"format: {source.layout}",
        f"networks: {', '.join(_counted(n, net) for n, net in _networks(source).items())}",
        f"resolution: {config['resolution']}x{config['resolution']}, {source.G_ema.num_ws} style slots",
        f"widths: {widths} (base {config['channel_base']}, at most {config['channel_max']})",
        f"mapping: {mapping}, learning-rate factor {config['mapping_lr_mul']:g}",
        f"mean w: {notes.get('w_avg', 'in the file')}",
    ]
    if source.D is None:
        lines.append("discriminator: none")
    else:
        lines.append(f"discriminator: minibatch groups of {source.D.config['mbstd_group_size']}")
    if notes and source.layout == FORMAT:
        file, layout, digest = (notes.get(key, "?") for key in ("file", "format", "sha256"))
        lines.append(f"imported from: {file} ({layout}, {digest[:12]}…)")
    for note in ("noise_const", "conv_clamp", "G"):
        if note in notes:
            lines.append(f"note: {note}: {notes[note]}")
    return lines


def _counted(name: str, network) -> str:
    return f"{name} ({sum(p.numel() for p in network.parameters()):,} parameters)"


def _check(options) -> int:
    if options.sha256 is not None:
        _check_hash(options.file, options.sha256)
        print("sha256: as given")
    source = load_source(options.file)
    side = source.G_ema.config["resolution"]
    print(f"shapes: consistent, {', '.join(_networks(source))} of {side}x{side}")
    low, high = check_source(source)
    print(f"values: finite; an image with constant noise has values from {low:.3g} to {high:.3g}")
    return 0


def _check_hash(path: Path, expected: str) -> None:
    from nada.run.manifest import existing

    found = sha256(existing(path))
    if found != expected.strip().lower():
        raise UserError(
            f"{path}: has SHA-256 {found}, but {expected.strip().lower()} was given; get it again"
        )


def check_source(source: SourceModel) -> tuple[float, float]:
    """Draw one image with constant noise, truncation 0.7; returns its least and largest value.

    Raises UserError where a value of a network, of the image or of its logit is not finite.
    """
    import torch

    from nada.run.finite import check_finite

    where = source.file or "the source model"
    for name, network in _networks(source).items():
        tensors = {f"{name}.{key}": value for key, value in network.state_dict().items()}
        check_finite(where, tensors, "get it again")
    G = source.G_ema
    z = torch.randn(1, G.config["z_dim"], generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        image = G(z.to(G.w_avg.device), truncation_psi=0.7, noise_mode="const")
        logits = image.new_zeros(1, 1) if source.D is None else source.D(image)
    if not image.isfinite().all() or not logits.isfinite().all():
        raise UserError(f"{where}: draws an image or a logit that is not finite; get it again")
    return image.min().item(), image.max().item()


def _convert(options) -> int:
    suffix = options.out.suffix
    if suffix not in (".safetensors", ".pt"):
        raise UserError(
            f"{options.out}: ends in {suffix or 'nothing'!r}; .safetensors (this project's layout) and "
            f".pt (rosinality's) are written"
        )
    if options.out.is_dir():
        raise UserError(f"{options.out}: is a folder; name a file in it")
    if options.out.exists() and options.source.exists() and options.out.samefile(options.source):
        raise UserError(f"{options.out}: is the file to convert itself; name another")
    if options.half and suffix == ".pt":
        raise UserError("--half: is for .safetensors files; leave it out for a .pt file")
    check_output(options.out)  # any file there is a model that somebody may need
    print(f"reading {options.source}", flush=True)
    source = load_source(options.source)
    for line in describe(source):
        print(f"  {line}")
    if suffix == ".pt":
        _write_rosinality(options.out, source)
    else:
        import torch

        save_source(options.out, source, torch.float16 if options.half else torch.float32)
    print(
        f"wrote {options.out} ({options.out.stat().st_size:,} bytes), sha256 {sha256(options.out)}"
    )
    return 0


def _write_rosinality(path: Path, source: SourceModel) -> None:
    from nada.stylegan2.readers import rosinality

    networks = {name: getattr(source, name) for name in NETWORKS}
    rosinality.write(path, networks)
    if not rosinality.public_code_can_load(networks):
        print(
            "note: these widths are not those of channel_multiplier 1 or 2, all that public code builds"
        )
    if source.D is not None and source.D.config["mbstd_group_size"] != 4:
        group = source.D.config["mbstd_group_size"]
        print(
            f"note: public code reads D with minibatch groups of 4; this one was trained with {group}"
        )


if __name__ == "__main__":
    raise SystemExit(main())
