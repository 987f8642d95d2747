"""The metrics that eval/metrics declares, read and checked without importing the files."""

import ast
import dataclasses
from pathlib import Path

from eval.metrics.metric import NEEDS, Metric
from workflow.plan.checking import ConfigError

OTHERS = ("__init__", "catalogue", "metric", "sample")  # files of the folder that declare no metric
COMPARED = ("realism",)  # its metrics compare two models: eval/score.py computes them, not `values`
FIELDS = tuple(field.name for field in dataclasses.fields(Metric))
# What each argument of Metric must be: its types, and what a sentence says of them.
TYPES = {
    **dict.fromkeys(("name", "label", "unit"), ((str,), "a text")),
    "maximize": ((bool, type(None)), "True, False or None"),
    "digits": ((int,), "a whole number, 0 or more"),
    "needs": ((str,), f"one of {', '.join(map(repr, NEEDS))}"),
}


def metric_names(root=".") -> dict[str, bool | None]:
    """{name: maximize} of the metrics that eval/metrics declares with `X = Metric("name", …)`.

    maximize: whether higher is better; None if neither is. Raises ConfigError for a file that Python
    cannot read, a declaration with other values than literals of the right type, a name or label that
    is declared twice, a file without METRICS or `values`, and one that imports torch when it is loaded.
    """
    found, taken = {}, {}
    for path in sorted(Path(root, "eval", "metrics").glob("*.py")):
        where = f"eval/metrics/{path.name}"
        for metric in declared(path, where):
            for key, value in (("name", metric.name), ("label", metric.label)):
                if (key, value) in taken:
                    files = dict.fromkeys((taken[key, value], where))
                    what = f"'{value}'" if key == "name" else f"the label '{value}'"
                    times = "" if len(files) > 1 else "twice "
                    raise ConfigError(
                        f"{what} is declared {times}in {' and '.join(files)}; rename one."
                    )
                taken[key, value] = where
            found[metric.name] = metric.maximize
    return found


def declared(path: Path, where: str) -> list[Metric]:
    """The declarations of one file, checked; `where` is the file's name in errors."""
    body = parsed(path, where).body
    loaded = [node for node in body if not isinstance(node, (ast.FunctionDef, ast.ClassDef))]
    calls = [n for node in loaded for n in ast.walk(node) if isinstance(n, ast.Call) and _is_metric(n)]
    if path.stem in OTHERS:
        return []
    if not calls:
        raise ConfigError(f"{where} declares no metric; write NAME = Metric(…), or move the file elsewhere.")
    metrics = [declaration(call, f"{where}, line {call.lineno}") for call in calls]
    _check_listed(body, where)
    if path.stem not in COMPARED and not any(getattr(node, "name", "") == "values" for node in body):
        raise ConfigError(f"{where} has no function values(sample); add it, since it computes the metric.")
    for node in loaded:
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        if any(name.split(".")[0] == "torch" for name in names):
            raise ConfigError(
                f"{where}, line {node.lineno}: scores are computed without torch; import it inside the "
                "function that uses it."
            )
    return metrics


def declaration(call: ast.Call, where: str) -> Metric:
    """The Metric that a call makes; ConfigError unless its arguments are literals of the right type."""
    given = dict(zip(FIELDS, call.args)) | {keyword.arg: keyword.value for keyword in call.keywords}
    unknown = [key for key in given if key not in FIELDS]
    if unknown or len(call.args) > len(FIELDS):
        raise ConfigError(f"{where}: Metric takes {', '.join(FIELDS)}; leave out the other arguments.")
    values = {}
    for key, node in given.items():
        types, wanted = TYPES[key]
        known = isinstance(node, ast.Constant) and type(node.value) in types
        if known and key in ("name", "label"):
            known, wanted = bool(node.value.strip()), "a text that is not blank"
        if known and key == "needs":
            known = node.value in NEEDS
        if not known:
            raise ConfigError(
                f"{where}: '{key}' of Metric is {ast.unparse(node)}; write {wanted}, as a literal."
            )
        values[key] = node.value
    for field in dataclasses.fields(Metric):
        if field.default is dataclasses.MISSING and field.name not in values:
            wanted = TYPES[field.name][1]
            raise ConfigError(f"{where}: Metric lacks '{field.name}'; add it ({wanted}).")
    return Metric(**values)


def parsed(path: Path, where: str) -> ast.Module:
    """The syntax tree of a file; ConfigError if Python cannot read it."""
    try:
        return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    except SyntaxError as error:
        raise ConfigError(f"{where}, line {error.lineno}: Python cannot read it ({error.msg}).") from None
    except (UnicodeDecodeError, ValueError) as error:
        raise ConfigError(f"{where}: Python cannot read it ({error}).") from None


def _check_listed(body, where: str) -> None:
    """Refuse a file whose METRICS is missing or lacks a constant that it declares."""
    assigned = {}  # name of a constant -> its value
    for node in body:
        if isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            assigned |= {target.id: node.value for target in targets if isinstance(target, ast.Name)}
    own = [name for name, value in assigned.items() if isinstance(value, ast.Call) and _is_metric(value)]
    if "METRICS" not in assigned:
        raise ConfigError(f"{where} has no METRICS; add METRICS = ({', '.join(own)},).")
    listed = {node.id for node in ast.walk(assigned["METRICS"]) if isinstance(node, ast.Name)}
    if missing := [name for name in own if name not in listed]:
        raise ConfigError(f"{where}: METRICS lacks {', '.join(missing)}; add it there.")
    if not isinstance(assigned["METRICS"], (ast.Tuple, ast.List)):
        raise ConfigError(f"{where}: METRICS must be a tuple; write METRICS = ({', '.join(own)},).")


def _is_metric(call: ast.Call) -> bool:
    return getattr(call.func, "id", getattr(call.func, "attr", None)) == "Metric"
