# One look at the artifacts of a setting, all seeds in one job: importing torch and open_clip costs
# more than looking. `real` looks at the reference images in the same way.

from workflow.inputs import look_inputs
from workflow.job_files import as_json, look_file, staged
from workflow.sources import digest


rule look:
    output:
        f"{RESULTS}/observations/{{task}}/{{setting}}.json",
    params:
        content=lambda w: staged(as_json(look_file(PLAN, w.task, w.setting))),
    threads: 1
    shell:
        "cp {params.content:q} {output:q}"


rule observe:
    input:
        unpack(lambda w: look_inputs(PLAN, w.task, w.setting)),
        settings=f"{RESULTS}/observations/{{task}}/{{setting}}.json",
    output:
        f"{RESULTS}/observations/{{task}}/{{setting}}.npz",
    log:
        f"{RESULTS}/logs/observations/{{task}}/{{setting}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/observations/{{task}}/{{setting}}.tsv"
    params:
        code=digest("eval.observe"),
    threads: 1
    resources:
        **GPU,
    shell:
        "{LEASE} {PYTHON:q} -m eval.observe --settings {input.settings:q} --out {output:q} > {log:q} 2>&1"
