"""A frozen CLIP that encodes images and texts: one open_clip model from a config and a local file.

Gal et al. 2021, §3.1 and §4.1; the prompt ensemble is that of Radford et al. 2021. `clip_config`
finds and checks the files; `clip_weights` determines the activation.
"""

import difflib
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nada.clip.clip_config import OWN_KEYS, check_offline, read_config
from nada.clip.clip_weights import ACTIVATIONS, check_activation, check_pixels, read_tensors
from nada.clip.prompts import in_prompts, read_templates
from nada.clip.vocabulary import Vocabulary, check_room
from nada.images.resize import resize
from nada.run.atomic import sha256
from nada.run.clip_files import clip_files
from nada.run.errors import UserError

__all__ = [
    "OPENAI_MEAN",
    "OPENAI_STD",
    "Clip",
    "WordTokenizer",
    "load_clip",
    "read_templates",
    "text_direction",
    "text_embedding",
]

# Per-channel statistics of OpenAI's CLIP training images, used where a config names none.
OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)
RESIZES = ("antialias", "official")
# The parts of an open_clip model's text tower.
TEXT_TOWER = (
    "transformer",
    "token_embedding",
    "positional_embedding",
    "ln_final",
    "text_projection",
    "attn_mask",
)
# Errors of open_clip and torch for a config that no network can be built from.
UNBUILDABLE = (TypeError, ValueError, RuntimeError, AssertionError, LookupError, ArithmeticError)
REASON_WIDTH = 400  # characters of torch's list of keys that do not fit
NO_DIRECTION = 1e-6  # two texts whose mean embeddings are closer than this are the same text


class WordTokenizer(Vocabulary):
    """A vocabulary of whole words as open_clip's models read it."""

    def __call__(self, texts: list[str]) -> Tensor:
        """Texts → ids [N, context_length]. Raises UserError as `Vocabulary.ids` does."""
        ids = torch.full((len(texts), self.context_length), self.PAD, dtype=torch.long)
        for row, text in zip(ids, texts, strict=True):
            tokens = self.ids(text)
            row[: len(tokens)] = torch.tensor(tokens)
        return ids


@dataclass
class Clip:
    """One frozen CLIP model in float32; `weight` is its share in an ensemble's sum.

    `calls` counts encoder calls for the cost record. Embeddings are float32 even under autocast: a
    direction is a small difference of embeddings, which half precision would round away.
    """

    name: str
    model: nn.Module
    tokenizer: object
    mean: Tensor  # [3,1,1]
    std: Tensor  # [3,1,1]
    weight: float = 1.0
    resize: str = "antialias"
    calls: int = 0
    activation: str = "gelu"  # of the network as it was built: quickgelu or gelu
    weights_file: str = ""  # name of the file
    weights_sha256: str = ""

    def record(self) -> dict:
        """File name, hash and activation for a run's record."""
        return {
            "file": self.weights_file,
            "sha256": self.weights_sha256,
            "activation": self.activation,
        }

    @property
    def image_size(self) -> int:
        """Side of the square image that the model reads, in pixels."""
        size = self.model.visual.image_size
        return size[0] if isinstance(size, tuple) else size

    @property
    def device(self) -> torch.device:
        return self.mean.device

    def preprocess(self, images: Tensor) -> Tensor:
        """Images [N,3,H,W] in [-1,1] → the model's input [N,3,S,S]; differentiable.

        The shorter side is resized to S (bicubic; antialiased unless `resize` is 'official'),
        then the centre is cropped; an image of size S is not resampled.
        """
        size = self.image_size
        x = (images + 1) / 2
        height, width = x.shape[-2:]
        if min(height, width) != size:
            scale = size / min(height, width)
            new = (max(size, round(height * scale)), max(size, round(width * scale)))
            x = resize(x, new, antialias=self.resize == "antialias")
        top, left = (x.shape[-2] - size) // 2, (x.shape[-1] - size) // 2
        x = x[..., top : top + size, left : left + size]
        return (x - self.mean) / self.std

    def embed_images(self, images: Tensor, prepare: Callable | None = None) -> Tensor:
        """Images [N,3,H,W] in [-1,1] → raw embeddings [N,E] (any length); differentiable.

        prepare: a function that returns the model's input [N,3,S,S], in place of `preprocess`.
        """
        self.calls += 1
        if images.dtype in (torch.float16, torch.bfloat16):
            images = images.float()
        with torch.autocast(images.device.type, enabled=False):
            return self.model.encode_image((prepare or self.preprocess)(images))

    def encode_images(self, images: Tensor) -> Tensor:
        """Images [N,3,H,W] in [-1,1] → unit embeddings [N,E]; differentiable."""
        return F.normalize(self.embed_images(images), dim=-1)

    def check_text(self, text: str) -> None:
        """Raise UserError for a text that is empty, too long, or outside the vocabulary of this CLIP."""
        try:
            check_room(self.tokenizer, text)
        except UserError as error:
            raise UserError(f"CLIP '{self.name}': {error}") from None

    @torch.no_grad()
    def encode_texts(self, texts: list[str]) -> Tensor:
        """Texts → unit embeddings [N,E], without graph.

        Raises UserError as `check_text` does: open_clip would cut a text that is too long.
        """
        for text in texts:
            self.check_text(text)
        if self.model.token_embedding is None:
            raise RuntimeError(
                f"CLIP '{self.name}' forgot its text tower; encode texts before that"
            )
        self.calls += 1
        with torch.autocast(self.device.type, enabled=False):
            embeddings = self.model.encode_text(self.tokenizer(texts).to(self.device))
        return F.normalize(embeddings, dim=-1)

    def forget_text(self) -> None:
        """Free the text tower's memory (ViT-B/32: 254 of 605 MB) once all texts are encoded.

        Images embed as before. Encoding a text afterwards raises RuntimeError.
        """
        for name in TEXT_TOWER:
            setattr(self.model, name, None)


def load_clip(spec: dict, device="cpu", resize: str = "antialias") -> Clip:
    """Build the CLIP of a run spec's entry {"name", "config", "weights", "weight"}.

    config: a JSON file with open_clip's model configuration (embed_dim, vision_cfg, text_cfg, …) and,
    optionally, image_mean, image_std and tokenizer {"type": "words", "words", "context_length"};
    or an open_clip_config.json; or the name of a model that open_clip knows, such as
    'ViT-B-32-quickgelu'.
    weights: a local file (safetensors, OpenAI's archive, what torch.save wrote) or a folder of the
    hub's cache. Raises UserError if either cannot be used, if they do not fit together, and if the
    config's activation or pixel statistics differ from those of published weights.
    """
    import open_clip  # not at the top: the import takes seconds, and the tokenizer does not need it

    if resize not in RESIZES:
        raise UserError(f"clip resize is '{resize}'; it must be one of {', '.join(RESIZES)}.")
    weights, config_file = clip_files(spec)
    config = _read_config(config_file or spec["config"], open_clip)
    architecture = {key: value for key, value in config.items() if key not in OWN_KEYS}
    tensors, openai = read_tensors(weights)
    digest = sha256(weights)
    check_activation(spec, config, weights, digest, openai)
    mean, std = config.get("image_mean", OPENAI_MEAN), config.get("image_std", OPENAI_STD)
    check_pixels(spec, weights, digest, mean, std)
    # attention's inference-only kernel rounds differently: the embeddings of one image with and
    # without a graph would differ, and ΔI would be noise where it must be 0
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.random.fork_rng(devices=[]):  # initialisation must not move the run's stream
            model = open_clip.model.CLIP(**architecture)
        model.load_state_dict(tensors, strict=True)
    except UNBUILDABLE as error:
        reason = textwrap.shorten(str(error), REASON_WIDTH, placeholder=" …")
        raise UserError(
            f"CLIP '{spec['name']}': the weights {weights} and the config "
            f"{spec.get('config', config_file)} do not fit together: {reason}"
        ) from error
    model = model.float().eval().requires_grad_(False).to(device)
    mean, std = (
        torch.tensor(numbers, dtype=torch.float32, device=device).view(3, 1, 1)
        for numbers in (mean, std)
    )
    tokenizer = _tokenizer(config, config_file or spec["config"], open_clip)
    clip = Clip(spec["name"], model, tokenizer, mean, std, spec.get("weight", 1.0), resize)
    quick = any(isinstance(part, open_clip.transformer.QuickGELU) for part in model.modules())
    clip.activation = ACTIVATIONS[quick].lower()
    clip.weights_file, clip.weights_sha256 = weights.name, digest
    return clip


def text_direction(clip: Clip, source: str, target: str, templates: list[str]) -> Tensor:
    """ΔT = normalise(mean_j(e_T(template_j(target)) − e_T(template_j(source)))), [E] (§4.1).

    Each embedding is normalised first, then differences are averaged, then the mean normalised.
    Raises UserError where the two texts have one embedding, so that there is no direction.
    """
    difference = _prompts(clip, target, templates) - _prompts(clip, source, templates)
    mean_difference = difference.mean(dim=0)
    if mean_difference.norm() < NO_DIRECTION:
        raise UserError(
            f"the texts '{source}' and '{target}' have the same embedding in CLIP '{clip.name}', "
            "so there is no direction from one to the other; choose two different texts."
        )
    return F.normalize(mean_difference, dim=-1)


def text_embedding(clip: Clip, text: str, templates: list[str]) -> Tensor:
    """Unit embedding of one text, [E]: normalise(mean_j e_T(template_j(text)))."""
    return F.normalize(_prompts(clip, text, templates).mean(dim=0), dim=-1)


def _prompts(clip: Clip, text: str, templates: list[str]) -> Tensor:
    """Unit embeddings [J,E] of one text in every template."""
    clip.check_text(text)  # before templates hide that the text is empty
    return clip.encode_texts(in_prompts(text, templates))


def _read_config(source, open_clip) -> dict:
    path = Path(source)
    if path.is_file():
        return read_config(path)
    config = _named_config(str(source), open_clip)
    check_offline(config, source)
    return config


def _named_config(name: str, open_clip) -> dict:
    config = None if ":" in name else open_clip.get_model_config(name)  # hf-hub:… would be fetched
    if config is None:
        near = difflib.get_close_matches(name, open_clip.list_models(), n=3)
        raise UserError(
            f"the CLIP config '{name}' is neither a file nor a model that open_clip knows"
            + (f"; near names: {', '.join(near)}." if near else ".")
        )
    return config


def _tokenizer(config: dict, source, open_clip):
    """The tokenizer of a config; source: the config's file, or the name of a model."""
    wanted = config.get("tokenizer")
    if wanted is None:
        if not Path(source).is_file():
            return open_clip.get_tokenizer(str(source))
        context_length = config["text_cfg"].get("context_length", 77)
        return open_clip.tokenizer.SimpleTokenizer(context_length=context_length)
    if wanted.get("type") != "words":
        raise UserError(
            f"the CLIP config {source} asks for a tokenizer of type "
            f"'{wanted.get('type')}'; leave it out for open_clip's own, or write 'words'."
        )
    tokenizer = WordTokenizer(wanted["words"], wanted["context_length"])
    needed = (tokenizer.vocab_size, tokenizer.context_length)
    text = config["text_cfg"]
    if (text.get("vocab_size"), text.get("context_length")) != needed:
        raise UserError(
            f"the CLIP config {source} has text_cfg.vocab_size={text.get('vocab_size')} "
            f"and context_length={text.get('context_length')}, but its tokenizer needs "
            f"{needed[0]} and {needed[1]}."
        )
    return tokenizer
