# Weights and data that a world does not embed: fetched (the rehearsal: made), checked, unpacked. Terms that
# ask for consent: BENCHMARK_ACCEPT_LICENCES=LICENCE,...; `python -m workflow.assets list` shows them.

if "assets" in PLAN.world:

    rule assets:
        """Every weight and data set of the world, fetched and verified."""
        input:
            [PLAN.fetched(asset) for asset in PLAN.world["fetched"].values()],

    rule asset:
        output:
            # Only a mark: Snakemake deletes the outputs of a job that failed, and a download that broke
            # off is to go on where it stopped.
            f"{PLAN.world['assets']['folder']}/.fetched/{{asset}}",
        params:
            code=digest(PLAN.world["assets"]["command"]),
            command=PLAN.world["assets"]["command"],
            folder=PLAN.world["assets"]["folder"],
        threads: 1
        shell:
            # No log file: progress and the terms belong on the screen.
            "{PYTHON} -m {params.command} fetch {wildcards.asset} --into {params.folder} && touch {output}"
