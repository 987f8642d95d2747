"""Which source code a job depends on, as one digest (so that an edit re-runs what it must).

Snakemake sees only a rule's shell line; an edit in an imported module would leave stale results.
The digest covers the abstract syntax trees of a module and of every first-party module it imports,
directly or not, without docstrings and comments: a change of wording changes nothing.
"""

import ast
import functools
import hashlib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FIRST_PARTY = ("nada", "baselines", "eval", "workflow")


def module_path(name, root=ROOT):
    """Return the file of a dotted first-party module name, or None when there is none."""
    base = root.joinpath(*name.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


@functools.cache
def _syntax_tree(path, _stamp):
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def syntax_tree(path):
    """Parse a source file; parsed again only when its size or time stamp changed."""
    stat = path.stat()
    return _syntax_tree(path, (stat.st_mtime_ns, stat.st_size))


def imports(name, path):
    """Yield every first-party dotted name that the module imports, at any depth of its code.

    `from a import b` yields both `a` and `a.b`, since b may be a module; a package's own
    `__init__` is yielded for each of its modules, since Python runs it on import.
    """
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    found = set()
    for node in ast.walk(syntax_tree(path)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join(above + ([node.module] if node.module else []))
            found.add(base)
            found.update(f"{base}.{alias.name}" for alias in node.names)
    for dotted in sorted(found):
        parts = dotted.split(".")
        if parts[0] in FIRST_PARTY:
            yield from (".".join(parts[: i + 1]) for i in range(len(parts)))


def closure(*modules, root=ROOT):
    """Return {name: path} of the modules and everything first-party that they import.

    Raises FileNotFoundError when one of `modules` does not exist.
    """
    files, waiting = {}, []
    for name in modules:
        if module_path(name, root) is None:
            raise FileNotFoundError(f"no first-party module {name!r} under {root}")
        parts = name.split(".")
        waiting += [".".join(parts[: i + 1]) for i in range(len(parts))]
    while waiting:
        name = waiting.pop()
        path = module_path(name, root)
        if name in files or path is None:  # None: a class or function, not a module
            continue
        files[name] = path
        waiting += imports(name, path)
    return files


def without_docstrings(tree):
    """Return the text of a syntax tree with docstrings left out (comments never were in it)."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    removed = []
    for node in ast.walk(tree):
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
            removed.append((node, node.body[0]))
            del node.body[0]
    text = ast.dump(tree)
    for node, docstring in removed:  # the tree is cached and shared
        node.body.insert(0, docstring)
    return text


def digest(*modules, root=ROOT):
    """Return a 16-digit hexadecimal digest of the modules' code and of all they import."""
    hashed = hashlib.sha256()
    for name, path in sorted(closure(*modules, root=root).items()):
        hashed.update(f"{name}\0{without_docstrings(syntax_tree(path))}\0".encode())
    return hashed.hexdigest()[:16]
