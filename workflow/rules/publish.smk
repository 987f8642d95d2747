# Pack what a finished run publishes. `python -m workflow.publish` copies it to results/published/, which is tracked.

from workflow.plan.stages import code


rule publish:
    """Tables, figures, report, claims, scores, records and checksums of the whole run, in one archive."""
    input:
        rules.all.input,
    output:
        f"{RESULTS}/publication.zip",
    log:
        f"{RESULTS}/logs/publish.log",
    params:
        code=code("publish"),
    threads: 1
    shell:
        "{PYTHON:q} -m workflow.publish --results {RESULTS:q} --archive {output:q} > {log:q} 2>&1"
