"""The modules of each kind of job, and the digest of their code, a parameter of its rule.

A kind is a rule and, if the modules differ, also a method, a figure or `real`. The table in
docs/architecture.md, "What an edit runs again", follows from this module.
"""

from nada.run.spec.base import REAL
from workflow.plan.code_digest import ROOT, digest
from workflow.plan.world import HELD_OUT

MINI = "workflow.worlds.mini"
#: Rules whose jobs all run the same modules.
MODULES = {
    "convert": ("nada.stylegan2.convert",),
    "score": ("eval.score",),
    "table": ("eval.tables",),
    "paper_table": ("eval.paper_table",),
    "grid": ("eval.figures.grid",),
    "claims": ("eval.claims",),
    "preference": ("eval.study.shares",),
    "study": ("eval.study.prepare",),
    "html": ("eval.report.__main__",),
    "publish": ("workflow.publish",),
    "pretrain_source": (f"{MINI}.pretrain_source",),
    "pretrain_clip": (f"{MINI}.pretrain_clip",),
    "pretrain_referee": (f"{MINI}.pretrain_referee",),
}
#: Files that a rule's modules read without a spec or argument: {rule: (file, …)}.
PAGES = ("eval/pages/style.css", "eval/pages/table.html")  # of every page of tables
REPORT = tuple(f"eval/report/{name}" for name in ("report.html", "parts.html", "report.css", "report.js"))
FILES = {
    "pretrain_clip": ("workflow/worlds/mini/templates.txt",),
    **dict.fromkeys(("table", "paper_table", "preference", "claims"), PAGES),
    "html": (*PAGES, *REPORT),
}


def modules(rule, kind=""):
    """The modules that a rule's jobs of one kind run; for `references` and `asset`, those of the world.

    kind: the method of `adapt`; the condition of `observe`, or HELD_OUT; the figure of `figure`; the module
    of `references` and `asset`.
    """
    if rule == "adapt":
        return ("baselines.adapt", f"baselines.{kind}")
    if rule == "observe" and kind == HELD_OUT:
        return ("eval.observe", "eval.networks.held_out")
    if rule == "observe":
        return ("eval.observe", "eval.observe_real" if kind == REAL else "eval.observe_runs")
    if rule == "figure":
        return (f"eval.figures.{kind}",)
    if rule in ("references", "asset"):
        return (kind,)
    return MODULES[rule]


def observed_by(plan, task, condition):
    """The kinds of `observe` that a job is: `runs` or `real`, and HELD_OUT if its task has `zero_shot`."""
    return [REAL if condition == REAL else "runs", *([HELD_OUT] if plan.zero_shot(task) else [])]


def code(rule, kind="", root=ROOT):
    """The digest of the code that a rule's jobs of one kind run."""
    return digest(*modules(rule, kind), root=root)
