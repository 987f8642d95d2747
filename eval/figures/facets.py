"""Which models share a panel: never more than there are colours, and no two of one colour.

Where a group has more models than that, there is one panel for each number of images and warm start, or
one for each family of variants; a panel names what its models have in common.
"""

from dataclasses import dataclass

import pandas as pd

from eval.analysis.names import condition_title, method_name, start_name
from eval.figures.palette import BOUNDS, COLOURS, family, styles
from nada.run.spec.base import CONDITION_KEYS
from nada.run.spec.group_spec import GroupSpec

#: Models in one panel.
MOST = len(COLOURS)
#: Values of CONDITION_KEYS but the task: method, variant, shots, warm start.
Model = tuple[str, str, int, str]


@dataclass(frozen=True)
class Facet:
    """One panel: title (empty if there is only one), and {model: its name in this panel}."""

    title: str
    models: dict[Model, str]


def facets(models) -> list[Facet]:
    """The panels of a figure, in order of appearance; every model is in one at least.

    Models without images (shots 0) are shown in the panel of each number of images, for comparison; so is the
    variant from which a family departs. Controls count as models.
    """
    models = list(dict.fromkeys(models))
    if _fit(models):
        return [Facet("", {model: condition_title(*model) for model in models})]
    ways = list(dict.fromkeys(model[2:] for model in models if model[2]))
    if len(ways) > 1:
        return _chunks(_by_way(models, sorted(ways, key=lambda way: way[0])))
    return _chunks(_by_family(models))


def of_task(group: GroupSpec, table: pd.DataFrame, task: str) -> list[Facet]:
    """The panels of a task's models, in the order of the group; table: rows with CONDITION_KEYS that are drawn."""
    drawn = set(table[list(CONDITION_KEYS)].itertuples(index=False, name=None))
    return facets([row.condition[1:] for row in group.rows if row.task == task and row.condition in drawn])


def _fit(models: list[Model]) -> bool:
    """Whether models may share a panel: their colours differ, and each is there once."""
    looks = styles([model[:2] for model in models])
    names = [model[:2] for model in models if model[0] not in BOUNDS]
    colours = [looks[name]["color"] for name in names]
    return len(names) <= MOST and len(set(colours)) == len(names)


def _by_way(models: list[Model], ways: list[tuple[int, str]]) -> list[Facet]:
    """One panel for each number of images and warm start, with the models that see no images."""
    found = []
    for way in ways:
        shots, start = way
        of_way = {
            model: condition_title(*model[:2], model[2] if model[0] in BOUNDS else 0)
            for model in models
            if model[2:] == way or not model[2]
        }
        title = ", ".join(part for part in (f"{shots} images", start_name(start)) if part)
        found.append(Facet(title, of_way))
    return found


def _by_family(models: list[Model]) -> list[Facet]:
    """One panel for each family of NADA's variants, and one for each other method."""
    panels: dict[str, list[Model]] = {}
    references = {}
    for model in models:
        own = family(*model[:2])
        key = own.title if own else method_name(model[0])
        panels.setdefault(key, []).append(model)
        references[key] = own.reference if own else None
    found = []
    for key, of_panel in panels.items():
        first = [m for m in models if m[:2] == ("nada", references[key]) and m not in of_panel]
        found.append(Facet(key, {model: condition_title(*model) for model in (*first, *of_panel)}))
    covered = [set(facet.models) for facet in found]
    return [
        facet for facet, own in zip(found, covered, strict=True) if not any(own < other for other in covered)
    ]


def _chunks(found: list[Facet]) -> list[Facet]:
    """Panels of more models than there are colours, cut into several."""
    cut = []
    for facet in found:
        rest: list[dict] = [{}]
        for model, name in facet.models.items():
            if rest[-1] and not _fit([*rest[-1], model]):
                rest.append({})
            rest[-1][model] = name
        for number, part in enumerate(rest, start=1):
            title = f"{facet.title} ({number} of {len(rest)})" if len(rest) > 1 else facet.title
            cut.append(Facet(title, part))
    return cut
