# Train the mini world's networks: `snakemake pretrain_world` writes all of them to results/world_build; no
# other rule reads them. `python -m workflow.worlds.mini.promote` checks them and replaces the shipped weights.

from workflow.plan.stages import FILES, code

BUILD = "results/world_build"
MINI = "workflow.worlds.mini"
SOURCES = ["dog", "face", "dog_without_parent", "dog_with_targets"]


rule pretrain_world:
    """Train every network of the mini world again (about five hours of core time)."""
    input:
        expand(f"{BUILD}/{{domain}}.safetensors", domain=SOURCES),
        expand(f"{BUILD}/clip_{{name}}.safetensors", name=["a", "b", "c"]),
        expand(f"{BUILD}/{{name}}.safetensors", name=["perceptual", "judge"]),


rule pretrain_source:
    output:
        f"{BUILD}/{{domain}}.safetensors",
    wildcard_constraints:
        domain="|".join(SOURCES),
    log:
        f"{BUILD}/logs/{{domain}}.log",
    params:
        code=code("pretrain_source"),
    threads: 1
    shell:
        "{PYTHON:q} -m {MINI:q}.pretrain_source --domain {wildcards.domain:q} --out {BUILD:q} > {log:q} 2>&1"


rule pretrain_clip:
    input:
        FILES["pretrain_clip"],
    output:
        f"{BUILD}/clip_{{name}}.safetensors",
        f"{BUILD}/clip_{{name}}.json",
    log:
        f"{BUILD}/logs/clip_{{name}}.log",
    params:
        code=code("pretrain_clip"),
    threads: 1
    shell:
        "{PYTHON:q} -m {MINI:q}.pretrain_clip --name {wildcards.name:q} --out {BUILD:q} > {log:q} 2>&1"


rule pretrain_referee:
    output:
        f"{BUILD}/{{name}}.safetensors",
    wildcard_constraints:
        name="perceptual|judge",
    log:
        f"{BUILD}/logs/{{name}}.log",
    params:
        code=code("pretrain_referee"),
    threads: 1
    shell:
        "{PYTHON:q} -m {MINI:q}.pretrain_referee --name {wildcards.name:q} --out {BUILD:q} > {log:q} 2>&1"
