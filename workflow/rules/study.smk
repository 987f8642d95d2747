# Prepare the preference study: pairs of pictures for people to compare. `python -m eval.study serve` shows them.

from nada.run.spec.base import as_json
from workflow.plan.inputs import study_inputs
from workflow.plan.layout import study_folder
from workflow.plan.specs import staged, study_spec
from workflow.plan.stages import code

STUDY = study_folder(PLAN)


rule study_spec:
    input:
        lambda w: outdated(f"{STUDY}/spec.json", study_spec(PLAN)),
    output:
        f"{STUDY}/spec.json",
    params:
        content=lambda w: staged(as_json(study_spec(PLAN))),
    threads: 1
    shell:
        "cp {params.content:q} {output:q}"


rule study:
    """Pairs of pictures for people to compare (docs/preference-study.md)."""
    input:
        lambda w: study_inputs(PLAN),
        spec=f"{STUDY}/spec.json",
    output:
        # Only a mark: Snakemake deletes a job's outputs before it runs, but pictures that people have
        # answered must stay, and the job refuses to replace them.
        f"{STUDY}/study.done",
    log:
        f"{RESULTS}/logs/study.log",
    benchmark:
        f"{RESULTS}/benchmarks/study.tsv"
    params:
        code=code("study"),
        folder=STUDY,
    threads: 1
    shell:
        "{PYTHON:q} -m eval.study.prepare --spec {input.spec:q} --out {params.folder:q} > {log:q} 2>&1"
        " && touch {output:q}"
