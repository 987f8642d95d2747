"""What the file of a figure declares about itself. docs/add-a-figure.md says how to add one."""

from dataclasses import dataclass

#: Files that a figure may open beside the group spec and the scores: curves of the runs, records of the
#: runs and their parents (run.json, cost.json), observations with the images trained on, people's answers.
READS = ("curves", "records", "observations", "answers")
#: Groups that have a figure without asking for it: those that train, that choose layers, that name
#: metrics under `sweep`, that name a model under `preference`, or that train on images; or none.
WHEN = ("trained", "chooses_layers", "sweep", "preference", "few_shot", "listed")


@dataclass(frozen=True)
class Figure:
    """`FIGURE = Figure(…)` in a figure's file, with literals only: the plan reads it without an import.

    reads: files that the figure opens, of READS. when: the groups that have the figure, of WHEN; others
    list it under `figures` in config.yaml.
    """

    reads: tuple[str, ...] = ()
    when: str = "listed"
