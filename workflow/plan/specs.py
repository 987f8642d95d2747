"""Build the spec of each job: RunSpec, ObservationSpec, GroupSpec, ReportSpec or StudySpec (`nada/run/spec/`).

A spec names only the files that its job opens. They are inputs of the job's rule
(`workflow.plan.inputs`), and `nada.run.job` and `eval.observe` list them in their records.
"""

import contextlib
import hashlib
import time
from pathlib import Path

from nada.run.atomic import atomic_path
from nada.run.run_id import DEFAULT_SHOTS
from nada.run.spec.base import REAL, Target
from nada.run.spec.group_spec import (
    DifferenceSpec,
    GridSpec,
    GroupSpec,
    ModelSpec,
    RowRun,
    RowSpec,
    TaskSpec,
    ZeroShotSpec,
)
from nada.run.spec.observation_spec import (
    Counts,
    HeldOutClipSpec,
    ObservationSpec,
    ObservedRun,
    RefereeSpec,
)
from nada.run.spec.report_spec import AssetSpec, FigureSpec, PreferenceSpec, ReportSpec
from nada.run.spec.run_spec import ClipSpec, RunSpec, SourceSpec, TextSpec
from nada.run.spec.study_spec import ShownModel, StudySpec
from workflow.assets.asset_registry import load_registry
from workflow.plan.figure_kinds import figures_of, kinds
from workflow.plan.groups import rows_of
from workflow.plan.layout import (
    answers_file,
    checkpoint_weights,
    collected,
    observation_file,
    real_observation,
    reference_file,
    run_folder,
    source_weights,
    training_file,
)
from workflow.plan.measured import compares_with_new, judged, not_measured
from workflow.plan.plan import Plan
from workflow.plan.runs import Condition, Run, latent_seed
from workflow.plan.world import convolutions

#: In the question of a study: the target's name.
TARGET = "{target}"
#: Folder of staged texts of specs, named by their hash; rules copy them.
STAGED = ".snakemake/specs"
DAY = 24 * 60 * 60  # seconds
# The measuring networks' keys in world.yaml.
REFEREE = ("perceptual", "inception", "vgg", "judge", "made_here")


def staged(text):
    """Store the text of a spec under its hash in Snakemake's folder; return the path.

    Called during planning, also in a dry run. A rule copies the file: the text may exceed Linux's limit
    of an argument (128 KiB). The path is short and changes with the text, which re-runs the rule.
    """
    path = Path(STAGED, hashlib.sha256(text.encode()).hexdigest()[:32])
    if not path.is_file():
        with atomic_path(path) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")
    elif time.time() - path.stat().st_mtime > DAY:  # the time stamp tells `prune` that a plan uses it
        path.touch()
    return path.as_posix()


def prune(days=90):
    """Remove staged texts that no plan has used for `days`; return their number."""
    last, removed = time.time() - days * DAY, 0
    for path in Path(STAGED).glob("[0-9a-f]*"):
        with contextlib.suppress(FileNotFoundError):  # another process may remove it
            if path.stat().st_mtime < last:
                path.unlink()
                removed += 1
    return removed


# ---- a run ----------------------------------------------------------------------------------------


def run_spec(plan: Plan, run: Run) -> RunSpec:
    """The spec of a run, with the files that it opens, which follow from the method's declaration.

    `generator` 'source' adds the source model. `supervision` 'text' adds the task's texts, the prompt
    templates and the CLIPs. `plan.training_images` gives the training images.
    """
    condition, method = run.condition, plan.methods[run.condition.method]
    given = {}
    if method.generator == "source":
        domain = plan.source(condition.task)["domain"]
        given["source"] = SourceSpec(domain=domain, weights=source_weights(plan, domain))
    if method.supervision == "text":
        given["text"] = TextSpec(**plan.config["tasks"][condition.task]["text"])
        given["templates"] = plan.world["templates"]
        given["clips"] = _clips(plan, condition)
    return RunSpec(
        world=plan.world["name"],
        **_labels(condition),
        seed=run.seed,
        device=plan.device,
        resolution=plan.resolution(condition.task),
        hyperparameters=_hyperparameters(plan, condition),
        parent=run.parent_id,
        training_images=training_file(plan, condition),
        **given,
    )


def _hyperparameters(plan: Plan, condition: Condition):
    """A run's hyperparameters; `weights` is replaced by the path that the run reads."""
    hparams = plan.hyperparameters(condition, defaults=True)
    if not hparams.get("weights"):
        return hparams
    return {**hparams, "weights": checkpoint_weights(plan, hparams["weights"])}


def _clips(plan: Plan, condition: Condition):
    """The world's CLIPs that a condition names: all of them unless it has a list `clips`."""
    clips = tuple(ClipSpec(**clip) for clip in plan.world["clips"])
    names = plan.hyperparameters(condition).get("clips")
    if names is None or not set(names) <= {clip.name for clip in clips}:  # the job reports an unknown name
        return clips
    return tuple(clip for clip in clips if clip.name in names)


def _labels(condition: Condition):
    """The columns of a table that name a condition."""
    return {
        "task": condition.task,
        "method": condition.method,
        "variant": condition.variant,
        "shots": condition.shots,
        "warm_start": condition.warm_start,
    }


# ---- an observation -------------------------------------------------------------------------------


def observation_spec(plan: Plan, task, name) -> ObservationSpec:
    """The spec of one observe job: the artifacts of a condition, one per seed, or the reference images."""
    counts = {key: plan.config["evaluation"][key] for key in Counts.model_fields}
    shared = {
        "world": plan.world["name"],
        "device": plan.device,
        "resolution": plan.resolution(task),
        "referee": _referee(plan, task),
        "target": _target(plan, task) if judged(plan, task) else None,
        "zero_shot": plan.zero_shot(task),
        "counts": Counts(**counts),
    }
    if name == REAL:
        references = reference_file(plan, task)
        return ObservationSpec(task=task, method=REAL, references=references, **shared)
    condition = plan.conditions[task, name]
    images = training_file(plan, condition)
    return ObservationSpec(
        **_labels(condition),
        source=source_weights(plan, plan.source(task)["domain"]),
        references=reference_file(plan, task) if images and compares_with_new(plan, condition) else None,
        training_images=images,
        runs=tuple(_observed(plan, run) for run in plan.seeds_of(condition)),
        **shared,
    )


def _referee(plan: Plan, task) -> RefereeSpec:
    """The world's measuring networks; judge and held-out CLIP only where the task says what they look for."""
    keys = [key for key in REFEREE if key != "judge" or judged(plan, task)]
    held_out = None
    if plan.zero_shot(task):
        held_out = HeldOutClipSpec(**plan.world["held_out_clip"], templates=plan.world["templates"])
    return RefereeSpec(**{key: plan.world[key] for key in keys if key in plan.world}, held_out_clip=held_out)


def _observed(plan: Plan, run: Run) -> ObservedRun:
    seed = latent_seed(run.condition.task, run.seed)
    return ObservedRun(id=run.id, seed=run.seed, folder=run_folder(plan, run.id), latent_seed=seed)


def _target(plan: Plan, task) -> Target | None:
    """The target class or style of a task; None if the task has neither."""
    for key, name in plan.target(task).items():
        return Target(key.removeprefix("target_"), name)
    return None


# ---- a group --------------------------------------------------------------------------------------


def group_spec(plan: Plan, name) -> GroupSpec:
    """The spec of a group's score, table and figure jobs."""
    group, counts = plan.groups[name], plan.config["evaluation"]
    return GroupSpec(
        name=name,
        title=group["title"],
        world=plan.world["name"],
        like=_like(plan),
        preset=plan.config["preset"],
        device=plan.device,
        tasks={task: _group_task(plan, name, task) for task in group["tasks"]},
        rows=tuple(_row(plan, condition) for condition in plan.members(name)),
        k_medoids=counts["k_medoids"],
        truncation_psi=counts["truncation_psi"],
        convolutions=max(convolutions(plan.resolution(task)) for task in group["tasks"]),
        table=tuple(group["table"]) or None,
        **{key: tuple(group.get(key, ())) for key in ("oracle", "raw", "sweep")},
        differences=tuple(_difference(group, entry) for entry in group.get("against", ())),
        preference=_preferred(group.get("preference")),
        paper=group.get("paper"),
        grid=GridSpec(**group["grid"]),
    )


def _group_task(plan: Plan, name, task) -> TaskSpec:
    texts = plan.zero_shot(task)
    return TaskSpec(
        zero_shot=ZeroShotSpec(clip=plan.world["held_out_clip"]["name"], texts=texts) if texts else None,
        real=real_observation(plan, task),
        target=_target(plan, task),
        not_measured=not_measured(plan, name, task) or None,
    )


def _row(plan: Plan, condition: Condition) -> RowSpec:
    """One condition of a group, with the paths of its runs and of their observation."""
    return RowSpec(
        **_labels(condition),
        observation=observation_file(plan, condition.task, condition.name),
        layers=plan.trained_layers(condition),
        chooses_layers=plan.chooses_layers(condition),
        training_images=training_file(plan, condition),
        runs=tuple(
            RowRun(
                seed=run.seed,
                curves=f"{run_folder(plan, run.id)}/curves.csv",
                costs=tuple(f"{run_folder(plan, i)}/cost.json" for i in plan.lineage(run)),
            )
            for run in plan.seeds_of(condition)
        ),
    )


def _difference(group, entry) -> DifferenceSpec:
    """An entry of a group's `against`; its method defaults to the group's only one (`check_pairs`)."""
    method = entry.get("method") or rows_of(group)[0]["method"]
    return DifferenceSpec(
        method=method, baseline=entry["baseline"], variants=tuple(entry["variants"])
    )


def _preferred(model) -> ModelSpec | None:
    """The model that other models are compared with, image by image: {method, variant, shots}, or None."""
    if not model:
        return None
    return ModelSpec(
        method=model["method"], variant=model["variant"], shots=model.get("shots", DEFAULT_SHOTS)
    )


def _like(plan: Plan) -> tuple[str, ...] | None:
    """The worlds that the plan's world is `like`; None if there are none."""
    return plan.world["lineage"][1:] or None


# ---- the report -----------------------------------------------------------------------------------


def report_spec(plan: Plan) -> ReportSpec:
    """The spec of the page of all groups shown."""
    results = plan.results
    figures = [
        FigureSpec(group=group, kind=kind, caption=kinds()[kind].caption, prefix=f"{results}/figures/{group}_{kind}")
        for group in plan.shown
        for kind in figures_of(plan, group)
    ]
    claims = f"{results}/claims.csv"
    return ReportSpec(
        world=plan.world["name"],
        like=_like(plan),
        preset=plan.config["preset"],
        device=plan.device,
        resolution=plan.world["resolution"],
        seeds=tuple(plan.config["seeds"]),
        results=results,
        groups=tuple(f"{results}/scores/{group}.json" for group in plan.shown),
        figures=tuple(figures),
        scores=f"{results}/scores.csv",
        claims=claims if f"{results}/claims.html" in collected(plan) else None,
        preferences=tuple(
            PreferenceSpec(group=group, answers=answers)
            for group in plan.shown
            if (answers := answers_file(plan, group))
        ),
        assets=_assets(plan),
    )


def _assets(plan: Plan) -> tuple[AssetSpec, ...]:
    """The models and data of others that the world fetches, by its registry or that of a world that it is
    `like`; none if it has no registry, or makes the files itself."""
    if plan.world["registry"] is None or plan.world.get("made_here"):
        return ()
    found = load_registry(plan.world["registry"])
    return tuple(
        AssetSpec(title=a.title, licence=found.licences[a.licence].name, source=a.source, purpose=a.purpose)
        for a in found.assets.values()
    )


# ---- a study --------------------------------------------------------------------------------------


def study_spec(plan: Plan) -> StudySpec:
    """The spec of the preference study; `workflow.plan.study_checks` has checked its keys."""
    study = plan.config["study"]
    group = plan.groups[study["group"]]
    return StudySpec(
        world=plan.world["name"],
        group=study["group"],
        questions={task: study["question"].replace(TARGET, _target_name(plan, task)) for task in group["tasks"]},
        preferred=_preferred(study.get("preferred") or group.get("preference")),
        rows=tuple(
            ShownModel(**_labels(condition), observation=observation_file(plan, condition.task, condition.name))
            for condition in plan.members(study["group"])
        ),
        **{key: study[key] for key in ("pairs", "per_rater", "repeats", "checks", "seed", "consent")},
    )


def _target_name(plan: Plan, task):
    """What a question calls a task's target: its class or style, else its text."""
    target = _target(plan, task)
    return target.name if target else plan.config["tasks"][task]["text"]["target"]
