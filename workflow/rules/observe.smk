# Observe the artifacts of a condition, all seeds in one job, since importing torch and open_clip takes longer
# than an observation. The condition `real` observes the reference images.

from nada.run.spec.base import as_json
from workflow.plan.inputs import observation_inputs
from workflow.plan.specs import observation_spec, staged
from workflow.plan.stages import code, observed_by
from workflow.plan.world import HELD_OUT

OBSERVE_CODE = {kind: code("observe", kind) for kind in (REAL, "runs", HELD_OUT)}


rule observation_spec:
    input:
        lambda w: outdated(
            f"{RESULTS}/observations/{w.task}/{w.condition}.json", observation_spec(PLAN, w.task, w.condition)
        ),
    output:
        f"{RESULTS}/observations/{{task}}/{{condition}}.json",
    params:
        content=lambda w: staged(as_json(observation_spec(PLAN, w.task, w.condition))),
    threads: 1
    shell:
        "cp {params.content:q} {output:q}"


rule observe:
    input:
        unpack(lambda w: observation_inputs(PLAN, w.task, w.condition)),
        spec=f"{RESULTS}/observations/{{task}}/{{condition}}.json",
    output:
        f"{RESULTS}/observations/{{task}}/{{condition}}.npz",
    log:
        f"{RESULTS}/logs/observations/{{task}}/{{condition}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/observations/{{task}}/{{condition}}.tsv"
    params:
        code=lambda w: " ".join(OBSERVE_CODE[kind] for kind in observed_by(PLAN, w.task, w.condition)),
    threads: 1
    resources:
        **GPU,
    shell:
        "{LEASE} {PYTHON:q} -m eval.observe --spec {input.spec:q} --out {output:q} > {log:q} 2>&1"
