"""Check the folder for results: it must be separate from the code and hold no tracked file.

The paths of every rule begin with this folder, so invalid values are refused before planning.
"""

import os
import subprocess
from pathlib import Path

from workflow.plan.checking import ConfigError

# Snakemake reads braces in a path as wildcards; `workflow.lines` splits lists of paths at commas.
TAKEN_BY_SNAKEMAKE = "{},"
# Folders of the project, for copies without git (such as a downloaded archive).
PROJECT = ("nada", "baselines", "eval", "workflow", "tests", "docs", "profiles", "assets", "results/published")


def check_typed(overrides):
    """Refuse a folder that Snakemake read as a number: it reads 2026_11 as 202611."""
    typed = (overrides or {}).get("results")
    if isinstance(typed, (int, float)):  # true and false too
        raise ConfigError(
            f"config: 'results' was read as {typed}, not as a name; put a folder before it, such as "
            "results=results/2026_11."
        )


def results_folder(text, root="."):
    """The folder of results, relative or absolute, without a slash at its end.

    text: the value of config.yaml; root: the project's folder. Raises ConfigError if results must not
    be written there.
    """

    def refused(why):
        return ConfigError(f"config: 'results' is {text!r}, {why}; name a folder such as results/try.")

    if not text.strip() or text != text.strip() or not text.isprintable():
        raise refused("which is blank, or has blanks around it, a line break or a control character")
    if text.startswith(("-", "~")):
        raise refused("which commands would read as an option or as a home folder")
    if found := next((mark for mark in TAKEN_BY_SNAKEMAKE if mark in text), None):
        raise refused(f"and '{found}' has a meaning in Snakemake's paths")
    folder, project = Path(root, text).resolve(), Path(root).resolve()
    if folder == project or folder in project.parents:
        raise refused("which is the project's folder or holds it")
    inside = folder.relative_to(project) if project in folder.parents else None
    if inside and inside.parts[0].startswith("."):
        raise refused("a hidden folder of the project")
    above = next(path for path in (folder, *folder.parents) if path.exists())
    if not above.is_dir():
        raise refused(f"but {os.path.relpath(above, project)} is a file")
    if not os.access(above, os.W_OK | os.X_OK):
        raise refused(f"and no folder can be made in {above}")
    if inside and tracked(inside, project):
        raise refused("which holds files of the project itself")
    return os.path.normpath(text)


def tracked(folder, project):
    """Whether a folder of the project, as a path relative to it, is code or holds files that git tracks."""
    if any(folder.is_relative_to(own) or Path(own).is_relative_to(folder) for own in PROJECT):
        return True
    git = ["git", "-C", str(project), "ls-files", "--", folder.as_posix()]
    try:
        return bool(subprocess.run(git, capture_output=True, check=False, timeout=10).stdout)
    except (OSError, subprocess.SubprocessError):
        return False
