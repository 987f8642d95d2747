"""Print a target as a shell script, for a machine that has the packages but not Snakemake.

    python -m workflow.lines at_256 --config world=rehearsal device=cuda > at_256.sh
    PYTHON=python3 bash at_256.sh

Snakemake plans on this machine. The script has its commands in order of their dependencies, and makes
their folders. Jobs that are up to date on this machine are left out.
"""

import argparse
import os
import re
import shlex
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path
from typing import NamedTuple

from nada.run.errors import UserError, command
from workflow.plan.specs import STAGED

HEADER = """\
# {what}: {count} jobs, as Snakemake would run them; stops at the first that fails.
set -euo pipefail
PYTHON=${{PYTHON:-python}}
"""
# Patterns of a dry run: a job's heading, its files, its command.
JOB = re.compile(r"^\[\w{3} \w{3} .*\]$\n(?:local)?rule (\w+):$", re.MULTILINE)
FILES = re.compile(r"^    (input|output|log|benchmark): (.*?)(?: \(.*\))?$", re.MULTILINE)
SHELL = re.compile(r"^Shell command: (.*)", re.MULTILINE | re.DOTALL)
END_OF_FILE = "END_OF_FILE"  # cannot be a line of JSON
END = re.compile(r"^Job stats:$", re.MULTILINE)


class Job(NamedTuple):
    """One job of a plan; shell: its command."""

    rule: str
    reads: list[str]
    writes: list[str]  # outputs, log, benchmark
    shell: str


@command
def main(argv=None) -> None:
    """Print the script of a target."""
    parser = argparse.ArgumentParser(prog="python -m workflow.lines", description=__doc__)
    parser.add_argument("targets", nargs="+", help="targets or files, as for snakemake")
    parser.add_argument("--config", nargs="+", default=[], help="KEY=VALUE, as for snakemake")
    arguments = parser.parse_args(argv)
    print(script(arguments.targets, arguments.config), end="")


def script(targets: list[str], config: list[str]) -> str:
    """The script that makes the targets. Raises UserError if planning fails or nothing is to be done."""
    words = [*targets, "-n", "-p", "--nolock", "--cores", "1"]
    words += ["--config", *config] if config else []
    done = subprocess.run(
        [sys.executable, "-m", "workflow.cli", *words],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        errors = [line for line in done.stdout.splitlines() if line.startswith("error: ")]
        if errors:
            raise UserError(errors[-1].removeprefix("error: "))
        raise UserError(f"Snakemake has no plan for {' '.join(targets)}: {done.stdout.strip()}")
    jobs = read_jobs(done.stdout)
    if not jobs:
        raise UserError(f"nothing to do for {' '.join(targets)}: everything is up to date.")
    what = shlex.join([*targets, *(["--config", *config] if config else [])])
    return HEADER.format(what=what, count=len(jobs)) + "".join(map(lines, jobs))


def read_jobs(dry_run: str) -> list[Job]:
    """The jobs in the output of `snakemake -n -p`, in order of their dependencies.

    The dry run itself lists them in another order. Jobs without a command only collect files and are
    left out.
    """
    _, *parts = JOB.split(dry_run)  # rule, its text, rule, its text, …
    jobs = []
    for rule, block in zip(parts[::2], parts[1::2], strict=True):
        if stop := END.search(block):
            block = block[: stop.start()]
        shell = SHELL.search(block)
        if shell and shell[1].strip() != "None":
            reads, writes = [], []
            for kind, files in FILES.findall(block[: shell.start()]):
                (reads if kind == "input" else writes).extend(files.split(", "))
            jobs.append(Job(rule, reads, writes, shell[1].strip()))
    writers = {file: i for i, job in enumerate(jobs) for file in job.writes}
    needs = {i: [writers[f] for f in job.reads if f in writers] for i, job in enumerate(jobs)}
    return [jobs[i] for i in TopologicalSorter(needs).static_order()]


def lines(job: Job) -> str:
    """A job as shell lines: a comment, its folders, its command."""
    folders = sorted({os.path.dirname(file) for file in job.writes} - {""})
    make = f"mkdir -p {shlex.join(folders)}\n" if folders else ""
    if " -m snakemake " in job.shell:
        return f"\n# {job.rule}: left out, since it needs Snakemake\n"
    words = shlex.split(job.shell) if job.shell.startswith("cp ") else []
    if len(words) == 3 and words[1].startswith(STAGED):  # a staged file exists only here: the script writes it
        text = Path(words[1]).read_text(encoding="utf-8")
        return f"\n# {job.rule}\n{make}cat > {shlex.quote(words[2])} <<'{END_OF_FILE}'\n{text}{END_OF_FILE}\n"
    shell = job.shell.replace(shlex.quote(sys.executable), '"$PYTHON"')
    return f"\n# {job.rule}\n{make}{shell}\n"


if __name__ == "__main__":
    sys.exit(main())
