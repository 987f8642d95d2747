# Fetch (in the rehearsal: make), check and unpack the weights and data that a world does not embed. Licences
# that require consent: BENCHMARK_ACCEPT_LICENCES=LICENCE,...; `python -m workflow.assets list` shows them.

from workflow.plan.layout import fetched_mark
from workflow.plan.stages import code

ASSETS, FETCH = PLAN.world["assets"]["folder"], PLAN.world["assets"]["command"]
REGISTRY = PLAN.world["registry"] or PLAN.world["name"]  # the world whose assets.yaml lists them


rule assets:
    """Every weight and data set of the world, fetched and verified."""
    input:
        [fetched_mark(PLAN, asset) for asset in PLAN.world["fetched"].values()],


rule asset:
    output:
        # Only a mark: Snakemake deletes the outputs of a failed job, but an interrupted download must
        # resume.
        f"{ASSETS}/.fetched/{{asset}}",
    params:
        code=code("asset", FETCH),
    threads: 1
    shell:
        # No log file: progress and licences must be on the terminal.
        "{PYTHON:q} -m {FETCH:q} fetch {wildcards.asset:q} --into {ASSETS:q} --world {REGISTRY:q}"
        " && touch {output:q}"
