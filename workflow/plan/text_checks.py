"""Check that the world's CLIPs can read the texts: known words, not too many tokens, two different texts.

Needs no torch. A CLIP of whole words has its vocabulary in its config. For open_clip's byte pairs, only
mistakes that are certain without the tokenizer are refused here; `nada.clip.encoder` finds the others
before training.
"""

import importlib.util
import json
from pathlib import Path

from nada.clip.prompts import OPENAI_TEMPLATES, in_prompts, read_templates
from nada.clip.vocabulary import Vocabulary, check_length, check_room, fewest_tokens, split_words
from nada.run.errors import UserError
from workflow.plan.checking import ConfigError, known_name, nearest

BARE = ("{}",)  # the template of a text without a prompt around it
GLOBAL_LOSS = ("a {}",)  # and that of the global loss under `global_prompt: official`
ANY_TEXT = "The CLIPs of a world that is `like: paper` read any text."
CONTEXT_LENGTH = 77  # open_clip's, where a model's config says nothing


class WordReader:
    """A CLIP of whole words, with the vocabulary of its config."""

    def __init__(self, vocabulary: Vocabulary):
        self.vocabulary = vocabulary

    def check(self, text: str, prompts: list[str]) -> None:
        """Raise UserError for a text, or a text in its prompts, that this CLIP does not read."""
        for prompt in (text, *prompts):
            check_room(self.vocabulary, prompt)

    def form(self, text: str):
        """A text in this CLIP's normal form; equal forms are equal texts."""
        return split_words(text)


class BytePairReader:
    """A CLIP with open_clip's tokenizer, which is not imported, since it needs torch."""

    def __init__(self, context_length: int):
        self.context_length = context_length

    def check(self, text: str, prompts: list[str]) -> None:
        """Raise UserError for a text whose least possible number of tokens is too large."""
        for prompt in (text, *prompts):
            fewest = fewest_tokens(prompt)
            check_length(prompt, fewest, self.context_length, f"{fewest} tokens or more")

    def form(self, text: str):
        """A form that is equal only for equal texts: open_clip ignores case and the number of blanks."""
        return " ".join(text.split()).lower()


def check_texts(plan, root) -> None:
    """Raise ConfigError for a CLIP that does not exist, and for a text that a CLIP cannot read.

    plan: workflow.plan.plan.Plan. Only texts that a run reads are checked: not the source text of a
    mapper, and no text of a run whose target is images.
    """
    readers, done = {}, set()
    for condition in plan.conditions_of(plan.used):
        if plan.methods[condition.method].supervision != "text":
            continue
        hparams = plan.hyperparameters(condition, defaults=True)
        clips = clips_of(plan, condition, hparams)
        sides, templates = texts_read(hparams), templates_of(plan, hparams, root)
        key = (condition.task, sides, tuple(templates), tuple(clip["name"] for clip in clips))
        if key in done:
            continue
        done.add(key)
        for clip in clips:
            name = clip["name"]
            if name not in readers:
                readers[name] = reader(clip, root)
            if readers[name] is not None:
                check_task(plan, condition.task, sides, templates, name, readers[name])


def check_zero_shot(plan, root) -> None:
    """Raise ConfigError for a text of a task's `zero_shot` that the world's held-out CLIP cannot read."""
    groups = [plan.groups[name] for name in plan.used]
    asked = {task: plan.zero_shot(task) for group in groups for task in group["tasks"]}
    asked = {task: texts for task, texts in asked.items() if texts}
    read = reader(plan.world["held_out_clip"], root) if asked else None
    if read is None:
        return
    templates = templates_of(plan, {}, root)
    for task, texts in asked.items():
        for text in texts:
            try:
                read.check(text, in_prompts(text, templates))
            except UserError as error:
                name = plan.world["held_out_clip"]["name"]
                raise ConfigError(f"config: 'tasks.{task}.zero_shot', read by CLIP '{name}': {error}") from None


def clips_of(plan, condition, hparams) -> list[dict]:
    """The world's CLIPs that steer a condition's runs. Raises ConfigError for an unknown name."""
    known = [clip["name"] for clip in plan.world["clips"]]
    wanted = hparams.get("clips") or known
    for name in wanted:
        known_name(
            name, known, f"'clips' of variant '{condition.variant}' of method '{condition.method}'"
        )
    return [clip for clip in plan.world["clips"] if clip["name"] in wanted]


def texts_read(hparams) -> tuple[str, ...]:
    """The texts of a task that a run with these hyperparameters reads, among 'source' and 'target'."""
    from_text = hparams.get("direction", "text") == "text"
    if hparams.get("mapper") or not from_text:
        aims_at_text = from_text or hparams.get("global_target") == "text"
        return ("target",) if aims_at_text else ()
    return ("source", "target")


def templates_of(plan, hparams, root) -> list[str]:
    """The prompts that a run puts its texts into, if they can be read without open_clip."""
    source = plan.world["templates"]
    only_global = bool(hparams.get("mapper")) or hparams.get("direction") == "image"
    official = hparams.get("global_prompt") == "official"
    known = list(BARE)
    if official and hparams.get("loss") == "global" and not hparams.get("mapper"):
        known += GLOBAL_LOSS
    if official and only_global or source == OPENAI_TEMPLATES or source in plan.world["fetched"]:
        return known
    return [*known, *read_templates(Path(root, source))]


def check_task(plan, task, sides, templates, clip, read) -> None:
    """Raise ConfigError for a text of a task that a CLIP cannot read, or two texts that are equal to it."""
    texts = plan.config["tasks"][task]["text"]
    for side in sides:
        try:
            read.check(texts[side], in_prompts(texts[side], templates))
        except UserError as error:
            where = f"'tasks.{task}.text.{side}'"
            other = f" {ANY_TEXT}" if isinstance(read, WordReader) else ""
            raise ConfigError(f"config: {where}, read by CLIP '{clip}': {error}{other}") from None
    if len(sides) == 2 and read.form(texts["source"]) == read.form(texts["target"]):
        raise ConfigError(
            f"config: 'tasks.{task}.text': '{texts['source']}' and '{texts['target']}' are the same "
            f"text to CLIP '{clip}', so there is no direction from one to the other; choose two "
            "different texts."
        )


def reader(clip, root) -> WordReader | BytePairReader | None:
    """The reader of a CLIP's texts; None if only the job can check (a file that is not fetched yet)."""
    path = Path(root, clip["config"])
    if path.is_file():
        config = _read_config(path, clip)
    elif path.suffix:
        return None  # fetched
    else:
        path = _open_clip_config(clip)
        if path is None:
            return None
        config = _read_config(path, clip)
    tokenizer, text = config.get("tokenizer"), config.get("text_cfg")
    if tokenizer is None:
        length = text.get("context_length", CONTEXT_LENGTH) if isinstance(text, dict) else None
        return BytePairReader(length) if isinstance(length, int) else None
    try:
        return WordReader(Vocabulary(tokenizer["words"], tokenizer["context_length"]))
    except UserError as error:
        raise ConfigError(f"{clip['config']}: CLIP '{clip['name']}': {error}") from None
    except (KeyError, TypeError):
        return None  # nada.clip.encoder reports the mistake


def _read_config(path, clip):
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        config = error
    if not isinstance(config, dict):
        raise ConfigError(
            f"{clip['config']}: the config of CLIP '{clip['name']}' is no JSON object; restore it."
        )
    return config


def _open_clip_config(clip):
    """The config file of a model that open_clip knows by name; None if open_clip is not installed."""
    found = importlib.util.find_spec("open_clip")  # does not import it
    if found is None or found.origin is None:
        return None
    folder = Path(found.origin).with_name("model_configs")
    if not folder.is_dir():
        return None
    path = folder / f"{clip['config']}.json"
    if not path.is_file():
        names = sorted(file.stem for file in folder.glob("*.json"))
        raise ConfigError(
            f"CLIP '{clip['name']}': the config '{clip['config']}' is neither a file nor a model that "
            f"open_clip knows; {nearest(clip['config'], names)}"
        )
    return path
