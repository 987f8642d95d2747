"""What a command line asks for: targets that the plan has, and the groups whose runs they take."""

import os

from snakemake.cli import get_argument_parser

from nada.run.errors import UserError
from workflow.plan.checking import nearest
from workflow.plan.plan import RULES

EVERY_GROUP = ("all", "tables", "figures", "report", "scores", "claims", "pages", "html")


def asked_targets(argv):
    """The targets on Snakemake's command line, which itself tells its rules nothing of them."""
    try:
        return get_argument_parser().parse_known_args(argv)[0].targets
    except SystemExit:  # no command line of Snakemake's: another program runs the workflow
        return []


def check_targets(plan, asked):
    """Refuse a word that is no target, rule or file; paths are left to Snakemake."""
    known = plan.targets
    for word in asked:
        path = os.path.dirname(word) or os.path.splitext(word)[1] or os.path.exists(word)
        if not path and word not in {*known, *RULES}:
            raise UserError(f"there is no target '{word}'; {nearest(word, known)}")


def groups_asked(plan, asked):
    """The groups whose runs some targets take; those shown where nothing is asked, which means `all`.

    Empty where they take none that a name can tell, as `assets` or the path of one file.
    """
    if not asked or any(word in EVERY_GROUP for word in asked):
        return list(dict.fromkeys([*plan.shown, *(w for w in asked if w in plan.config["groups"])]))
    return [word for word in asked if word in plan.groups]
