"""The one scaling rule: a run of fewer iterations than the published shortens every length alike.

s = iterations / published iterations multiplies each length that is counted in iterations or images.
Learning rates, weights of losses, the intervals of lazy regularisation and the batch stay. No torch
is imported here: tables print what the rule made of every length.
"""

CATCH_UP_FLOOR = 10  # steps of D alone: fewer teach it nothing

#: Settings that the rule shortens: what they are, their unit, and the least that is left of them.
LENGTHS = {
    "ema_kimg": ("half-life of the average", "kimg", 0),
    "ada_kimg": ("ADA's p from 0 to 1", "kimg", 0),
    "miner_iterations": ("MineGAN's first stage", "steps", 0),
    "catchup_steps": ("D's catch-up", "steps", CATCH_UP_FLOOR),
    "images": ("images that NADA paints for the pair", "images", 1),
}
WHOLE = ("steps", "images")


def scale(iterations: int, published_iterations: int) -> float:
    """s, the share of the published length that a run has."""
    return iterations / published_iterations


def scaled(settings: dict, name: str) -> float:
    """A length of LENGTHS as a run with these settings has it; steps and images are whole."""
    _, unit, least = LENGTHS[name]
    value = settings[name] * scale(settings["iterations"], settings["published_iterations"])
    return max(least, round(value) if unit in WHOLE else value)
