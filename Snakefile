# The benchmark: snakemake all --cores 2. What runs is in config.yaml, how in workflow/rules/.
import shlex
import sys
from importlib.util import find_spec
from pathlib import Path

from snakemake.common.configfile import load_configfile
from snakemake.utils import min_version, update_config


def stop(sentence):
    """End with one sentence and exit code 2; Snakemake would add a traceback to an error."""
    print(f"error: {sentence}", file=sys.stderr)
    sys.exit(2)


# An environment imports one clone of the project (pip install -e), while jobs (python -m …) import the code
# of the folder that they run in. Both must be the clone of this Snakefile.
CLONE = Path(workflow.basedir).resolve()
for package in ("workflow", "eval", "baselines", "nada"):
    if (loaded := Path(find_spec(package).origin).resolve().parents[1]) != CLONE:
        stop(
            f"this environment loads the packages of {loaded}, not those of the clone {CLONE}; "
            "make an environment for this clone (make), or type there: python -m snakemake …"
        )
if Path.cwd().resolve() != CLONE:
    stop(f"jobs would run in {Path.cwd()}, with its code and configuration; start snakemake in {CLONE}.")

from nada.run.errors import UserError
from nada.run.spec.base import REAL
from workflow.estimate import sentence
from workflow.forecast import page, places
from workflow.gpu import NO_CARD, missing_card
from workflow.plan.earlier_results import check_world, differs
from workflow.plan.figure_kinds import kinds
from workflow.plan.inputs import conversions
from workflow.plan.layout import collected, figures, shown
from workflow.plan.plan import load_plan
from workflow.plan.specs import prune, staged
from workflow.plan.targets import asked_targets, check_targets, groups_asked
from workflow.terminal import planned

min_version("9.19")


# Precedence: config.yaml < the world's < the preset's < command line. All are checked before anything runs.
FILES = {}  # of --configfile, which may add entries; --config only changes them
for file in workflow.config_settings.configfiles:
    update_config(FILES, load_configfile(file))
try:
    ASKED = asked_targets(sys.argv[1:])
    PLAN = load_plan(overrides=FILES, asked=ASKED, typed=dict(workflow.config_settings.config))
    check_targets(PLAN, ASKED)
    check_world(PLAN.results, PLAN.world["name"])
except UserError as error:
    stop(error)
if workflow.cores < 1:
    stop(f"--cores is {workflow.cores}, so no job can start; give 1 or more, or all.")

config.update(PLAN.config)  # for the report's texts, as are the figures' captions
config["captions"] = {kind: figure.caption for kind, figure in kinds().items()}
GROUPS = groups_asked(PLAN, ASKED)
WHAT = ", ".join(ASKED or ["all"]) if len(ASKED) < 5 else f"{len(ASKED)} targets"
print(PLAN.summary(WHAT, GROUPS), sentence(PLAN, workflow.cores, WHAT, GROUPS), sep="\n", file=sys.stderr)


onstart:
    if missing_card(workflow):
        stop(NO_CARD)
    # With its default limit of 100 submissions a second, Snakemake 9 checks all open jobs once more a second
    # for every job that has ended: 30 % of a core after 150 jobs. A limit set by the user is kept.
    limit = getattr(workflow.scheduler, "job_rate_limiter", None)
    if limit is not None and (limit.max_jobs, limit.timespan) == (100, 1):
        workflow.scheduler.job_rate_limiter = None
        logger.debug("The default limit of job submissions is lifted.")
    prune()  # staged specs that no plan has used for months
    logger.info(None, extra=planned(PLAN, workflow))  # for the lines of workflow/terminal.py


RESULTS = PLAN.results
PYTHON = sys.executable
# Only jobs on CUDA lease a card and request `gpu`; CPU jobs are never serialised.
LEASE = f"{shlex.quote(PYTHON)} -m workflow.gpu --" if PLAN.device == "cuda" else ""
GPU = {"gpu": 1} if PLAN.device == "cuda" else {}


def outdated(path, spec):
    """The inputs of a rule that writes a spec: none, but an outdated file on disk is made again."""
    if "params" in {str(trigger) for trigger in workflow.dag_settings.rerun_triggers} and differs(path, spec):
        workflow.dag.forcefiles.add(path)
    return []


wildcard_constraints:
    task="|".join(PLAN.config["tasks"]),
    condition="|".join([name for _, name in PLAN.conditions] + [REAL]),
    seed=r"\d+",
    domain="|".join(PLAN.world["references"]["domains"]),
    group="|".join(PLAN.groups),
    kind="|".join(kinds()),


report: "workflow/report/workflow.rst"


if "assets" in PLAN.world:  # otherwise every file is embedded

    include: "workflow/rules/assets.smk"


CONVERTED = conversions(PLAN)
if CONVERTED:  # otherwise every model has this project's layout

    include: "workflow/rules/convert.smk"


include: "workflow/rules/adapt.smk"
include: "workflow/rules/observe.smk"
include: "workflow/rules/score.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/study.smk"
include: "workflow/rules/pretrain.smk"


# ---- targets ------------------------------------------------------------------------------------
# If results are current, nothing runs. `snakemake TARGET -R adapt` retrains only the runs of that target.


rule all:
    """Runs, scores, tables, grids and figures of the groups in `show`, the joined scores, claims and report."""
    input:
        collected(PLAN),
        f"{RESULTS}/report.html",
        f"{RESULTS}/provenance.html",


rule tables:
    """The table of every group in `show`."""
    input:
        expand(f"{RESULTS}/tables/{{group}}.md", group=PLAN.shown),


rule figures:
    """The grid of every group in `show`, its training curves, chosen layers and sweep."""
    input:
        [figure for group in PLAN.shown for figure in figures(PLAN, group)],


rule estimate:
    """Hours, disk and memory of `all`, forecast from measured runs; makes no file."""
    params:
        page=lambda w: staged(page(PLAN, *places(PLAN))),
    threads: 1
    localrule: True
    shell:
        "cat {params.page:q}"


rule report:
    """The report page, and Snakemake's report that it links to: open report.html in a browser."""
    input:
        f"{RESULTS}/report.html",
        f"{RESULTS}/provenance.html",


include: "workflow/rules/publish.smk"


for group in PLAN.groups:

    rule:
        """Runs, scores, table and pictures of one group with its controls, or of one variant."""
        name:
            group
        input:
            lambda wildcards, group=group: shown(PLAN, group),  # lazy: unused groups need not fit the world
