"""Prompt templates for CLIP (Radford et al. 2021, §3.1.4). Needs no torch."""

from pathlib import Path

from nada.run.errors import UserError

OPENAI_TEMPLATES = "openai_imagenet"  # the name, in place of a file, of the 79 public prompts


def read_templates(source) -> list[str]:
    """Prompt templates, each with one `{}`: a text file's lines, or the name 'openai_imagenet'.

    The file's blank lines and lines that start with # are skipped. The named list is open_clip's
    OPENAI_IMAGENET_TEMPLATES without the "many" prompt: 79, the ensemble of the public code.
    """
    if source == OPENAI_TEMPLATES:
        import open_clip

        prompts = [template("{}") for template in open_clip.OPENAI_IMAGENET_TEMPLATES]
        return [prompt for prompt in prompts if "many" not in prompt.split()]
    path = Path(source)
    if not path.is_file():
        raise UserError(
            f"the prompt templates {path} are missing; give a text file or '{OPENAI_TEMPLATES}'."
        )
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    templates = [line for line in lines if line and not line.startswith("#")]
    bad = next((line for line in templates if line.count("{}") != 1), None)
    if bad is not None or not templates:
        what = f"the line '{bad}' has not exactly one {{}}" if templates else "the file is empty"
        raise UserError(f"the prompt templates {path}: {what}; write one prompt with {{}} a line.")
    return templates


def in_prompts(text: str, templates: list[str]) -> list[str]:
    """A text in every template."""
    return [template.replace("{}", text) for template in templates]
