# Tables, grids and figures of each group, the claims, the report page, and Snakemake's report.

import json
from pathlib import Path

from nada.run.spec.base import as_json
from workflow.plan.figure_kinds import kinds
from workflow.plan.inputs import (
    claims_arguments,
    figure_arguments,
    figure_inputs,
    group_inputs,
    published_inputs,
    record_inputs,
    report_inputs,
)
from workflow.plan.layout import answers_file, collected
from workflow.plan.specs import report_spec, staged
from workflow.plan.stages import FILES, code

FIGURE_CODE = {kind: code("figure", kind) for kind in kinds()}


rule table:
    input:
        lambda w: record_inputs(PLAN, w.group),
        published_inputs(),
        FILES["table"],
        spec=f"{RESULTS}/scores/{{group}}.json",
        scores=f"{RESULTS}/scores/{{group}}.csv",
    output:
        html=report(
            f"{RESULTS}/tables/{{group}}.html",
            caption="../report/table.rst",
            category="Tables",
            labels={"group": "{group}"},
        ),
        csv=f"{RESULTS}/tables/{{group}}.csv",
        md=f"{RESULTS}/tables/{{group}}.md",
        tex=f"{RESULTS}/tables/{{group}}.tex",
    log:
        f"{RESULTS}/logs/tables/{{group}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/tables/{{group}}.tsv"
    params:
        code=code("table"),
        prefix=f"{RESULTS}/tables/{{group}}",
    threads: 1
    shell:
        "{PYTHON:q} -m eval.tables --spec {input.spec:q} --scores {input.scores:q}"
        " --out {params.prefix:q} > {log:q} 2>&1"


rule paper_table:
    input:
        lambda w: record_inputs(PLAN, w.group),
        lambda w: published_inputs(PLAN.groups[w.group].get("paper")),
        FILES["paper_table"],
        spec=f"{RESULTS}/scores/{{group}}.json",
        scores=f"{RESULTS}/scores/{{group}}.csv",
    output:
        html=report(
            f"{RESULTS}/tables/{{group}}_paper.html",
            caption="../report/paper_table.rst",
            category="Tables",
            labels={"group": "{group}, with the paper's numbers"},
        ),
        csv=f"{RESULTS}/tables/{{group}}_paper.csv",
        cost=f"{RESULTS}/tables/{{group}}_paper_cost.csv",
        md=f"{RESULTS}/tables/{{group}}_paper.md",
        tex=f"{RESULTS}/tables/{{group}}_paper.tex",
    log:
        f"{RESULTS}/logs/tables/{{group}}_paper.log",
    benchmark:
        f"{RESULTS}/benchmarks/tables/{{group}}_paper.tsv"
    params:
        code=code("paper_table"),
        prefix=f"{RESULTS}/tables/{{group}}_paper",
    threads: 1
    shell:
        "{PYTHON:q} -m eval.paper_table --spec {input.spec:q} --scores {input.scores:q}"
        " --out {params.prefix:q} > {log:q} 2>&1"


rule preference:
    input:
        FILES["preference"],
        answers=lambda w: answers_file(PLAN, w.group),
    output:
        html=report(
            f"{RESULTS}/tables/{{group}}_preference.html",
            caption="../report/preference.rst",
            category="Tables",
            labels={"group": "{group}, what people prefer"},
        ),
        csv=f"{RESULTS}/tables/{{group}}_preference.csv",
        md=f"{RESULTS}/tables/{{group}}_preference.md",
    log:
        f"{RESULTS}/logs/tables/{{group}}_preference.log",
    benchmark:
        f"{RESULTS}/benchmarks/tables/{{group}}_preference.tsv"
    params:
        code=code("preference"),
        prefix=f"{RESULTS}/tables/{{group}}_preference",
    threads: 1
    shell:
        "{PYTHON:q} -m eval.study.shares --answers {input.answers:q} --out {params.prefix:q} > {log:q} 2>&1"


rule grid:
    input:
        lambda w: group_inputs(PLAN, w.group),
        spec=f"{RESULTS}/scores/{{group}}.json",
    output:
        png=report(
            f"{RESULTS}/figures/{{group}}_grid.png",
            caption="../report/grid.rst",
            category="Grids",
            labels={"group": "{group}"},
        ),
        svg=f"{RESULTS}/figures/{{group}}_grid.svg",
        pdf=f"{RESULTS}/figures/{{group}}_grid.pdf",
        csv=f"{RESULTS}/figures/{{group}}_grid.csv",
    log:
        f"{RESULTS}/logs/figures/{{group}}_grid.log",
    benchmark:
        f"{RESULTS}/benchmarks/figures/{{group}}_grid.tsv"
    params:
        code=code("grid"),
        prefix=f"{RESULTS}/figures/{{group}}_grid",
    threads: 1
    shell:
        "{PYTHON:q} -m eval.figures.grid --spec {input.spec:q} --out {params.prefix:q}"
        " > {log:q} 2>&1"


rule figure:
    input:
        unpack(lambda w: figure_inputs(PLAN, w.group, w.kind)),
        spec=f"{RESULTS}/scores/{{group}}.json",
    output:
        svg=report(
            f"{RESULTS}/figures/{{group}}_{{kind}}.svg",
            caption="../report/figure.rst",
            category="Figures",
            labels={"group": "{group}", "figure": "{kind}"},
        ),
        pdf=f"{RESULTS}/figures/{{group}}_{{kind}}.pdf",
        png=f"{RESULTS}/figures/{{group}}_{{kind}}.png",
        csv=f"{RESULTS}/figures/{{group}}_{{kind}}.csv",
    log:
        f"{RESULTS}/logs/figures/{{group}}_{{kind}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/figures/{{group}}_{{kind}}.tsv"
    params:
        code=lambda w: FIGURE_CODE[w.kind],
        prefix=f"{RESULTS}/figures/{{group}}_{{kind}}",
        more=lambda w: figure_arguments(PLAN, w.group, w.kind),
    threads: 1
    shell:
        "{PYTHON:q} -m eval.figures.{wildcards.kind:q} --spec {input.spec:q} --scores {input.scores:q}"
        " --out {params.prefix:q} {params.more} > {log:q} 2>&1"


rule claims:
    """The paper's claims, each with a verdict from the scores."""
    input:
        FILES["claims"],
        claims="claims.yaml",
        scores=f"{RESULTS}/scores.csv",
    output:
        html=report(
            f"{RESULTS}/claims.html",
            caption="../report/claims.rst",
            category="Claims",
            labels={"table": "verdicts"},
        ),
        csv=f"{RESULTS}/claims.csv",
        md=f"{RESULTS}/claims.md",
    log:
        f"{RESULTS}/logs/claims.log",
    benchmark:
        f"{RESULTS}/benchmarks/claims.tsv"
    params:
        code=code("claims"),
        world=PLAN.world["name"],
        more=claims_arguments(PLAN),
        truncation=PLAN.config["evaluation"]["truncation_psi"],
        prefix=f"{RESULTS}/claims",
    threads: 1
    shell:
        "{PYTHON:q} -m eval.claims --claims {input.claims:q} --scores {input.scores:q}"
        " --world {params.world:q} {params.more} --truncation {params.truncation:q} --out {params.prefix:q}"
        " > {log:q} 2>&1"


rule pages:
    input:
        collected(PLAN),


rule report_spec:
    output:
        f"{RESULTS}/report.json",
    params:
        content=lambda w: staged(as_json(report_spec(PLAN))),
    threads: 1
    shell:
        "cp {params.content:q} {output:q}"


rule html:
    """The report: one page that needs no other file."""
    input:
        rules.pages.input,
        lambda w: report_inputs(PLAN),
        FILES["html"],
        spec=f"{RESULTS}/report.json",
    output:
        f"{RESULTS}/report.html",
    log:
        f"{RESULTS}/logs/report.log",
    benchmark:
        f"{RESULTS}/benchmarks/report.tsv"
    params:
        code=code("html"),
    threads: 1
    shell:
        "{PYTHON:q} -m eval.report --spec {input.spec:q} --out {output:q} > {log:q} 2>&1"


rule provenance:
    """Snakemake's report: how each file was made."""
    input:
        rules.pages.input,
        captions=sorted(Path("workflow/report").glob("*.rst")),
    output:
        f"{RESULTS}/provenance.html",
    log:
        f"{RESULTS}/logs/provenance.log",
        config=f"{RESULTS}/logs/provenance.json",
    params:
        config=lambda w: staged(json.dumps(PLAN.config, indent=2, ensure_ascii=False)),
    threads: 1
    shell:
        # A second Snakemake reads the records of the jobs above; it runs no job. Its chart of run times has a
        # logarithmic axis, which stays empty where a job took 0 s.
        "cp {params.config:q} {log.config:q} && {PYTHON:q} -m snakemake pages"
        " --cores 1 --nolock --report {output:q} --configfile {log.config:q} > {log[0]:q} 2>&1"
        " && sed -i.log 's/\"scale\": {{\"type\": \"log\"}}/\"scale\": {{\"type\": \"symlog\"}}/' {output:q}"
        " && rm {output:q}.log"
