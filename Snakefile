# The benchmark: snakemake all --cores 2. What runs is in config.yaml, how in workflow/rules/.
import shlex
import sys

from snakemake.utils import min_version

from nada.errors import UserError
from workflow.estimate import sentence
from workflow.forecast import page
from workflow.job_files import staged
from workflow.layout import FIGURES, figures, shown
from workflow.plan import load_plan
from workflow.runs import REAL

min_version("9.19")


# config.yaml < preset < command line, all checked before anything runs.
try:
    PLAN = load_plan(overrides=config)
except UserError as error:
    sys.exit(f"error: {error}")  # one sentence; Snakemake would add a traceback

config.update(PLAN.config)  # what the report says about the configuration
print(PLAN.summary(), sentence(PLAN, workflow.cores), sep="\n", file=sys.stderr)


onstart:
    # With its default limit of 100 submissions a second, Snakemake 9 looks at all open jobs once more a
    # second for every job that has ever ended: 30 % of a core after 150 jobs. Another limit is left alone.
    limit = getattr(workflow.scheduler, "job_rate_limiter", None)
    if limit is not None and (limit.max_jobs, limit.timespan) == (100, 1):
        workflow.scheduler.job_rate_limiter = None
        logger.debug("The default limit of job submissions is lifted.")


RESULTS = PLAN.results
PYTHON = sys.executable
# A card is leased, and `gpu` asked for, only where jobs run on one: CPU jobs are never serialised.
LEASE = f"{shlex.quote(PYTHON)} -m workflow.gpu --" if PLAN.device == "cuda" else ""
GPU = {"gpu": 1} if PLAN.device == "cuda" else {}


wildcard_constraints:
    task="|".join(PLAN.config["tasks"]),
    setting="|".join([name for _, name in PLAN.settings] + [REAL]),
    seed=r"\d+",
    domain="|".join(PLAN.world["references"]["domains"]),
    group="|".join(PLAN.groups),
    kind="|".join(FIGURES),


report: "workflow/report/workflow.rst"


if "assets" in PLAN.world:  # else every file is embedded

    include: "workflow/rules/assets.smk"


include: "workflow/rules/adapt.smk"
include: "workflow/rules/observe.smk"
include: "workflow/rules/score.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/pretrain.smk"


# ---- targets: what can be asked for by name -----------------------------------------------------
# Up to date means nothing to do. `snakemake TARGET -R adapt` retrains the runs of that target only.


rule all:
    """Every group's runs, scores, table, grid and figures, the joined scores, claims and report."""
    input:
        shown(PLAN, *PLAN.config["groups"]),
        f"{RESULTS}/scores.csv",
        f"{RESULTS}/claims.html",
        f"{RESULTS}/report.html",


rule tables:
    """The table of every group."""
    input:
        expand(f"{RESULTS}/tables/{{group}}.md", group=PLAN.config["groups"]),


rule figures:
    """The grid of every group, its training curves, chosen layers and sweep."""
    input:
        [figure for group in PLAN.config["groups"] for figure in figures(PLAN, group)],


rule estimate:
    """Hours, disk and memory of `all`, forecast from measured runs; makes no file."""
    params:
        page=lambda w: staged(page(PLAN, PLAN.world.get("measured", RESULTS))),
    threads: 1
    localrule: True
    shell:
        "cat {params.page:q}"


rule report:
    """One HTML page with every table and grid: open it in a browser."""
    input:
        f"{RESULTS}/report.html",


for group in PLAN.groups:

    rule:
        """Runs, scores, table and pictures of one group with its controls, or of one variant."""
        name:
            group
        input:
            shown(PLAN, group),
