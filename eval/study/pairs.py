"""The design of a preference study: pairs of pictures, and booklets of questions (Gal et al. 2021, §5.3).

Two tables and some pictures, all drawn from the study's seed:

- `pairs`: one row per pair. Both pictures have one latent code and one seed. The picture `rival` is another
  model's, `preferred` that of the model which all are compared with. In a `check` the rival is the same
  picture, scrambled.
- `booklets`: the questions of one person, in order. Every pair is in exactly two booklets, with its sides
  swapped in the second, so each pair stands as often on either side. A booklet has `per_rater` pairs of every
  other model and task, half of them with the rival on the left; it shows `repeats` pairs again, sides swapped.
"""

import numpy as np
import pandas as pd

from eval.observation import Observation, load_observation
from nada.run.errors import UserError
from nada.run.spec.base import CONDITION_KEYS
from nada.run.spec.study_spec import StudySpec
from nada.run.streams import stream_seed

#: What a question is: it counts, it is a pair's second showing, or its answer is plain.
PAIR, REPEAT, CHECK = KINDS = ("pair", "repeat", "check")
PAIR_COLUMNS = ("pair", "kind", *CONDITION_KEYS, "seed", "latent", "rival", "preferred")
BOOKLET_COLUMNS = ("booklet", "position", "pair", "kind", "left", "right")
#: A check's picture is cut into this many blocks a side, which are shuffled.
BLOCKS = 8


class Pictures:
    """The distinct pictures of a study, uint8 [H,W,3], by number; one picture has one number."""

    def __init__(self):
        self.images, self._numbers = [], {}

    def number(self, key: tuple, image: np.ndarray) -> int:
        """The number of the picture that `key` names; a new one is added."""
        if key not in self._numbers:
            self._numbers[key] = len(self.images)
            self.images.append(image)
        return self._numbers[key]


def design(spec: StudySpec) -> tuple[pd.DataFrame, pd.DataFrame, list[np.ndarray]]:
    """(pairs, booklets, pictures) of a study; the same spec and observations give the same.

    UserError: too few pictures, or no other model shares a task with the preferred one.
    """
    draw = np.random.default_rng(stream_seed("preference study", spec.seed))
    seen = {row.condition: load_observation(row.observation) for row in spec.rows}
    pictures, rows = Pictures(), []
    for condition, theirs in seen.items():
        ours = seen.get((condition[0], *spec.preferred.condition))
        if ours is not None and theirs is not ours:
            rows += _pairs(draw, pictures, spec, condition, theirs, ours)
    if not rows:
        raise UserError(f"group {spec.group}: no other model shares a task with the preferred one.")
    rows += _checks(draw, pictures, spec, seen)
    shuffled = draw.permutation(len(pictures.images))  # else the number tells the model
    new = {int(old): number for number, old in enumerate(shuffled)}
    pairs = pd.DataFrame(rows, columns=list(PAIR_COLUMNS[1:])).replace({"rival": new, "preferred": new})
    pairs.insert(0, "pair", np.arange(len(pairs)))
    return pairs, _booklets(draw, pairs, spec), [pictures.images[i] for i in shuffled]


def _pairs(draw, pictures: Pictures, spec: StudySpec, condition, theirs: Observation, ours: Observation):
    """Rows of `spec.pairs` pairs of one model: distinct latent codes, seeds in turn."""
    runs = sorted({run["seed"] for run in theirs.meta["runs"]} & {run["seed"] for run in ours.meta["runs"]})
    kept = min((len(o[f"seed{run}/images"]) for run in runs for o in (theirs, ours)), default=0)
    if kept < spec.pairs:
        raise UserError(
            f"{theirs.path}: {kept} kept images, {spec.pairs} pairs are asked for; lower study.pairs, or"
            " raise evaluation.gallery_images."
        )
    rows = []
    for number, latent in enumerate(draw.permutation(kept)[: spec.pairs]):
        run, latent = runs[number % len(runs)], int(latent)
        shown = [
            pictures.number((who, run, latent), o[f"seed{run}/images"][latent])
            for who, o in ((condition, theirs), ((condition[0], *spec.preferred.condition), ours))
        ]
        rows.append((PAIR, *condition, run, latent, *shown))
    return rows


def _checks(draw, pictures: Pictures, spec: StudySpec, seen: dict) -> list[tuple]:
    """Rows of `spec.checks` pairs of the preferred model's picture and its scrambled copy, tasks in turn."""
    ours = [condition for condition in seen if condition[1:] == spec.preferred.condition]
    rows = []
    for number in range(spec.checks):
        condition = ours[number % len(ours)]
        run = seen[condition].meta["runs"][0]["seed"]
        images = seen[condition][f"seed{run}/images"]
        latent = int(draw.integers(len(images)))
        rival = pictures.number(("scrambled", number), scrambled(images[latent], draw))
        shown = pictures.number((condition, run, latent), images[latent])
        rows.append((CHECK, *condition, run, latent, rival, shown))
    return rows


def scrambled(image: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """A picture [H,W,C] with its blocks in random order; colours stay, shapes go."""
    high, wide = (max(1, side // BLOCKS) for side in image.shape[:2])
    rows, columns = image.shape[0] // high, image.shape[1] // wide
    inner = image[: rows * high, : columns * wide]
    blocks = inner.reshape(rows, high, columns, wide, -1).swapaxes(1, 2).reshape(rows * columns, high, wide, -1)
    moved = blocks[draw.permutation(len(blocks))].reshape(rows, columns, high, wide, -1).swapaxes(1, 2)
    result = image.copy()
    result[: rows * high, : columns * wide] = moved.reshape(inner.shape)
    return result


def _booklets(draw, pairs: pd.DataFrame, spec: StudySpec) -> pd.DataFrame:
    """All booklets: 2 b and 2 b + 1 have the same pairs on swapped sides, in two orders."""
    counted = pairs[pairs.kind == PAIR]
    length = len(counted) * spec.per_rater // spec.pairs
    if spec.repeats > length // 2:
        raise UserError(
            f"group {spec.group}: one person sees {length} pairs, so at most {length // 2} can be repeated, not"
            f" {spec.repeats}; lower study.repeats, or raise study.per_rater."
        )
    place = counted.groupby(list(CONDITION_KEYS), sort=False).cumcount()
    checks = pairs.pair[pairs.kind == CHECK].tolist()
    rows = []
    for half in range(spec.pairs // spec.per_rater):
        mine = counted.pair[place // spec.per_rater == half].tolist()
        # True: the rival on the left; alternating over the pairs of one model
        start = int(draw.integers(2))
        sides = {pair: (number + start) % 2 == 0 for number, pair in enumerate(mine)}
        sides |= {check: bool(draw.integers(2)) for check in checks}
        for swapped in (False, True):
            questions = _ordered(draw, mine, checks, spec.repeats)
            rows += [
                (2 * half + swapped, position, pair, kind, sides[pair] ^ swapped ^ (kind == REPEAT))
                for position, (pair, kind) in enumerate(questions)
            ]
    table = pd.DataFrame(rows, columns=[*BOOKLET_COLUMNS[:4], "rival_left"])
    shown = pairs.set_index("pair").loc[table.pair]
    table["left"] = np.where(table.rival_left, shown.rival, shown.preferred)
    table["right"] = np.where(table.rival_left, shown.preferred, shown.rival)
    return table[list(BOOKLET_COLUMNS)]


def _ordered(draw, pairs: list[int], checks: list[int], repeats: int) -> list[tuple[int, str]]:
    """Questions in random order: repeats of the first half in the second, checks spread over all."""
    order = [int(pair) for pair in draw.permutation(pairs)]
    half = len(order) // 2
    first, second = [(pair, PAIR) for pair in order[:half]], [(pair, PAIR) for pair in order[half:]]
    again = draw.permutation(order[:half])[:repeats]
    second += [(int(pair), REPEAT) for pair in again]
    questions = first + [second[i] for i in draw.permutation(len(second))]
    length, asked = len(questions), draw.permutation(checks)
    for number in reversed(range(len(checks))):  # from the end, so that earlier places stay
        start, stop = (edge * length // len(checks) for edge in (number, number + 1))
        questions.insert(int(draw.integers(start, max(stop, start + 1))), (int(asked[number]), CHECK))
    return questions
