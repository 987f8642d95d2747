"""How much shorter a group's few-shot runs are than the published ones, in sentences for its tables."""

import json
from pathlib import Path

from baselines.scaling import LENGTHS, scale, scaled
from eval.settings import Group
from nada.errors import UserError


def notes(group: Group) -> list[str]:
    """One sentence per length of run: s, and what it made of every length; none without such runs."""
    found: dict[tuple[int, int], dict[str, None]] = {}
    for member in group.drawn:
        for records in member.costs.values():
            settings = method_settings(records[0])
            if "published_iterations" in settings:
                key = settings["iterations"], settings["published_iterations"]
                found.setdefault(key, {}).update(
                    {f"{LENGTHS[name][0]} {shown(settings, name)}": None for name in LENGTHS if name in settings}
                )  # fmt: skip
    return [
        f"Few-shot training: {ours:,} of the {theirs:,} published iterations, s = {scale(ours, theirs):.3g};"
        f" so {', '.join(lengths)}."
        for (ours, theirs), lengths in found.items()
    ]


def shown(settings: dict, name: str) -> str:
    """A length with its unit."""
    return f"{scaled(settings, name):,.4g} {LENGTHS[name][1]}"


def method_settings(cost_record: str) -> dict:
    """The method's settings of the run that a cost record belongs to, defaults included."""
    path = Path(cost_record).with_name("run.json")
    try:
        return json.loads(path.read_text(encoding="utf-8"))["settings"]["settings"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: no run record ({error}); make the run again.") from None
