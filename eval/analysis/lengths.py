"""Notes for a group's tables: how long its trainings are as a share of the published ones."""

from baselines.adversarial.scaling import LENGTHS, scaled
from eval.analysis.costs import Length, length
from nada.run.spec.group_spec import GroupSpec


def notes(group: GroupSpec) -> list[str]:
    """One sentence per training of the group, and of the runs that it continues: iterations and s.

    Methods of one length share a sentence, which also gives the other lengths that s shortened.
    Controls train nothing and have no sentence.
    """
    found: dict[tuple, list[Length]] = {}
    for row in group.rows:
        for run in row.runs:
            for record in run.costs:
                one = length(record, group)
                if one.iterations:
                    found.setdefault((one.iterations, one.published), []).append(one)
    return [_sentence(lengths) for lengths in found.values()]


def _sentence(lengths: list[Length]) -> str:
    one = lengths[0]
    names = ", ".join(dict.fromkeys(length.name for length in lengths))
    if tasks := dict.fromkeys(length.task for length in lengths if length.task):
        names += f" on {', '.join(tasks)}"
    if one.published is None:
        return f"Length of {names}: {one.iterations:,} iterations; no published number is known."
    places = ", ".join(dict.fromkeys(length.where for length in lengths if length.where))
    where = f" ({places})" if places else ""
    text = (
        f"Length of {names}: {one.iterations:,} of the {one.published:,} published iterations{where},"
        f" s = {one.s:.3g}"
    )
    shortened = dict.fromkeys(
        f"{LENGTHS[name][0]} {shown(length.hyperparameters, name)}"
        for length in lengths
        for name in LENGTHS
        if name in length.hyperparameters
    )
    return f"{text}{'; so ' if shortened else ''}{', '.join(shortened)}."


def shown(hparams: dict, name: str) -> str:
    """The scaled value of a length with its unit."""
    return f"{scaled(hparams, name):,.4g} {LENGTHS[name][1]}"
