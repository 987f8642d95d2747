"""The kinds of figures, the groups that have them, and their inputs, as declared in eval/figures.

The declarations are read without importing the files, which would import the plotting library.
"""

import ast
import functools
from dataclasses import dataclass
from pathlib import Path

from eval.figures.figure import READS, WHEN, Figure
from nada.run.spec.base import REPLAY
from workflow.plan.checking import ConfigError
from workflow.plan.metric_kinds import parsed

FOLDER = Path(__file__).resolve().parents[2] / "eval" / "figures"


@dataclass(frozen=True)
class FigureKind(Figure):
    """A figure's declaration, and its caption: the module's docstring up to the command line."""

    caption: str = ""


def figure_kinds(folder: Path = FOLDER) -> dict[str, FigureKind]:
    """Every figure by the name of its file, in the order of WHEN, then of names.

    Raises ConfigError for a file that Python cannot read, and for a declaration with other values than
    literals or those of READS and WHEN.
    """
    found = {}
    for path in sorted(folder.glob("*.py")):
        tree = parsed(path, f"eval/figures/{path.name}")
        for node in tree.body:
            targets = getattr(node, "targets", [getattr(node, "target", None)])  # of an assignment
            if isinstance(node, (ast.Assign, ast.AnnAssign)) and ast.unparse(targets[0]) == "FIGURE":
                found[path.stem] = _kind(path, node.value, ast.get_docstring(tree, clean=False) or "")
    return dict(sorted(found.items(), key=lambda item: WHEN.index(item[1].when)))


def _kind(path: Path, call: ast.Call, docstring: str) -> FigureKind:
    try:
        given = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}
        kind = FigureKind(**given, caption=docstring.partition("\n    python -m ")[0].strip())
        known = not call.args and kind.when in WHEN and set(kind.reads) <= set(READS)
    except (ValueError, TypeError, AttributeError):
        known = False
    if not known:
        raise ConfigError(
            f"eval/figures/{path.name}: FIGURE must give reads (some of {', '.join(READS)}) and when (one "
            f"of {', '.join(WHEN)}) by keyword, as literals."
        )
    return kind


@functools.cache
def kinds() -> dict[str, FigureKind]:
    """Every figure of the project; the files are read at the first call."""
    return figure_kinds()


def figures_of(plan, group: str) -> list[str]:
    """The kinds of figures that a group has, in the order of `kinds()`; `plan`: workflow.plan.plan.Plan."""
    members, keys = plan.members(group), plan.groups[group]
    own = [member for member in members if member.method != REPLAY]
    has = {
        "trained": any(plan.methods[m.method].supervision != "none" for m in own),
        "chooses_layers": any(plan.chooses_layers(member) for member in members),
        "sweep": bool(keys.get("sweep")),
        "preference": bool(keys.get("preference")),
        "few_shot": any(member.shots for member in own),
        "listed": False,
    }
    return [kind for kind, figure in kinds().items() if has[figure.when] or kind in keys.get("figures", ())]
