"""The names that people gave to pictures of this world, as a test set of the judge.

Every blind naming study (eval/study/blind_naming.py) leaves 24 pictures and the names that some people gave them.
The set holds all of them: per picture the name of the majority, or "none of these" where it is no name of this
world, or where no majority agrees.

    python -m workflow.worlds.mini.people_set --studies docs/blind-naming/*/
    python -m workflow.worlds.mini.people_set --judge results/world_build/judge.safetensors
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nada.run.errors import UserError, command

PEOPLE_SET = Path(__file__).parent / "people.npz"
NONE_OF_THESE = "none of these"
# Names that people use for what this world calls otherwise.
SYNONYMS = {
    "puppy": "dog", "kitten": "cat", "teddy bear": "bear", "brown bear": "bear", "bunny": "rabbit", "hare": "rabbit",
    "woman": "person", "man": "person", "girl": "person", "human": "person", "face": "person", "rat": "mouse",
    "drawing": "sketch", "pencil sketch": "sketch", "pencil drawing": "sketch", "line drawing": "sketch",
    "ink drawing": "sketch", "photograph": "photo", "comic": "cartoon", "watercolor": "watercolour",
    "black and white photo": "monochrome",
}  # fmt: skip


class People(NamedTuple):
    """images uint8 [N, H, W, 3]; names [N], the majority's; groups [N], adapted, real or source; studies [N]."""

    images: np.ndarray
    names: np.ndarray
    groups: np.ndarray
    studies: np.ndarray


def known_names() -> tuple[str, ...]:
    """The names that count: species and styles of the world."""
    from workflow.worlds.mini.species import SPECIES, STYLES

    return (*SPECIES, *STYLES)


def majority(names: list[str]) -> str:
    """The name that more than half of the people gave, in this world's words; else "none of these"."""
    said = [SYNONYMS.get(name.strip().lower(), name.strip().lower()) for name in names]
    name, count = Counter(said).most_common(1)[0]
    return name if 2 * count > len(said) and name in known_names() else NONE_OF_THESE


def gather(folders: list[Path]) -> People:
    """All pictures of the studies in `folders`. UserError: a study lacks a file or a name."""
    import pandas as pd

    from eval.study.blind_naming import answer_files
    from nada.images.arrays import load_images

    images, names, groups, studies = [], [], [], []
    for folder in folders:
        files = answer_files(folder)
        if not files or not (folder / "pictures.npz").is_file():
            raise UserError(f"{folder}: a study needs pictures.npz, key.csv and answers_1.csv, …")
        key = pd.read_csv(folder / "key.csv").set_index("number")
        answers = [pd.read_csv(path, dtype={"name": str}).set_index("number")["name"] for path in files]
        for number, row in key.iterrows():
            told = [one.get(number) for one in answers]
            if not all(isinstance(name, str) for name in told):
                raise UserError(f"{folder}: somebody gave picture {number} no name.")
            names.append(majority(told))
            groups.append(row["group"])
            studies.append(folder.name)
        images.append(load_images(folder / "pictures.npz"))
    return People(np.concatenate(images), np.array(names), np.array(groups), np.array(studies))


def save_people(path: Path, people: People) -> None:
    """Write the set to a .npz file; equal content, equal bytes."""
    from nada.run.atomic import atomic_path

    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, **people._asdict())


def load_people(path: Path = PEOPLE_SET) -> People:
    with np.load(path, allow_pickle=False) as file:
        return People(*(file[name] for name in People._fields))


def judged(judge, people: People) -> np.ndarray:
    """What the judge calls each picture: a style where the majority named one, else a species; [N].

    A picture that the judge's classes refuse is "none of these" in both.
    """
    import torch

    from nada.images.tensors import to_tensor

    with torch.no_grad():
        output = judge(to_tensor(people.images))
    species = [judge.class_names[i] for i in output["class_logits"].argmax(1)]
    styles = [judge.style_names[i] for i in output["style_logits"].argmax(1)]
    studied = {study: _asks_style(people, study) for study in set(people.studies)}
    rows = zip(species, styles, people.studies, strict=True)
    return np.array([s if s == NONE_OF_THESE or not studied[study] else style for s, style, study in rows])


def _asks_style(people: People, study: str) -> bool:
    """Whether a study is about styles: its real pictures were named with one."""
    from workflow.worlds.mini.species import STYLES

    real = people.names[(people.studies == study) & (people.groups == "real")]
    return bool(np.isin(real, STYLES).mean() > 0.5)


def agreement(judge, people: People) -> dict[str, float]:
    """Share of pictures that judge and majority name alike: of the adapted ones, and of all."""
    same = judged(judge, people) == people.names
    return {"adapted": float(same[people.groups == "adapted"].mean()), "all": float(same.mean())}


@command
def main(argv=None) -> None:
    about = __doc__.split("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m workflow.worlds.mini.people_set", description=about)
    parser.add_argument("--studies", type=Path, nargs="+", help="folders of studies: make the set from them")
    parser.add_argument("--judge", type=Path, help="weights of a judge: list where it differs")
    arguments = parser.parse_args(argv)
    if arguments.studies:
        people = gather(arguments.studies)
        save_people(PEOPLE_SET, people)
        adapted = int((people.groups == "adapted").sum())
        print(f"{len(people.names)} pictures, {adapted} of them adapted -> {PEOPLE_SET.name}")
    if arguments.judge:
        from eval.networks.referee import load_judge

        people, judge = load_people(), load_judge(arguments.judge)
        called = judged(judge, people)
        for i in np.flatnonzero((called != people.names) & (people.groups == "adapted")):
            print(f"{people.studies[i]}, picture {i}: people say {people.names[i]}, the judge {called[i]}")
        print({name: round(share, 3) for name, share in agreement(judge, people).items()})
    if not (arguments.studies or arguments.judge):
        parser.error("give --studies or --judge")


if __name__ == "__main__":
    raise SystemExit(main())
