"""What a metric declares about itself, and one value of it.

Arrows, digits and bold cells of every table and axis come from the declaration.
"""

from dataclasses import dataclass

#: What a metric cannot be measured without; "" is nothing.
NEEDS = ("", "references", "judge", "new_images", "held_out_clip")


@dataclass(frozen=True)
class Metric:
    """The declaration of a metric: one constant beside the function that computes it.

    name: the value of column `metric` in scores.csv. label: its name in tables and figures. unit: ""
    when it has none. maximize: True (more is better), False (less is better) or None (neither).
    digits: decimals in a table. needs: what the metric cannot be measured without, of NEEDS: "references" (the
    task's reference images), "judge" (the world's classifier, and a target for it), "new_images" (real
    images that the model was not trained on), "held_out_clip" (the world's CLIP that steers nothing, and the
    task's two texts for it), or "" (none of them).
    """

    name: str
    label: str
    unit: str
    maximize: bool | None
    digits: int
    needs: str = ""

    @property
    def arrow(self) -> str:
        """↑ when more is better, ↓ when less is better, else nothing."""
        return {True: "↑", False: "↓", None: ""}[self.maximize]

    @property
    def heading(self) -> str:
        """The title of a table's column: label, unit and arrow."""
        unit = f" ({self.unit})" if self.unit else ""
        return f"{self.label}{unit} {self.arrow}".strip()


@dataclass(frozen=True)
class Value:
    """One value of a metric. n: the number of images (clusters, for `clusters_used`) behind it."""

    metric: Metric
    value: float
    n: int
