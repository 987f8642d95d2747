"""A CLIP's weights: published file formats, and the activation that they were trained with.

OpenAI trained with QuickGELU, x·sigmoid(1.702 x), most others with GELU. The tensors do not show
which; with the wrong one they load without an error and give other embeddings. The activation is
therefore determined from a file's form, its hash or its repository in the hub's cache.
"""

import re
import zipfile
from pathlib import Path

from torch import Tensor

from nada.clip.clip_config import read_json
from nada.run.clip_files import HUB_CONFIG
from nada.run.errors import UserError
from nada.run.finite import check_finite, used
from nada.run.manifest import read_weights

# Tensors of OpenAI's archives that are not weights; MASK may be in every block.
BOOKKEEPING = ("input_resolution", "context_length", "vocab_size")
MASK = "attn_mask"
NO_WEIGHTS = (*BOOKKEEPING, MASK)
# Prefix of names after training on several devices.
PARALLEL = "module."
# A SHA-256, or its beginning, in the address of published weights.
HASH = re.compile(r"(?<![0-9a-z])[0-9a-f]{8,64}(?![0-9a-z])")
SAME_PIXELS = 1e-3  # 1/4 of a grey level: smaller differences of mean or std are rounding
# Name of the activation by the config's quick_gelu.
ACTIVATIONS = {True: "QuickGELU", False: "GELU"}


def read_tensors(path: Path) -> tuple[dict[str, Tensor], bool]:
    """(float32 tensors under open_clip's names, whether the file's form is OpenAI's).

    safetensors, an OpenAI TorchScript archive (its code is not run), or what torch.save wrote: a
    state dict, or a dictionary that holds one as `state_dict`. `module.` is stripped. Raises
    UserError where the file is missing or cannot be read, or a tensor has NaN or infinity.
    """
    from nada.stylegan2.readers.unpickle import read_state_dict, tell_format

    form = tell_format(path)
    foreign = form in ("torch zip", "pickle")
    # a mask of minus infinity is no weight
    tensors = read_state_dict(path) if foreign else read_weights(path, unused=(MASK,))[0]
    if all(name.startswith(PARALLEL) for name in tensors):
        tensors = {name.removeprefix(PARALLEL): tensor for name, tensor in tensors.items()}
    script = form == "torch zip" and _is_script(path)
    openai = script or all(name in tensors for name in BOOKKEEPING)
    weights = used(tensors, NO_WEIGHTS)
    distinct = {id(t): t for t in weights.values()}  # a tensor may have many names
    floats = {key: t.float() if t.is_floating_point() else t for key, t in distinct.items()}
    weights = {name: floats[id(tensor)] for name, tensor in weights.items()}
    if foreign:
        check_finite(path, weights, "get the file again")
    return weights, openai


def _is_script(path: Path) -> bool:
    """Whether a zip is a TorchScript archive; of the published weights only OpenAI's are."""
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def check_activation(spec: dict, config: dict, weights: Path, digest: str, openai: bool) -> None:
    """Raise UserError if the config's activation differs from that of the weights' training.

    digest: SHA-256 of the weights. openai: whether their form is OpenAI's. For weights of unknown
    origin the config decides.
    """
    known = _origin(weights, digest, openai)
    has = bool(config.get("quick_gelu", False))
    if known is None or known[1] == has:
        return
    what, wants = known
    mend = (
        "name a config that ends in -quickgelu, or set quick_gelu: true in it"
        if wants
        else "name a config without -quickgelu, or leave quick_gelu out of it"
    )
    raise UserError(
        f"CLIP '{spec['name']}': {weights} holds {what}, trained with "
        f"{ACTIVATIONS[wants]}, but the config {spec.get('config', weights.parent)} builds "
        f"{ACTIVATIONS[has]}; {mend}."
    )


def check_pixels(spec: dict, weights: Path, digest: str, mean, std) -> None:
    """Raise UserError if published weights were trained with another resize, mean or std.

    mean, std: three numbers each, used to normalise images. A config may leave them out; OpenAI's are
    then used, but not every CLIP was trained with these.
    """
    entry = _entry(weights, digest)
    if entry is None:
        return
    model, tag, about = entry
    what = f"CLIP '{spec['name']}': {weights} holds the published weights {model} '{tag}'"
    if about.get("interpolation", "bicubic") != "bicubic":
        raise UserError(
            f"{what}, trained on images resized with {about['interpolation']}; here they are resized "
            "with bicubic; choose another model."
        )
    for key, now in (("mean", mean), ("std", std)):
        trained = list(about.get(key) or now)
        if any(abs(a - b) > SAME_PIXELS for a, b in zip(trained, now, strict=True)):
            raise UserError(
                f"{what}, trained on images of {key} {trained}, but with this config it is "
                f"{list(now)}; give a JSON config with image_{key}: {trained}."
            )


def _origin(weights: Path, digest: str, openai: bool) -> tuple[str, bool] | None:
    """(description of the weights, whether they were trained with QuickGELU), or None if unknown."""
    if openai:
        return "an archive of OpenAI's", True
    published = _published(weights, digest)
    if published is not None:
        return published
    config_file = weights.with_name(HUB_CONFIG)
    if config_file.is_file():
        return f"the weights of {HUB_CONFIG} in its folder", bool(read_json(config_file).get("quick_gelu"))
    return None


def _published(weights: Path, digest: str) -> tuple[str, bool] | None:
    """The same for weights in open_clip's list of published ones."""
    entry = _entry(weights, digest)
    if entry is None:
        return None
    model, tag, about = entry
    quick = bool(about.get("quick_gelu")) or model.endswith("-quickgelu")
    return f"the published weights {model.removesuffix('-quickgelu')} '{tag}'", quick


def _entry(weights: Path, digest: str) -> tuple[str, str, dict] | None:
    """(model, tag, its configuration) in open_clip's list, found by hash or by repository."""
    import open_clip

    cached = next((part for part in weights.parts if part.startswith("models--")), None)
    repository = cached.removeprefix("models--").split("--") if cached else None
    for model, tag in open_clip.list_pretrained():
        about = open_clip.get_pretrained_cfg(model, tag)
        same_file = any(digest.startswith(part) for part in HASH.findall(about.get("url") or ""))
        home = (about.get("hf_hub") or "").split("/")[:2]
        if same_file or home == repository:
            return model, tag, about
    return None
