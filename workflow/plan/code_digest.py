"""A digest of the source code that a job depends on, so that editing code re-runs the job.

Snakemake tracks only a rule's shell line; after an edit in an imported module, results would be stale.
The digest covers the abstract syntax trees of a module and of every first-party module that it imports,
directly or indirectly. It ignores docstrings, comments, the texts of hyperparameters and those of errors.
"""

import ast
import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DECLARE, TEXTS = "hyperparameter", ("description", "source", "unit")  # of nada/run/hyperparameters.py
FIRST_PARTY = ("nada", "baselines", "eval", "workflow")


def module_path(name, root=ROOT):
    """Return the file of a dotted first-party module name, or None when there is none."""
    base = root.joinpath(*name.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


@dataclass(frozen=True)
class Source:
    """The parts of one file that the digest uses: the dotted names it imports, and its code as text."""

    imports: tuple[str, ...]
    text: str


def source(name, path):
    """Read a module once, and again only if its file's size or time stamp has changed."""
    stat = path.stat()
    return _source(name, path, stat.st_mtime_ns, stat.st_size)


@functools.cache
def _source(name, path, *_stamp):
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    imports = tuple(first_party_imports(tree, package))
    return Source(imports, without_docstrings(tree))


def first_party_imports(tree, package):
    """Yield every first-party dotted name that a module imports, at any depth of its code.

    package: the parts of the package's name, for relative imports. `from a import b` yields both
    `a` and `a.b`, since b may be a module, and each parent package, since Python runs its __init__.
    `pkgutil.iter_modules(a.b.__path__)` yields `a.b.*`: the module depends on the whole package.
    """
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join(above + ([node.module] if node.module else []))
            found.add(base)
            found.update(f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "pkgutil.iter_modules":
            found.update(ast.unparse(path).replace("__path__", "*") for path in node.args[:1])
    for dotted in sorted(found):
        parts = dotted.split(".")
        if parts[0] in FIRST_PARTY:
            yield from (".".join(parts[: i + 1]) for i in range(len(parts)))


def without_docstrings(tree):
    """Return the text of a syntax tree without docstrings and the texts of hyperparameters and errors.

    A syntax tree has no comments.
    """
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(tree):
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
            del node.body[0]
        if isinstance(node, ast.Call) and getattr(node.func, "id", None) == DECLARE:
            node.args = node.args[:1]  # the default
            node.keywords = [keyword for keyword in node.keywords if keyword.arg not in TEXTS]
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            node.exc.args = [value for value in node.exc.args if not is_text(value)]
            node.exc.keywords = [keyword for keyword in node.exc.keywords if not is_text(keyword.value)]
    return ast.dump(tree)


def is_text(node):
    """Whether an expression is a string or an f-string."""
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def closure(*modules, root=ROOT):
    """Return {name: path} of the modules and of all first-party modules that they import.

    Raises FileNotFoundError if one of `modules` does not exist.
    """
    files, waiting = {}, []
    for name in modules:
        if module_path(name, root) is None:
            raise FileNotFoundError(f"no first-party module {name!r} under {root}")
        parts = name.split(".")
        waiting += [".".join(parts[: i + 1]) for i in range(len(parts))]
        waiting.append(f"{name}.__main__")  # of a package that is a command
    while waiting:
        name = waiting.pop()
        if name.endswith(".*"):
            folder = root.joinpath(*name.split(".")[:-1])
            waiting += [f"{name[:-2]}.{file.stem}" for file in folder.glob("[!_]*.py")]
            continue
        path = module_path(name, root)
        if name in files or path is None:  # None: a class or function, not a module
            continue
        files[name] = path
        waiting += source(name, path).imports
    return files


def digest(*modules, root=ROOT):
    """Return a 16-digit hexadecimal digest of the code of the modules and of all their imports."""
    hashed = hashlib.sha256()
    for name, path in sorted(closure(*modules, root=root).items()):
        hashed.update(f"{name}\0{source(name, path).text}\0".encode())
    return hashed.hexdigest()[:16]
