# Weights and data that a world does not embed: fetched (the rehearsal: made), checked, unpacked. Terms that
# ask for consent: BENCHMARK_ACCEPT_LICENCES=LICENCE,...; `python -m workflow.assets list` shows them.

from workflow.plan.layout import fetched_mark
from workflow.plan.stages import code

ASSETS, FETCH = PLAN.world["assets"]["folder"], PLAN.world["assets"]["command"]


rule assets:
    """Every weight and data set of the world, fetched and verified."""
    input:
        [fetched_mark(PLAN, asset) for asset in PLAN.world["fetched"].values()],


rule asset:
    output:
        # Only a mark: Snakemake deletes the outputs of a job that failed, and a download that broke
        # off is to go on where it stopped.
        f"{ASSETS}/.fetched/{{asset}}",
    params:
        code=code("asset", FETCH),
    threads: 1
    shell:
        # No log file: progress and the terms belong on the screen.
        "{PYTHON:q} -m {FETCH:q} fetch {wildcards.asset:q} --into {ASSETS:q} && touch {output:q}"
