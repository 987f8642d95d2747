"""The `snakemake` command of this project: Snakemake with a more convenient command line.

- A target may follow an option that takes a list (`--resources gpu=1 all`, `-R adapt ablation`).
- `--config methods.nada.hyperparameters.lr=0.001` changes one nested key.
- Mistakes give one sentence, where Snakemake prints a traceback or its whole usage.
- `--list` shows the targets and groups.
- A run prints one line for each job (workflow/terminal.py).
All other arguments are passed to Snakemake unchanged. `python -m snakemake` is Snakemake itself.
"""

import contextlib
import difflib
import io
import json
import os
import re
import shlex
import sys
from pathlib import Path

import yaml
from snakemake.cli import get_argument_parser, parse_config, resolve_snakefile
from snakemake.cli import main as snakemake
from snakemake.common.configfile import load_configfile
from snakemake.exceptions import CliException, WorkflowError

from nada.run.errors import UserError
from workflow import terminal
from workflow.plan.checking import merge, read_yaml
from workflow.plan.code_digest import ROOT
from workflow.plan.plan import TARGETS, load_plan
from workflow.plan.targets import listing

CONFIG = ("--config", "-C")
RESOURCES = ("--resources", "--res")
# Options whose values all have a "=": a word without one is a target.
PAIRS = (
    *CONFIG,
    *RESOURCES,
    *("--set-threads", "--set-resources", "--set-scatter"),
    *("--set-resource-scopes", "--default-resources", "--default-res", "--group-components"),
)
CONFIGFILE = ("--configfile", "--configfiles")
# Options with a list in which the name of a target can only mean the target.
LISTS = (*CONFIGFILE, "-R", "--forcerun", "-P", "--prioritize", "--rerun-triggers")
KEY = re.compile(r"[A-Za-z_][\w-]*(\.[A-Za-z_][\w-]*)*")


def by_option(argv):
    """[(option, word)] of a command line, with the option that a word follows; an option has itself.

    The option is None before the first option, and after `--`.
    """
    found, option = [], None
    for i, word in enumerate(argv):
        if word == "--":
            return [*found, *((None, rest) for rest in argv[i:])]
        option = word if word.startswith("-") else option
        found.append((option, word))
    return found


def targets_first(argv, targets=()):
    """Split a command line into targets that an option with a list would take, and the rest.

    targets: the plan's targets, for options whose lists also take other words.
    """
    moved, rest = [], []
    words = by_option(argv)
    for i, (option, word) in enumerate(words):
        bare = option in PAIRS and word != option and "=" not in word
        alone = option == words[i - 1][1] and (i + 1 == len(words) or words[i + 1][0] != option)
        named = option in LISTS and word in targets and not alone
        (moved if bare or named else rest).append(word)
    return moved, rest


def together(moved, rest):
    """Put the moved targets next to the command line's own targets, or first if it has none.

    argparse accepts targets only in one place: with some before `-n` and some after, it fails.
    """
    parser = get_argument_parser()

    def read(argv):
        failures = (SystemExit, CliException, WorkflowError, ValueError)  # options_of reports these
        with contextlib.redirect_stderr(io.StringIO()), contextlib.suppress(*failures):
            options, unknown = parser.parse_known_args(argv)
            return None if unknown else options.targets
        return None

    own = read(rest)
    for i, word in enumerate(rest if own else ()):
        joined = [*rest[:i], *moved, *rest[i:]]
        if word == own[0] and read(joined) == [*moved, *own]:
            return joined
    return [*moved, *rest]


def nested(argv):
    """A command line with the dotted keys of --config as mappings: a.b=1 becomes a={"b": "1"}.

    Raises UserError for blanks around "=" and for invalid keys.
    """
    words, changes, plain = by_option(argv), {}, []
    for i, (option, word) in enumerate(words):
        if option not in CONFIG or word == option:
            plain.append((option, word))
            continue
        after = words[i - 1][1] if words[i - 1] != (option, option) else ""
        name, equals, value = word.partition("=")
        behind = words[i + 1][1] if words[i + 1 : i + 2] and words[i + 1][0] == option else ""
        if equals and (name != name.strip() or value != value.lstrip() or not name):
            raise blanks(name.strip() or after, value.strip() or behind)
        if equals and not value and behind and "=" not in behind:
            raise blanks(name, behind)
        if equals and not KEY.fullmatch(name):
            raise UserError(f"--config: '{name}' is not a key; write KEY=VALUE, such as preset=smoke.")
        top, *path = name.split(".")
        if not path:
            if equals:
                check_value(word)
            plain.append((option, word))
            continue
        content = texts(name, value)
        for key in reversed(path):
            content = {key: content}
        changes[top] = laid_over(changes.get(top, {}), content, top)
    return with_changes(plain, changes)


def with_changes(words, changes):
    """The words of a command line with {key: nested mapping} merged into the values of its --config."""
    rest = []
    for option, word in words:
        name, equals, value = word.partition("=")
        if option in CONFIG and equals and name in changes:
            changes[name] = laid_over(texts(name, value), changes[name], name)
        else:
            rest.append(word)
    at = next((i for i, word in enumerate(rest) if word in CONFIG), None)
    merged = [f"{key}={json.dumps(change, ensure_ascii=False)}" for key, change in changes.items()]
    return rest if at is None else [*rest[: at + 1], *merged, *rest[at + 1 :]]


def laid_over(base, change, key):
    """The two values of one key merged. Raises UserError if, at any depth, only one of them is a mapping."""
    if isinstance(base, dict) != isinstance(change, dict):
        raise UserError(f"--config: {key} has a value, and keys below it have others; give one of them.")
    for name in {*base} & {*change} if isinstance(base, dict) else ():
        laid_over(base[name], change[name], f"{key}.{name}")
    return merge(base, change)


def texts(name, value):
    """Read a value as YAML with all scalars as texts; the schema decides which are numbers."""
    try:
        return yaml.load(value, yaml.BaseLoader)
    except (yaml.YAMLError, TypeError):
        raise no_value(name, value) from None


def check_value(word):
    """Refuse KEY=VALUE for which Snakemake prints a traceback, such as a=#b, whose value is empty."""
    try:
        parse_config([word])
    except (AssertionError, ValueError, TypeError, yaml.YAMLError):
        raise no_value(*word.split("=", 1)) from None


def no_value(name, value):
    return UserError(f"--config: '{value}' of {name} is not valid YAML; close its brackets, or quote it.")


def blanks(name, value):
    return UserError(f"--config: write {name}={value} without blanks around '='.")


def refuse_another_clone(argv):
    """Refuse a Snakefile of this project from another clone than that of the loaded packages."""
    named = [word for option, word in by_option(argv) if option in ("-s", "--snakefile") and word != option]
    snakefile = resolve_snakefile(Path(named[-1]) if named else None, allow_missing=True)
    clone = Path(snakefile or "Snakefile").resolve().parent
    if clone != ROOT and (clone / "workflow" / "cli.py").is_file():
        raise UserError(
            f"this environment loads the packages of {ROOT}, not those of the clone {clone}; "
            f"make an environment for this clone (make), or type: python -m snakemake …"
        )


def options_of(argv):
    """The options that Snakemake reads in a command line. Raises UserError for what it cannot read."""
    parser = get_argument_parser()
    known = [name for action in parser._actions for name in action.option_strings]

    def refuse(message):
        wrong = re.search(r"unrecognized arguments: (\S+)", message)
        near = difflib.get_close_matches(wrong[1], known, n=1) if wrong else []
        hint = f"did you mean '{near[0]}'?" if near else "snakemake --help lists the options."
        raise UserError(f"{message}; {hint}")

    parser.error = refuse
    for option, word in by_option(argv):
        name, _, value = word.partition("=")
        if option in RESOURCES and word != option and not re.fullmatch(r"\d+(\.\d+)? ?[A-Za-z]*", value):
            raise UserError(f"{option}: {name} is '{value}'; give a number, such as gpu=1.")
    try:
        options = parser.parse_args(argv)
    except CliException as error:
        raise UserError(str(error)) from None
    for file in options.configfile or ():
        if not os.path.isfile(file):
            raise UserError(f"--configfile: there is no file '{file}'; correct the path.")
        try:
            load_configfile(file)
        except (WorkflowError, UnicodeDecodeError, TypeError, OSError):
            raise UserError(
                f"--configfile: {file} is not a mapping of keys to values in YAML or JSON; correct it."
            ) from None
    return options


def plan_of(argv):
    """The plan of a command line. Raises UserError or ValueError for a mistake in it."""
    overrides, words = {}, [(option, word) for option, word in by_option(argv) if word != option]
    for option, file in words:
        if option in CONFIGFILE and os.path.isfile(file):  # otherwise it may be a target
            overrides = merge(overrides, read_yaml(file))
    changes = parse_config([word for option, word in words if option in CONFIG])
    return load_plan(".", overrides, typed=changes)


def targets_of(argv):
    """The targets of a command line's plan.

    If the configuration has a mistake, the targets of every plan; Snakemake's start reports the mistake.
    """
    try:
        return plan_of(argv).targets
    except (UserError, ValueError):
        return TARGETS


def understood(argv):
    """A command line in Snakemake's form; prints moved targets on stderr. Raises UserError for mistakes."""
    refuse_another_clone(argv)
    moved, rest = targets_first(nested(argv))
    if any(option in LISTS for option, _ in by_option(rest)):
        more, rest = targets_first(rest, targets_of(rest))
        moved += more
    argv = together(moved, rest) if moved else rest
    if moved:
        where = "first" if argv[: len(moved)] == moved else "together"
        print(f"Targets go {where}:", shlex.join(["snakemake", *argv]), file=sys.stderr)
    options_of(argv)
    return argv


def with_terminal(argv):
    """A command line with the logger of workflow/terminal.py, unless it names another logger."""
    if any(word.split("=")[0] == "--logger" for word in argv):
        return argv
    terminal.register()
    terminal.notice_ctrl_c()
    return [f"--logger={terminal.NAME}", *argv]


def main():
    try:
        argv = understood(sys.argv[1:])
        options = get_argument_parser().parse_args(argv)
        if options.list_rules or options.list_target_rules:
            print(listing(plan_of(argv)))
            return
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    sys.argv[1:] = argv  # the Snakefile reads the requested targets here
    snakemake(with_terminal(argv))


if __name__ == "__main__":
    main()
