# Convert checkpoints of other projects to this project's layout; all other jobs read the converted file.

import re

from workflow.plan.layout import ready
from workflow.plan.stages import code


rule convert:
    input:
        lambda w: ready(PLAN, CONVERTED[w.name]),
    output:
        f"{RESULTS}/converted/{{name}}.safetensors",
    wildcard_constraints:
        name="|".join(map(re.escape, CONVERTED)),
    log:
        f"{RESULTS}/logs/converted/{{name}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/converted/{{name}}.tsv"
    params:
        code=code("convert"),
        file=lambda w: CONVERTED[w.name],
    threads: 1
    shell:
        "{PYTHON:q} -m nada.stylegan2.convert convert {params.file:q} {output:q} > {log:q} 2>&1"
