"""What a metric says about itself: declared once, beside the function that computes it.

Arrows, bold cells and digits of every table and axis come from here.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """name: the value of column `metric` in scores.csv. label: for people. unit: "" when none.

    maximize: True (more is better), False (less is better), None (neither: it only describes).
    digits: decimals shown in a table.
    """

    name: str
    label: str
    unit: str
    maximize: bool | None
    digits: int

    @property
    def arrow(self) -> str:
        """↑, ↓ or nothing."""
        return {True: "↑", False: "↓", None: ""}[self.maximize]

    @property
    def heading(self) -> str:
        """Label, unit and arrow, as a table's column title."""
        unit = f" ({self.unit})" if self.unit else ""
        return f"{self.label}{unit} {self.arrow}".strip()
