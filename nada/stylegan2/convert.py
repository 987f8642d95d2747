"""Show, check and convert checkpoints of other projects; they are read as plain data.

    python -m nada.stylegan2.convert show FILE
    python -m nada.stylegan2.convert check FILE [--sha256 HEX]
    python -m nada.stylegan2.convert convert IN OUT      (OUT .safetensors: ours, .pt: rosinality)

The content of a file tells whether it is rosinality's `.pt` or NVlabs' `.pkl` of PyTorch or TensorFlow.
No code in it is executed. All other modules read only the converted file.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from nada.run.atomic import sha256
from nada.run.errors import UserError, command
from nada.run.outputs import check_output
from nada.stylegan2.source_model import (
    FORMAT,
    NETWORKS,
    SourceModel,
    is_foreign,
    load_source,
    save_source,
)


def read_model(path: str | os.PathLike) -> SourceModel:
    """Read a source model of any layout, in float32 on the CPU; draws no random numbers.

    For another layout, `metadata.imported` has the layout, the file's name and SHA-256, what the file
    lacks, and what cannot be converted. Raises UserError as `load_source` does.
    """
    from nada.run.manifest import existing

    if not is_foreign(existing(path)):
        return load_source(path)
    source = _read_foreign(path)
    for network in source.networks().values():
        network.eval()
    return source


def _read_foreign(path: str | os.PathLike) -> SourceModel:
    """Read a checkpoint of another project by the layout of its tree."""
    from nada.run.messages import shown
    from nada.stylegan2.readers import nvlabs, nvlabs_tf, rosinality
    from nada.stylegan2.readers.unpickle import UNEXPECTED, read_checkpoint

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
            # the file determines the tree; unexpected contents are reported as damage, not as a crash
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


# The command --------------------------------------------------------------------------------------


@command
def main(argv=None) -> int:
    options = _parser().parse_args(argv)
    return options.run(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m nada.stylegan2.convert",
        description="Show, check and convert StyleGAN2 checkpoints; no code in them is run.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    listing = commands.add_parser("show", help="print the contents of a file")
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
    source = read_model(options.file)
    for line in describe(source):
        print(line)
    print(f"size: {options.file.stat().st_size:,} bytes")
    print(f"sha256: {sha256(options.file)}")
    return 0


def describe(source: SourceModel) -> list[str]:
    """A source model in lines of text: layout, networks, widths, notes."""
    from nada.run.messages import shown

    config = source.G_ema.config
    notes = source.metadata.get("imported")
    notes = {k: shown(v) for k, v in notes.items()} if isinstance(notes, dict) else {}
    widths = " ".join(
        f"{conv.resolution}:{conv.weight.shape[0]}" for conv in source.G_ema.synthesis.convs[::2]
    )
    mapping = f"{config['mapping_layers']} layers, z {config['z_dim']}, w {config['style_dim']}"
    lines = [
        f"format: {source.layout}",
        f"networks: {', '.join(_counted(n, net) for n, net in source.networks().items())}",
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
    source = read_model(options.file)
    side = source.G_ema.config["resolution"]
    print(f"shapes: consistent, {', '.join(source.networks())} of {side}x{side}")
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

    Raises UserError if a value of a network, of the image or of its logit is not finite.
    """
    import torch

    from nada.run.finite import check_finite

    where = source.file or "the source model"
    for name, network in source.networks().items():
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
    from nada.run.manifest import verify_weights

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
    check_output(options.out)  # never replace an existing model
    print(f"reading {options.source}", flush=True)
    verify_weights(options.source)
    source = read_model(options.source)
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
