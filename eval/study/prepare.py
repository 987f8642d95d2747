"""Prepare a preference study: pairs of pictures of a group's models, for people to compare (§5.3).

    python -m eval.study.prepare --spec results/mini/study/spec.json --out results/mini/study

writes the folder that `python -m eval.study` works with (`eval/study/folder.py`). Where people have answered
already, the same study is left as it is, and another one is refused.
"""

import argparse
import sys
from pathlib import Path

from eval.study.answers import has_answers
from eval.study.folder import ANSWERS, Study, identity, same_study, save_study
from eval.study.pairs import PAIR, design
from nada.run.errors import UserError, command
from nada.run.spec.base import CONDITION_KEYS
from nada.run.spec.study_spec import read_study_spec


def check_unanswered(study: Study) -> None:
    """UserError if the study's folder has answers to another study."""
    if has_answers(study.folder / ANSWERS) and not same_study(study):
        raise UserError(
            f"{study.folder} has people's answers to other pictures; move the folder away, or give 'results'"
            " another folder."
        )


@command
def main(argv=None) -> None:
    """Command line of this module."""
    about = __doc__.split("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m eval.study.prepare", description=about)
    parser.add_argument("--spec", required=True, help="the study spec (JSON)")
    parser.add_argument("--out", type=Path, required=True, help="folder of the study")
    arguments = parser.parse_args(argv)
    spec = read_study_spec(arguments.spec)
    pairs, booklets, pictures = design(spec)
    study = Study(
        folder=arguments.out,
        identity=identity(spec, pairs, booklets, pictures),
        world=spec.world,
        group=spec.group,
        questions=spec.questions,
        consent=spec.consent,
        pairs=pairs,
        booklets=booklets,
    )
    check_unanswered(study)
    save_study(study, pictures)
    models = len(pairs.loc[pairs.kind == PAIR, list(CONDITION_KEYS)].drop_duplicates())
    print(
        f"world {spec.world}: {len(pairs)} pairs of {models} models and tasks in {study.booklet_count} booklets of"
        f" {study.length} questions -> {arguments.out}"
    )
    print(f"next: python -m eval.study serve {arguments.out}")


if __name__ == "__main__":
    sys.exit(main())
