"""Compare the spec files of earlier runs in the results folder with the plan: their world, their texts."""

import json
from pathlib import Path

from nada.run.spec.base import as_json
from workflow.plan.checking import ConfigError


def check_world(results, world, root=".") -> None:
    """Refuse a results folder with a run of another world: one folder would mix both worlds' scores.

    results: the folder, relative to `root`. world: the name of the plan's world.
    """
    for path in sorted(Path(root, results, "runs").glob("*/*/*/spec.json")):
        try:
            other = json.loads(path.read_text(encoding="utf-8")).get("world", world)
        except (OSError, ValueError, AttributeError):  # the job that reads it reports it
            continue
        if other != world:
            raise ConfigError(
                f"config: 'results' is '{results}', which holds runs of the world '{other}', but the world "
                f"is '{world}'; give it another folder, such as results=results/{world}."
            )


def differs(path, spec, root=".") -> bool:
    """Whether a spec file exists with another text than the plan's spec.

    Snakemake compares a spec's text with its own record in .snakemake/, so it takes results that were
    copied here without that folder as current. The rules of spec files make these files again.
    """
    try:
        return Path(root, path).read_bytes() != f"{as_json(spec)}\n".encode()
    except OSError:
        return False
