"""What methods, variants and warm starts are called where people read them: tables, figures, the report."""

import re

from nada.run.spec.base import REAL, REPLAY, SOURCE

#: Names of methods as in the papers. A method that is not listed is called by its id, without underscores.
METHODS = {
    "nada": "NADA", "ojha": "Ojha et al.", "minegan": "MineGAN", "tgan": "TGAN", "tgan_ada": "TGAN + ADA",
    "freezed": "FreezeD", "finetune_gd": "fine-tuned G + D",
}  # fmt: skip
#: The rows of the paper's Table 1.
WARM_STARTS = {
    "source": "baseline",
    "nada": "pre-trained G",
    "nada_finetuned_gd": "fine-tuned G + D",
    "nada_catchup": "D catch-up",
}
#: Variants that no name mentions: the method's name is enough.
PLAIN = ("", "plain", "unchanged", "images")
#: Names of variants whose id reads badly; others are called by their id, without underscores.
VARIANTS = {
    "official_adam": "official Adam", "official_p": "official limit of p", "kl_samples": "KL over samples",
    "anchor_005": "anchors of σ 0.05", "global": "global loss",
}  # fmt: skip
#: Controls that bound every metric; `replay` is told the number of its images.
CONTROLS = {
    SOURCE: "source model, unchanged",
    REPLAY: "the {shots} target images, replayed",
    REAL: "real images (two halves)",
}


def method_name(method: str) -> str:
    """The name of a method."""
    return METHODS.get(method, method.replace("_", " "))


def variant_name(variant: str) -> str:
    """The name of a variant, `k = 2` for k_2; empty for those that need none."""
    if swept := re.fullmatch(r"k_(\d+)", variant):
        return f"k = {swept[1]}"
    return "" if variant in PLAIN else VARIANTS.get(variant, variant.replace("_", " "))


def task_name(task: str) -> str:
    """The name of a task, `dog → cat` for dog2cat."""
    pair = re.fullmatch(r"([a-z]\w*?)2([a-z]\w*)", task)
    return (f"{pair[1]} → {pair[2]}" if pair else task).replace("_", " ")


def start_name(warm_start: str) -> str:
    """What a warm start is called behind the name of a model: `from D catch-up`; empty for the source model."""
    if warm_start == "source":
        return ""
    return f"from {WARM_STARTS.get(warm_start, warm_start.replace('_', ' '))}"


def condition_title(method: str, variant: str, shots: int, warm_start: str = "source") -> str:
    """The name of a condition: method, variant, shots and warm start, or what a control is."""
    if method in CONTROLS:
        return CONTROLS[method].format(shots=shots)
    model = f"{method_name(method)} {variant_name(variant)}".strip()
    parts = [model, f"{shots}-shot" if shots else "", start_name(warm_start)]
    return ", ".join(part for part in parts if part)
