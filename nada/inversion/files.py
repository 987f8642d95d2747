"""Encoders on disk: public checkpoints of pSp, e4e and ReStyle, and this project's own files.

A public `.pt` file is a dictionary: `state_dict` with the names `encoder.*` and `decoder.*`, `opts` (the
options of its training) and `latent_avg` [512], [1,512] or [num_styles,512]; snapshots of a training
also have states of optimisers. It is read as plain data (nada/stylegan2/readers/unpickle.py); no code
in it is run. Names and options: models/psp.py of eladrich/pixel2style2pixel and
omertov/encoder4editing, models/{psp,e4e}.py of yuval-alaluf/restyle-encoder.
"""

import itertools
import os
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from nada.inversion.encoders import KINDS, RGB, STRIDE, StyleEncoder, num_styles, weights_needed
from nada.inversion.inverter import Inverter
from nada.run.atomic import atomic_path, canonical_json
from nada.run.errors import UserError
from nada.run.finite import check_finite, is_finite
from nada.run.manifest import METADATA_KEY, described, read_weights
from nada.run.messages import quoted, shown
from nada.stylegan2.readers.unpickle import UNEXPECTED, read_torch
from nada.stylegan2.readers.unpickle_values import Record

FORMAT = "inverter-1"
PREFIX = "encoder."
COUNTED = ".num_batches_tracked"  # of batch norms; not a weight
MAX_COUNTED = 64  # slots, units of a stage, convolutions of a head; at most 18, 14 and 6 were published
WEIGHTS_SLACK = 1 << 20  # numbers


# Public checkpoints -------------------------------------------------------------------------------


def read_public(
    path: str | os.PathLike,
    resolution: int | None = None,
    w_avg: Tensor | None = None,
    kind: str | None = None,
) -> Inverter:
    """The encoder of a public checkpoint, in float32 on the CPU and in eval mode.

    resolution: of the generator that the codes are for; checked. w_avg: the generator's mean of w
    [style_dim], for files without `latent_avg`. kind: a name of KINDS, for files that do not record
    theirs. Raises UserError for a file of another kind or resolution, missing, unknown or wrong
    tensors, NaN or infinity.
    """
    tree = read_torch(path)
    state, options = _parts(tree, path)
    config = _config(state, options, kind, str(path))
    if resolution is not None:
        check_styles(config["num_styles"], resolution, str(path))
    held = sum({id(tensor): tensor.numel() for tensor in state.values()}.values())
    if weights_needed(config) > 2 * held + WEIGHTS_SLACK:
        raise UserError(
            f"{path}: its widths need {weights_needed(config):,} weights, but its encoder has "
            f"{held:,} numbers; get a complete file"
        )
    encoder = _filled(config, state, str(path))
    # public code: six channels are an image and the current one, unless they are classes of a mask
    feedback = config["in_channels"] == 2 * RGB and not options.get("label_nc")
    without_mean = options.get("start_from_latent_avg") is False and not feedback
    mean = torch.zeros(config["style_dim"]) if without_mean else tree.get("latent_avg")
    latent_avg = _latent_avg(mean, config, w_avg, str(path))
    return Inverter(encoder, latent_avg, feedback).eval()


def check_styles(found: int, resolution: int, where: str) -> None:
    """Raise UserError unless an encoder of `found` slots is for generators of that resolution."""
    needed = num_styles(resolution)
    if found != needed:
        raise UserError(
            f"{where}: encodes {found} style slots, for images of {2 ** (found // 2 + 1)} pixels, but "
            f"the generator of {resolution} pixels takes {needed}; choose an encoder of this resolution"
        )


def _parts(tree, path) -> tuple[dict[str, Tensor], dict]:
    """(tensors of the encoder by their names in it, options) of a checkpoint's tree."""
    state = tree.get("state_dict") if isinstance(tree, dict) else None
    if not isinstance(state, dict):
        raise UserError(
            f"{path}: no checkpoint of pSp, e4e or ReStyle: it has no dictionary 'state_dict'"
        )
    named = {name: value for name, value in state.items() if isinstance(name, str)}
    encoder = {n.removeprefix(PREFIX): value for n, value in named.items() if n.startswith(PREFIX)}
    if not encoder or not all(isinstance(value, Tensor) for value in encoder.values()):
        raise UserError(
            f"{path}: no checkpoint of pSp, e4e or ReStyle: its 'state_dict' has no tensors "
            f"{PREFIX}*"
        )
    options = tree.get("opts", {})
    if isinstance(options, Record):  # argparse.Namespace
        options = options.state
    return encoder, options if isinstance(options, dict) else {}


def _config(state: dict[str, Tensor], options: dict, kind: str | None, where: str) -> dict:
    """The encoder's arguments, from the recorded kind and the shapes of its tensors."""
    kind = options.get("encoder_type") if kind is None else kind
    if kind is None:
        raise UserError(
            f"{where}: does not record its encoder_type; give the kind, one of {', '.join(KINDS)}"
        )
    if kind not in KINDS or options.get("learn_in_w"):
        made = f"is an encoder {quoted(kind)}" if kind not in KINDS else "makes one w for all slots"
        raise UserError(f"{where}: {made}; only encoders into W+ are read: {', '.join(KINDS)}")
    first, unit = ("input_layer.0.weight", "body.{}.res_layer.3.weight")
    if KINDS[kind].trunk == "resnet":
        first, unit = "conv1.weight", "body.{}.conv2.weight"
    in_channels = _shape(state, first, 4, where)[1]
    features = [_shape(state, name, 4, where)[0] for name in _counted(state, unit, where)]
    stages = [(width, len(list(units))) for width, units in itertools.groupby(features)]
    if len(stages) != 4:
        raise UserError(
            f"{where}: its trunk has stages of the widths {quoted([w for w, _ in stages])}; four "
            "stages of different widths expected"
        )
    heads = _counted(state, "styles.{}.linear.weight", where)
    convs = _counted(state, "styles.0.convs.{}.weight", where, step=2)
    if len(heads) < 2 or not 1 <= len(convs) <= 8:
        raise UserError(
            f"{where}: has heads of {len(heads)} slots with {len(convs)} convolutions each; 2 or more "
            "with 1 to 8 expected"
        )
    return {
        "kind": kind,
        "num_styles": len(heads),
        "in_channels": in_channels,
        "style_dim": _shape(state, heads[0], 2, where)[0],
        "input_size": STRIDE << len(convs),
        "widths": [width for width, _ in stages],
        "depths": [depth for _, depth in stages],
        "head_width": _shape(state, convs[0], 4, where)[0],
    }


def _counted(state: dict, pattern: str, where: str, step: int = 1) -> list[str]:
    """The names pattern.format(0), pattern.format(step), … that are there without a gap."""
    found = []
    while (name := pattern.format(step * len(found))) in state:
        found.append(name)
        if len(found) > MAX_COUNTED:
            raise UserError(f"{where}: has more than {MAX_COUNTED} tensors like {found[0]}")
    return found


def _shape(state: dict[str, Tensor], name: str, axes: int, where: str) -> tuple[int, ...]:
    if name not in state:
        raise UserError(f"{where}: its encoder has no {name}; get a complete file")
    shape = tuple(state[name].shape)
    if len(shape) != axes or 0 in shape:
        raise UserError(f"{where}: {name} has shape {list(shape)}, {axes} axes expected")
    return shape


def _filled(config: dict, state: dict[str, Tensor], where: str) -> StyleEncoder:
    """An encoder of the architecture `config` with the tensors of `state`, each used once."""
    with torch.random.fork_rng(devices=[]):  # the initialisation must not move the random stream
        encoder = StyleEncoder(**config)
    own = encoder.state_dict()
    unknown = sorted(state.keys() - own.keys())
    if unknown:
        raise UserError(
            f"{where}: its encoder has {shown(unknown[0])} and {len(unknown) - 1} more, which a "
            f"{config['kind']} does not have"
        )
    filled = {}
    for name, tensor in own.items():
        if name.endswith(COUNTED):
            filled[name] = tensor
            continue
        if tuple(state[name].shape if name in state else ()) != tuple(tensor.shape):
            fault = "is missing"
            if name in state:
                fault = f"has shape {list(state[name].shape)}, {list(tensor.shape)} expected"
            raise UserError(f"{where}: {name} {fault} in its encoder; get a complete file")
        if not state[name].is_floating_point():
            raise UserError(f"{where}: {name} is of type {state[name].dtype}, floats expected")
        filled[name] = state[name].detach().to("cpu", torch.float32, copy=True).contiguous()
    check_finite(where, filled, "get the file again")
    encoder.load_state_dict(filled, strict=True)
    return encoder


def _latent_avg(mean, config: dict, w_avg: Tensor | None, where: str) -> Tensor:
    """The offset of the codes [num_styles,style_dim], from the file's mean, or w_avg if it has none."""
    slots, style_dim = config["num_styles"], config["style_dim"]
    if mean is None and w_avg is None:
        raise UserError(
            f"{where}: has no latent_avg, the mean of w that its codes are added to; give the "
            "generator's w_avg"
        )
    mean = w_avg if mean is None else mean
    allowed = ((style_dim,), (1, style_dim), (slots, style_dim))
    if not isinstance(mean, Tensor) or tuple(mean.shape) not in allowed:
        found = f"shape {list(mean.shape)}" if isinstance(mean, Tensor) else "no tensor"
        raise UserError(
            f"{where}: latent_avg: {found} found, but the encoder's codes need [{style_dim}] or "
            f"[{slots}, {style_dim}]"
        )
    mean = mean.detach().to("cpu", torch.float32)
    check_finite(where, {"latent_avg": mean}, "get the file again")
    return mean.expand(slots, style_dim).clone()


# This project's files -----------------------------------------------------------------------------


def save_inverter(
    path: str | os.PathLike,
    inverter: Inverter,
    metadata: dict | None = None,
    dtype: torch.dtype = torch.float16,
) -> None:
    """Write an inverter to one safetensors file, atomically; equal inverters give equal bytes.

    metadata: JSON, such as recipe and held-out scores. dtype: of the numbers in the file. Raises
    UserError, before anything is written, for a value that is not finite in it.
    """
    tensors = {}
    for name, tensor in inverter.state_dict().items():
        stored = tensor.to(dtype) if tensor.is_floating_point() else tensor
        if not is_finite(stored):
            raise UserError(f"{path}: {name} is not finite in {dtype}; nothing was written")
        tensors[name] = stored.detach().cpu().contiguous()
    about = {
        "format": FORMAT,
        "encoder": inverter.encoder.config,
        "feedback": inverter.feedback,
        "passes": inverter.passes,
        "deltas": inverter.encoder.deltas,
        "metadata": metadata or {},
    }
    with atomic_path(Path(path)) as temporary:
        save_file(tensors, temporary, metadata={METADATA_KEY: canonical_json(about)})


def load_inverter(path: str | os.PathLike, resolution: int | None = None) -> Inverter:
    """Read a file of `save_inverter`: float32, on the CPU, in eval mode; `.metadata` is its record.

    resolution: of the generator that the codes are for; checked. Raises UserError if the file is
    missing, of another format or resolution, or inconsistent.
    """
    tensors, metadata = read_weights(path)
    about = described(metadata)
    if about.get("format") != FORMAT:
        raise UserError(
            f"{path}: no inverter: format {quoted(about.get('format'))} in its metadata, "
            f"{FORMAT!r} expected"
        )
    try:
        config, feedback, passes = about["encoder"], about["feedback"], about["passes"]
        deltas = about["deltas"]
        if not (type(feedback) is bool and type(passes) is int and type(deltas) is int):
            raise ValueError(f"feedback {feedback!r}, passes {passes!r} or deltas {deltas!r} of another type")
        if not 0 <= deltas < config["num_styles"]:
            raise ValueError(f"{deltas} deltas of {config['num_styles']} slots")
        if weights_needed(config) > 2 * sum(map(torch.numel, tensors.values())) + WEIGHTS_SLACK:
            raise ValueError("an incomplete file")
        with torch.random.fork_rng(devices=[]):
            inverter = Inverter(StyleEncoder(**config), tensors["latent_avg"], feedback, passes)
        inverter.load_state_dict(tensors, strict=True)
        inverter.encoder.deltas = deltas
        inverter.metadata = about["metadata"]
    except (*UNEXPECTED, ArithmeticError, UserError) as error:
        raise UserError(
            f"{path}: tensors and architecture do not match ({shown(error, 300)}); make or fetch it again"
        ) from error
    if resolution is not None:
        check_styles(inverter.encoder.num_styles, resolution, str(path))
    return inverter.eval()
