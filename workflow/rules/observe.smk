# Observe the artifacts of a condition, all seeds in one job, since importing torch and open_clip takes longer
# than an observation. The condition `real` observes the reference images.

from nada.run.spec.base import as_json
from workflow.plan.inputs import observation_inputs
from workflow.plan.specs import observation_spec, staged
from workflow.plan.stages import HELD_OUT, code

OBSERVE_CODE = {kind: code("observe", kind) for kind in (REAL, "runs", HELD_OUT)}


def observe_code(task, condition):
    """The digest of the code that observes a condition, and that of the held-out CLIP if the task asks it."""
    kinds = [REAL if condition == REAL else "runs", *([HELD_OUT] if PLAN.zero_shot(task) else [])]
    return " ".join(OBSERVE_CODE[kind] for kind in kinds)


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
        code=lambda w: observe_code(w.task, w.condition),
    threads: 1
    resources:
        **GPU,
    shell:
        "{LEASE} {PYTHON:q} -m eval.observe --spec {input.spec:q} --out {output:q} > {log:q} 2>&1"
