"""Read and check a CLIP's configuration in JSON. Needs no torch.

This project's form has open_clip's keys (embed_dim, vision_cfg, text_cfg, quick_gelu, …) and, optionally,
image_mean, image_std and tokenizer. The hub's form, open_clip_config.json, has the former in
`model_cfg` and the pixel statistics in `preprocess_cfg`.
"""

import json
import reprlib
from pathlib import Path

import jsonschema

from nada.run.errors import UserError

#: Keys of a configuration that are this project's and not open_clip's.
OWN_KEYS = ("image_mean", "image_std", "tokenizer")
BPE_IDS = 49_408  # number of ids of open_clip's tokenizer, CLIP's byte pairs (Radford et al. 2021, §2.4)
NEEDS_NETWORK = ("hf_model_name", "hf_tokenizer_name")  # text_cfg keys whose files open_clip would download


# ------------------------------------------------------------------------------ keys and their values


def _rule(wanted: str, **rule) -> dict:
    """A rule of the schema with its description for messages."""
    return {**rule, "description": wanted}


def _size(most: int) -> dict:
    """A whole number from 1 to `most`, which is far above that of every published CLIP."""
    return _rule(f"a whole number from 1 to {most}", type="integer", minimum=1, maximum=most)


def _three(wanted: str, **number) -> dict:
    items = {"type": "number", **number}
    return _rule(wanted, type="array", minItems=3, maxItems=3, items=items)


_WIDTH, _LAYERS = _size(1 << 14), _size(512)
_POSITIVE = _rule("a number above 0", type="number", exclusiveMinimum=0, maximum=1024)
_SWITCH = _rule("true or false", type="boolean")
_NUMBER = {"type": "number", "minimum": -1e6, "maximum": 1e6}
_SIDE = _rule(
    "a whole number of pixels, or one of [height, width]",
    anyOf=[
        _size(1 << 14),
        {"type": "array", "minItems": 2, "maxItems": 2, "items": _size(1 << 14)},
    ],
)
_VISION = {
    "width": _WIDTH,
    "layers": _rule(
        "a whole number of layers, or four of a ResNet",
        anyOf=[_LAYERS, {"type": "array", "minItems": 4, "maxItems": 4, "items": _LAYERS}],
    ),
    "head_width": _WIDTH,
    "patch_size": {**_SIDE, "anyOf": [*_SIDE["anyOf"], {"type": "null"}]},  # null: a ResNet's
    "image_size": _SIDE,
    "mlp_ratio": _POSITIVE,
    "patch_dropout": _rule(
        "a number from 0 to below 1", type="number", minimum=0, exclusiveMaximum=1
    ),
}
_TEXT = {
    "context_length": _size(1 << 16),
    "vocab_size": _size(1 << 22),
    "width": _WIDTH,
    "heads": _size(1 << 10),
    "layers": _LAYERS,
    "mlp_ratio": _POSITIVE,
}
_WORDS = {
    "type": _rule("'words'; leave the tokenizer out for open_clip's own", const="words"),
    "words": _rule(
        "a list of words", type="array", minItems=1, items={"type": "string", "minLength": 1}
    ),
    "context_length": _rule(  # start, a word and the end
        f"a whole number from 3 to {1 << 16}", type="integer", minimum=3, maximum=1 << 16
    ),
}
SCHEMA = {
    "type": "object",
    "required": ["embed_dim", "vision_cfg", "text_cfg"],
    "properties": {
        "embed_dim": _WIDTH,
        "vision_cfg": _rule("a mapping of keys to values", type="object", properties=_VISION),
        "text_cfg": _rule("a mapping of keys to values", type="object", properties=_TEXT),
        "quick_gelu": _SWITCH,
        "init_logit_scale": _rule("a number", **_NUMBER),
        "init_logit_bias": _rule("a number or null", anyOf=[_NUMBER, {"type": "null"}]),
        "image_mean": _three("three numbers, one a channel", minimum=-1e6, maximum=1e6),
        "image_std": _three(
            "three numbers above 0, one a channel", exclusiveMinimum=0, maximum=1e6
        ),
        "tokenizer": _rule(
            'a mapping with type "words", words and context_length, or null',
            type=["object", "null"],
            required=list(_WORDS),
            properties=_WORDS,
        ),
    },
}
_whole = jsonschema.Draft202012Validator.TYPE_CHECKER.redefine(
    "integer", lambda _, v: type(v) is int
)
_Validator = jsonschema.validators.extend(jsonschema.Draft202012Validator, type_checker=_whole)


def read_config(path: Path) -> dict:
    """Read and check a configuration in either form; returns it under this project's keys.

    Raises UserError, naming the file and the key, for an invalid value and for parts that would be
    downloaded. Unknown keys and weights that do not fit are found when the model is built.
    """
    config = read_json(path)
    missing = [key for key in SCHEMA["required"] if key not in config]
    if missing:
        raise UserError(f"the CLIP config {path} lacks {', '.join(missing)}.")
    error = min(_Validator(SCHEMA).iter_errors(config), key=_key, default=None)
    if error is not None:
        raise UserError(f"the CLIP config {path}: {_sentence(error)}.")
    _check_heads(config, path)
    check_offline(config, path)
    vocabulary = config["text_cfg"].get("vocab_size", BPE_IDS)
    if config.get("tokenizer") is None and vocabulary < BPE_IDS:
        raise UserError(
            f"the CLIP config {path}: text_cfg.vocab_size is {vocabulary}, but without a tokenizer of "
            f"words texts become ids below {BPE_IDS}; give the tokenizer that the CLIP was made with."
        )
    return config


def read_json(path: Path) -> dict:
    """Read a configuration in either form under this project's keys, without checking its values."""
    try:
        text = path.read_text(encoding="utf-8")
        config = json.loads(text, parse_constant=_no_number)
        model, preprocess = config.get("model_cfg"), dict(config.get("preprocess_cfg") or {})
        model = None if model is None else dict(model)
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise UserError(f"the CLIP config {path} is no valid JSON ({error}).") from error
    if model is None:
        return config
    for key, wanted in (("interpolation", "bicubic"), ("resize_mode", "shortest")):
        if preprocess.get(key, wanted) != wanted:
            raise UserError(
                f"the CLIP config {path} asks for {key} '{preprocess[key]}', but images are resized "
                f"with '{wanted}' here; choose a model that was trained so."
            )
    pixels = {f"image_{key}": preprocess[key] for key in ("mean", "std") if key in preprocess}
    return {**model, **pixels}


def check_offline(config: dict, source) -> None:
    """Raise UserError if a part of the model would be downloaded; source: the config's file or name."""
    remote = [key for key in NEEDS_NETWORK if config["text_cfg"].get(key)]
    if remote:
        raise UserError(
            f"the CLIP config {source} has text_cfg.{remote[0]}, which would be fetched from the "
            "network; choose a model with open_clip's own text tower and tokenizer."
        )


def _no_number(word: str):
    raise ValueError(f"{word} is no number of JSON")


def _key(error: jsonschema.ValidationError) -> str:
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.path)
    return "".join(parts).lstrip(".")


def _sentence(error: jsonschema.ValidationError) -> str:
    """The key, its value, and what is allowed."""
    if error.validator == "required":
        lacking = [name for name in error.validator_value if name not in error.instance]
        return f"{_key(error)} lacks {', '.join(lacking)}"
    wanted, rule = "", SCHEMA
    for step in error.absolute_schema_path:  # the innermost rule with a description
        rule = rule[step]
        wanted = rule.get("description", wanted) if isinstance(rule, dict) else wanted
    return f"{_key(error)} is {reprlib.repr(error.instance)}; wanted: {wanted}"


def _check_heads(config: dict, path: Path) -> None:
    """Raise UserError if a tower's width is not divisible by its attention heads."""
    for tower, width, key, value in _attention(config):
        if width % value:
            raise UserError(
                f"the CLIP config {path}: {tower}.width is {width}, which {tower}.{key} {value} does "
                "not divide; correct one of them."
            )


def _attention(config: dict):
    """(tower, its width, the key that divides it, that key's value); defaults are open_clip's."""
    vision, text = config["vision_cfg"], config["text_cfg"]
    if not isinstance(vision.get("layers", 12), list):  # a list of layers is a ResNet's
        yield "vision_cfg", vision.get("width", 768), "head_width", vision.get("head_width", 64)
    yield "text_cfg", text.get("width", 512), "heads", text.get("heads", 8)
