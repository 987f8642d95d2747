"""Descriptions of each method's hyperparameters, for a plan that imports no torch.

A method's file imports torch, so another process describes it (baselines/describe.py, some seconds). The
description is cached in Snakemake's folder, with the digest of the code that made it.
"""

import contextlib
import functools
import hashlib
import json
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from baselines import registry
from nada.run.atomic import atomic_path
from nada.run.errors import UserError
from workflow.plan.checking import ConfigError
from workflow.plan.code_digest import ROOT, digest

KEPT = Path(".snakemake", "methods")  # one file per method, relative to the root
DESCRIBE = "baselines.describe"
KINDS = {"schema": dict, "lengths": list, "adversarial": bool}  # the keys of a description


def descriptions(methods, root=ROOT) -> dict[str, dict]:
    """{name: {schema, lengths, adversarial}} of the methods that a file declares.

    Methods without a cached description of their current code are described together, in one process.
    Raises ConfigError, with the file, if it cannot be imported or declares no hyperparameters.
    """
    return dict(_descriptions(tuple(methods), Path(root)))


@functools.cache
def _descriptions(methods: tuple[str, ...], root: Path) -> dict[str, dict]:
    files = registry.files(root / "baselines")
    codes = {name: _code(files[name], root) for name in methods if name in files}
    found = {name: _kept(name, code, root) for name, code in codes.items()}
    missing = [name for name, description in found.items() if description is None]
    if missing:
        found |= _described(missing, root)
    for name in missing:
        with contextlib.suppress(OSError, UserError):  # a folder that is not writable: the next plan describes it again
            kept = {"code": codes[name], "description": found[name]}
            with atomic_path(root / KEPT / f"{name}.json") as temporary:  # in the order of the declaration
                temporary.write_text(json.dumps(kept), encoding="utf-8")
    return found


def _code(file: Path, root: Path) -> str:
    """A digest of the code that a method's description depends on."""
    try:
        own = digest(f"baselines.{file.stem}", DESCRIBE, root=root)
    except SyntaxError as error:
        where = f"{error.filename}, line {error.lineno}"
        raise ConfigError(f"{where}: Python cannot read it ({error.msg}).") from None
    known = f"{own} {platform.python_version()} {version('pydantic')}"
    return hashlib.sha256(known.encode()).hexdigest()[:16]


def _kept(name: str, code: str, root: Path) -> dict | None:
    """The cached description for this code, or None if there is none or its values have other types."""
    try:
        kept = json.loads((root / KEPT / f"{name}.json").read_text(encoding="utf-8"))
        found = kept["description"]
        fits = all(isinstance(found[key], kind) for key, kind in KINDS.items())
        return found if kept["code"] == code and fits else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _described(names: list[str], root: Path) -> dict[str, dict]:
    """Describe methods: in this process if it has imported torch, otherwise in a new one."""
    if "torch" in sys.modules and root == ROOT:
        from baselines.describe import describe

        return {name: describe(name) for name in names}
    print(f"reading the hyperparameters of the methods {', '.join(names)} …", file=sys.stderr, flush=True)
    done = subprocess.run(
        [sys.executable, "-m", DESCRIBE, *names], cwd=root, capture_output=True, text=True, check=False
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise ConfigError(last.removeprefix("error: "))
    return json.loads(done.stdout.splitlines()[-1])
