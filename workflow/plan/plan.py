"""From the configuration to the runs: the groups that are shown, their conditions, parents and seeds.

Pure: no torch, no Snakemake, no file is written. `workflow.plan.layout` says where the files of a plan
lie, `workflow.plan.inputs` what each job waits for, `workflow.plan.specs` what it is told.
"""

import ast
from pathlib import Path

from baselines import registry
from nada.run.run_id import DEFAULT_WARM_START
from workflow.plan.checking import ConfigError, merge, nearest, short
from workflow.plan.config import (
    controls,
    load,
    on_task,
    parts,
    rows_of,
    with_defaults,
)
from workflow.plan.group_checks import check_groups
from workflow.plan.methods import descriptions
from workflow.plan.results_folder import check_typed, results_folder
from workflow.plan.run_checks import check_runs, check_targets
from workflow.plan.runs import Condition, Run
from workflow.plan.text_checks import check_texts
from workflow.plan.world import check_files, convolutions

# Rules that only collect files: what can be asked for by name, beside every group.
TARGETS = ("all", "tables", "figures", "report", "estimate", "pretrain_world")
# Names of the Snakefile's rules, which no group may take.
RULES = (
    *("all", "tables", "figures", "report", "estimate"),
    *("assets", "asset", "references", "run_spec", "adapt"),
    *("observation_spec", "observe", "group_spec", "score", "scores"),
    *("table", "paper_table", "grid", "figure", "claims", "pages", "html"),
    *("pretrain_world", "pretrain_source", "pretrain_clip", "pretrain_referee"),
)
METRIC = ("name", "label", "unit", "maximize")  # the arguments of eval.metrics.metric.Metric, in order
COMPARING = ("sweep", "against", "preference", "paper")  # a group's keys that need all its rows


class Plan:
    """Every group, condition and run that a configuration asks for.

    config, world: as `workflow.plan.config.load` returns them; methods: what `baselines.registry`
    says of each. Attributes `groups` and `conditions` map names, and (task, name), to what they are;
    `runs` maps run ids to Run, parents before children; `described` has what each method declares of its
    hyperparameters (workflow.plan.methods).
    """

    def __init__(self, config, world, methods):
        self.config, self.world, self.methods = config, world, methods
        self.described = descriptions(config["methods"])
        self.results = config["results"].rstrip("/")
        self.device = world["device"] if config["device"] == "world" else config["device"]
        self.groups = self._groups()
        self.conditions = self._conditions()
        self.runs = {}
        for condition in self.conditions.values():
            for seed in config["seeds"]:
                self._add(Run(condition, seed, self.parent(condition)))

    # -- groups and their conditions

    def _groups(self):
        """The groups of config.yaml, and `<group>_<variant>` with that variant alone.

        Where a group compares methods, there is one `<group>_<method>` for each instead. Controls
        stay out of these, so that `-R adapt` on one retrains just what it names.
        """
        groups = []
        for name, group in self.config["groups"].items():
            groups.append((name, group))
            for part_name, rows in parts(group):
                title = f"{group['title']}: {part_name}"
                part = {**group, "rows": rows, "controls": [], "title": title}
                alone = {key: value for key, value in part.items() if key not in COMPARING}
                groups.append((f"{name}_{part_name}", alone))
        names = [*RULES, *(name for name, _ in groups)]
        for name, _ in groups:
            if names.count(name) > 1:
                raise ConfigError(
                    f"config: 'groups' makes a target '{name}', a name that is taken; rename one."
                )
        return dict(groups)

    def members(self, group):
        """The conditions of a group, in the order of its tables: controls, then variants, by task."""
        group, members = self.groups[group], []
        for task in group["tasks"]:
            for control in on_task(controls(group), task):
                variants = self.config["methods"][control["method"]]["variants"]
                cells = [(v, n) for v in variants for n in control["shots"]]
                members += [Condition(task, control["method"], v, n) for v, n in cells]
            for row in on_task(rows_of(group), task):
                members += [
                    Condition(task, row["method"], variant, shots, warm_start)
                    for shots in row["shots"]
                    for warm_start in row["warm_starts"]
                    for variant in row["variants"]
                ]
        return list(dict.fromkeys(members))

    def _conditions(self):
        """{(task, name): Condition} of every group's members and their ancestors, without doubles."""
        conditions = {}
        for group in self.groups:
            for condition in self.members(group):
                while condition is not None:
                    conditions[condition.task, condition.name] = condition
                    condition = self.parent(condition)
        return conditions

    # -- runs and what they go on from

    def parent(self, condition):
        """The condition of the parent run, or None.

        A variant's own parent is a variant of its method with the same shots and warm start, or
        {method, variant} without either; else a warm start names the run that training goes on with,
        by task where a task has one of its own.
        """
        variants = self.config["methods"][condition.method]["variants"]
        parent = variants[condition.variant].get("parent")
        if isinstance(parent, str):
            return Condition(condition.task, condition.method, parent, condition.shots, condition.warm_start)
        if parent is None and condition.warm_start != DEFAULT_WARM_START:
            parent = self.config["warm_starts"][condition.warm_start]
            own = parent.get("tasks", {}).get(condition.task, parent["variant"])
            parent = {**parent, "variant": own}
        if parent is None:
            return None
        return Condition(condition.task, parent["method"], parent["variant"])

    def _add(self, run):
        if run.parent is not None and run.parent_id not in self.runs:
            self._add(Run(run.parent, run.seed, self.parent(run.parent)))
        self.runs.setdefault(run.id, run)

    def run(self, task, condition, seed):
        """The run of these three (as text, from a path), or a KeyError."""
        return self.runs[f"{task}/{condition}/seed{int(seed)}"]

    def lineage(self, run):
        """Ids of a run and of all that it goes on from, itself first."""
        ids = []
        while run is not None:
            ids.append(run.id)
            run = self.runs.get(run.parent_id)
        return ids

    def seeds_of(self, condition):
        return [run for run in self.runs.values() if run.condition == condition]

    def runs_of(self, groups):
        """The runs of some groups, parents included."""
        conditions = [condition for group in groups for condition in self.members(group)]
        runs = [run for condition in conditions for run in self.seeds_of(condition)]
        return [self.runs[i] for i in dict.fromkeys(i for run in runs for i in self.lineage(run))]

    # -- what a condition and a task are

    def hyperparameters(self, condition, defaults=False):
        """The method's hyperparameters with the variant's overrides applied.

        defaults: with the default of every other one, as a run has them.
        """
        method = self.config["methods"][condition.method]
        own = merge(method["hyperparameters"], method["variants"][condition.variant].get("hyperparameters", {}))
        return with_defaults(own, self.described[condition.method]["schema"]) if defaults else own

    def trained_layers(self, condition):
        """Convolutions trained at a step by a condition's policy; None where it has none to choose."""
        hparams = self.hyperparameters(condition)
        layers = hparams.get("layers")
        if layers is None or hparams.get("mapper"):
            return None
        policy, count = layers.get("policy", "all"), convolutions(self.resolution(condition.task))
        if policy == "adaptive":
            return min(layers["k"], count) if "k" in layers else None
        return count if policy == "all" else None

    def chooses_layers(self, condition):
        """Whether a condition's runs choose their layers anew at each step."""
        hparams = self.hyperparameters(condition)
        layers = hparams.get("layers", {})
        count = convolutions(self.resolution(condition.task))
        forced = layers.get("saturated") == "select"
        few = layers.get("k", 1) < count or forced
        return layers.get("policy") == "adaptive" and few and not hparams.get("mapper")

    def source(self, task):
        """The model that a task adapts: {domain, weights}."""
        domain = self.config["tasks"][task]["source"]
        return {"domain": domain, "weights": self.world["sources"][domain]["weights"]}

    def resolution(self, task):
        """Pixels per side of a task's images, those of its source model."""
        return self.world["sources"][self.config["tasks"][task]["source"]]["resolution"]

    def target(self, task):
        """What the judge must see: {"target_class": name} or {"target_style": name}."""
        entry = self.config["tasks"][task]
        return {key: entry[key] for key in ("target_class", "target_style") if key in entry}

    # -- for people

    @property
    def targets(self):
        """Every name that can be asked for and that is no job itself: collecting rules and groups."""
        return [*TARGETS, *(["assets"] if "assets" in self.world else []), *self.groups]

    def summary(self, target="all", groups=None):
        """Two lines: which world and preset ran, and how much a target takes, by stage.

        groups: those that the target takes; without, all of them. One line where there are none.
        """
        config = self.config
        sizes = sorted({self.resolution(condition.task) for condition in self.conditions.values()})
        size = ", ".join(f"{side}x{side}" for side in sizes)
        groups = list(config["groups"]) if groups is None else groups
        shown = {condition for group in groups for condition in self.members(group)}
        tasks = {s.task for s in shown if config["tasks"][s.task].get("references")}
        where = f"world '{self.world['name']}' ({size}, {self.device})"
        if not groups:
            return f"{where}, preset '{config['preset']}', seeds {config['seeds']}, into {self.results}"
        stages = f"{len(self.runs_of(groups))} runs, {len(shown) + len(tasks)} observations"
        return (
            f"{where}, preset '{config['preset']}', seeds {config['seeds']}, into {self.results}\n"
            f"target {target}, made anew: {stages}, a table, a grid and figures for each of"
            f" {', '.join(groups)}"
        )


def check_names(config, methods, metrics):
    """Raise ConfigError for a method without a file, or a table column that no metric declares."""
    for method in config["methods"]:
        if method not in methods:
            raise ConfigError(
                f"config: 'methods' names '{method}', but no baselines/{method}.py declares it; "
                f"{nearest(method, methods)}"
            )
        if not (registry.FOLDER / f"{method}.py").is_file():
            raise ConfigError(
                f"config: the method '{method}' is declared in a file of another name; call the file "
                f"baselines/{method}.py."
            )
    for name, group in config["groups"].items():
        for key in ("table", "oracle", "raw", "sweep"):
            for column in group.get(key, []):
                if column not in metrics:
                    raise ConfigError(
                        f"config: 'groups.{name}.{key}' names '{short(column)}', which is no metric; "
                        f"{nearest(column, metrics)}"
                    )


def metric_names(root="."):
    """{name: maximize} of the metrics that eval/ declares: `X = Metric("name", ...)` at a file's top level.

    maximize: whether more is better; None where neither is. Only the literals are read: importing the
    files would import torch.
    """
    names = {}
    for path in sorted(Path(root, "eval", "metrics").glob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            call = getattr(node, "value", None)
            if isinstance(call, ast.Call) and getattr(call.func, "id", None) == "Metric":
                literals = [a.value for a in call.args if isinstance(a, ast.Constant)]
                given = dict(zip(METRIC, literals)) | {
                    k.arg: k.value.value for k in call.keywords if isinstance(k.value, ast.Constant)
                }
                if "name" in given:
                    names[given["name"]] = given.get("maximize")
    return names


def load_plan(root=".", overrides=None):
    """Read, merge and check the whole configuration and return its Plan, or raise UserError."""
    check_typed(overrides)
    config, world = load(root, overrides)
    config["results"] = results_folder(config["results"], root)
    methods = registry.methods(Path(root, "baselines"))
    metrics = metric_names(root)
    check_names(config, methods, metrics)
    check_files(world, root)
    plan = Plan(config, world, methods)
    check_targets(plan, root)
    check_runs(plan, root)
    check_texts(plan, root)
    check_groups(plan, metrics, root)
    return plan
