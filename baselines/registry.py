"""Find the benchmark's methods: the files of this folder that declare METHOD."""

import ast
import difflib
import importlib
from dataclasses import dataclass, field
from pathlib import Path

from nada.run.errors import UserError

FOLDER = Path(__file__).parent
SUPERVISION = ("text", "images", "none")
GENERATOR = ("source", "none")


@dataclass(frozen=True)
class Method:
    """The declaration of a method, made of literals and the name of one class.

    name: as in the configuration. paper: the publication.
    licence: the licence of the authors' public code, by name; 'no licence file' if that code has
    none, 'no public code' if there is none, and "this project's MIT" for methods that exist only here,
    such as controls. It describes the original code, of which nothing is copied: all code of this
    project is MIT. docs/departures.md lists the repositories.
    supervision: the source of information about the target: 'text', 'images' or 'none'.
    generator: where a run starts: 'source', the task's source model, or 'none', if it opens no
    generator of the world.
    hyperparameters: the class that declares them (nada/run/hyperparameters.py); None if the file was
    read without importing it. baselines/describe.py describes the class.
    """

    name: str
    paper: str
    licence: str
    supervision: str
    generator: str = "source"
    hyperparameters: type | None = field(default=None, compare=False)


def files(folder: Path = FOLDER) -> dict[str, Path]:
    """The file of every declared method, by name."""
    return {method.name: folder / f"{stem}.py" for stem, method in _declared(folder)}


def methods(folder: Path = FOLDER) -> dict[str, Method]:
    """Every declared method by name. Reads the files without importing them, so without torch."""
    return {method.name: method for _, method in _declared(folder)}


def load(name: str, folder: Path = FOLDER):
    """Import the module of a method; it has METHOD and adapt(job) -> AdaptedModel.

    Raises UserError for an unknown name, with the nearest one.
    """
    return importlib.import_module(f"baselines.{file_of(name, folder).stem}")


def file_of(name: str, folder: Path = FOLDER) -> Path:
    """The file of one method. Raises UserError for an unknown name, with the nearest one."""
    known = files(folder)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise UserError(
            f"there is no method '{name}'; {hint}Known methods: {', '.join(sorted(known))}."
        )
    return known[name]


def _declared(folder: Path) -> list[tuple[str, Method]]:
    """(file stem, declaration) of every method's file, sorted by file."""
    found = {}
    for path in sorted(folder.glob("*.py")):
        call = _declaration(path)
        if call is None:
            continue
        method = _read_declaration(path, call)
        if method.name in found:
            raise UserError(
                f"{path.name} and {found[method.name][0]}.py both declare the method "
                f"'{method.name}'; rename one."
            )
        found[method.name] = (path.stem, method)
    return list(found.values())


def _declaration(path: Path) -> ast.Call | None:
    """The call in `METHOD = Method(…)` at the top level of a file, if it has one."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    except SyntaxError as error:
        raise UserError(
            f"{path.parent.name}/{path.name}, line {error.lineno}: Python cannot read it ({error.msg})."
        ) from None
    for node in tree.body:
        names = (
            [getattr(t, "id", None) for t in node.targets] if isinstance(node, ast.Assign) else []
        )
        if "METHOD" in names and isinstance(node.value, ast.Call):
            return node.value
    return None


def _read_declaration(path: Path, call: ast.Call) -> Method:
    """Read the declaration in a file. Raises UserError unless values are literals and the class is a name."""
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    named = isinstance(given.pop("hyperparameters", None), (ast.Name, ast.Attribute))
    try:
        values = {name: ast.literal_eval(value) for name, value in given.items()}
        method = Method(**values)
        complete = named and not call.args and all(isinstance(value, str) for value in values.values())
    except (ValueError, TypeError):
        complete = False
    if not complete:
        raise UserError(
            f"{path.name}: METHOD must give name, paper, licence, supervision and, where it is none, "
            "generator by keyword, each a plain string, and hyperparameters, the name of a class."
        )
    if method.supervision not in SUPERVISION:
        raise UserError(
            f"{path.name}: METHOD's supervision is '{method.supervision}'; "
            f"it must be one of {', '.join(SUPERVISION)}."
        )
    if method.generator not in GENERATOR:
        raise UserError(
            f"{path.name}: METHOD's generator is '{method.generator}'; "
            f"it must be one of {', '.join(GENERATOR)}."
        )
    return method
