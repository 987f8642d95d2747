"""The scaling rule: in a run with fewer iterations than published, all lengths shrink by one factor.

s = iterations / published iterations multiplies each length that is counted in iterations or images:
the half-life of the averaged generator, ADA's images from p = 0 to 1, MineGAN's first stage, D's
catch-up, and the images that the fine-tuned pair is trained on. A shorter run thus has the same stages,
and its average forgets as much of its start. Learning rates, loss weights, the intervals of lazy
regularisation and the batch do not change. D's catch-up is never less than CATCH_UP_FLOOR steps. A
length of 0, which switches its part off, stays 0.

At s = 1 every length is the published one. The average then decays by 0.5 ** (32 / 10000) a step at
batch 4, a half-life of 1,250 images; a shorter run's half-life is 1,250 s images.

Needs no torch: tables print s and every scaled length, for each method.
"""

from typing import NamedTuple

CATCH_UP_FLOOR = 10  # steps of D alone: fewer teach it nothing


class Length(NamedTuple):
    """A hyperparameter that the rule shortens: its description, its unit, and its minimum."""

    what: str
    unit: str  # "steps" and "images" are whole
    least: int = 0


#: The lengths of the methods that tables name. A method's class declares its own with `shortened=`.
LENGTHS = {
    "ema_kimg": Length("half-life of the average", "kimg"),
    "ada_kimg": Length("ADA's p from 0 to 1", "kimg"),
    "miner_iterations": Length("MineGAN's first stage", "steps"),
    "catchup_steps": Length("D's catch-up", "steps", CATCH_UP_FLOOR),
    "images": Length("NADA images for the fine-tuned pair", "images", 1),
}
WHOLE = ("steps", "images")


def scale(iterations: int, published_iterations: int) -> float:
    """s, a run's share of the published number of iterations."""
    return iterations / published_iterations


def scaled(hparams: dict, name: str, length: Length | None = None) -> float:
    """The scaled length of a run with these hyperparameters; length: default, that of LENGTHS.

    Steps and images are rounded to integers; 0 stays 0.
    """
    _, unit, least = length or LENGTHS[name]
    if hparams[name] == 0:
        return 0
    value = hparams[name] * scale(hparams["iterations"], hparams["published_iterations"])
    return max(least, round(value) if unit in WHOLE else value)
