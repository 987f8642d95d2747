"""Plan: all groups, conditions and runs of a configuration, with parents and seeds.

Needs neither torch nor Snakemake, and writes no file. `workflow.plan.layout` has the paths of a plan's
files, `workflow.plan.inputs` the inputs of each job, `workflow.plan.specs` its spec.
"""

from pathlib import Path

from baselines import registry
from workflow.plan import groups
from workflow.plan.checking import ConfigError, merge
from workflow.plan.config import load, shown, used, with_defaults
from workflow.plan.config_checks import check_declared
from workflow.plan.group_checks import check_groups
from workflow.plan.measured import left_out, real_images
from workflow.plan.methods import descriptions
from workflow.plan.metric_kinds import metric_names
from workflow.plan.results_folder import check_typed, results_folder
from workflow.plan.run_checks import check_runs, check_targets
from workflow.plan.runs import Run, images_to_train_on
from workflow.plan.study_checks import check_study
from workflow.plan.text_checks import check_texts, check_zero_shot
from workflow.plan.world import check_files, convolutions

# Rules that only collect files: the targets besides the groups.
TARGETS = ("all", "tables", "figures", "report", "publish", "study", "estimate", "pretrain_world")
# Names of the Snakefile's rules, which no group may have.
RULES = (
    *("all", "tables", "figures", "report", "estimate"),
    *("assets", "asset", "convert", "references", "run_spec", "adapt"),
    *("observation_spec", "observe", "group_spec", "score", "scores"),
    *("table", "paper_table", "preference", "grid", "figure", "claims", "pages", "report_spec", "html", "provenance"),
    *("study", "study_spec", "publish"),
    *("pretrain_world", "pretrain_source", "pretrain_clip", "pretrain_referee"),
)


class Plan:
    """Every group, condition and run of a configuration.

    config, world: as `workflow.plan.config.load` returns them. methods: {name: baselines.registry.Method}.
    asked: the targets of the command line.

    Attributes: `shown` lists the groups that `all` makes. `used` lists these and the requested groups;
    only they are checked against the world. `groups` maps names to groups, and `conditions` maps
    (task, name) to conditions, for all groups. `runs` maps run ids to Run, parents before children.
    `described` has the descriptions of the methods (workflow.plan.methods).
    """

    def __init__(self, config, world, methods, asked=()):
        self.config, self.world, self.methods = config, world, methods
        self.described = descriptions(config["methods"])
        self.results = config["results"].rstrip("/")
        self.device = world["device"] if config["device"] == "world" else config["device"]
        self.shown, self.used = shown(config), used(config, asked)
        self.groups = self._groups()
        self.conditions = {(c.task, c.name): c for c in self.conditions_of(self.groups)}
        self.runs = {}
        for condition in self.conditions.values():
            for seed in config["seeds"]:
                self._add(Run(condition, seed, self.parent(condition)))

    # -- groups and their conditions

    def _groups(self):
        """The groups of config.yaml, those in `show` first, each with its parts (`workflow.plan.groups`)."""
        known = self.config["groups"]
        made = [
            groups.with_parts(name, known[name]) for name in dict.fromkeys([*self.shown, *known])
        ]
        names = [*RULES, *(name for part in made for name in part)]
        for name in names[len(RULES) :]:
            if names.count(name) > 1:
                raise ConfigError(
                    f"config: 'groups' makes a target '{name}', a name that is taken; rename one."
                )
        return {name: group for part in made for name, group in part.items()}

    def members(self, group):
        """The conditions of a group, in the order of its tables: controls, then rows, by task."""
        return groups.members(self.groups[group], self.config)

    def conditions_of(self, names):
        """The conditions of some groups and their ancestors, without duplicates."""
        shown = [condition for name in names for condition in self.members(name)]
        return groups.with_parents(shown, self.config)

    # -- runs and their parents

    def parent(self, condition):
        """The condition of the parent run, or None."""
        return groups.parent(condition, self.config)

    def _add(self, run):
        if run.parent is not None and run.parent_id not in self.runs:
            self._add(Run(run.parent, run.seed, self.parent(run.parent)))
        self.runs.setdefault(run.id, run)

    def run(self, task, condition, seed):
        """The run of a task, condition and seed (texts from a path). Raises KeyError if there is none."""
        return self.runs[f"{task}/{condition}/seed{int(seed)}"]

    def lineage(self, run):
        """Ids of a run and of its ancestors, itself first."""
        ids = []
        while run is not None:
            ids.append(run.id)
            run = self.runs.get(run.parent_id)
        return ids

    def seeds_of(self, condition):
        return [run for run in self.runs.values() if run.condition == condition]

    def runs_of(self, names):
        """The runs of some groups, parents included."""
        conditions = [condition for name in names for condition in self.members(name)]
        runs = [run for condition in conditions for run in self.seeds_of(condition)]
        return [self.runs[i] for i in dict.fromkeys(i for run in runs for i in self.lineage(run))]

    # -- conditions and tasks

    def hyperparameters(self, condition, defaults=False):
        """The method's hyperparameters with the variant's overrides.

        defaults: also with the defaults of all others, as in a run.
        """
        method = self.config["methods"][condition.method]
        own = merge(method["hyperparameters"], method["variants"][condition.variant].get("hyperparameters", {}))
        return with_defaults(own, self.described[condition.method]["schema"]) if defaults else own

    def trained_layers(self, condition):
        """Number of convolutions that a condition trains at a step; None if it has no layer policy."""
        hparams = self.hyperparameters(condition)
        layers = hparams.get("layers")
        if layers is None or hparams.get("mapper"):
            return None
        policy, count = layers.get("policy", "all"), convolutions(self.resolution(condition.task))
        if policy == "adaptive":
            return min(layers["k"], count) if "k" in layers else None
        return count if policy == "all" else None

    def chooses_layers(self, condition):
        """Whether a condition's runs choose their layers at each step."""
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

    def training_images(self, condition):
        """The images that a condition's runs are trained on: {domain, count} of the task, or None.

        Methods with image supervision have them, and methods with text supervision if shots are given.
        They are the task's `few_shot` images or, if it has none, its references.
        """
        supervision = self.methods[condition.method].supervision
        if not (supervision == "images" or (supervision == "text" and condition.shots > 0)):
            return None
        return images_to_train_on(self.config["tasks"][condition.task])

    def resolution(self, task):
        """Pixels per side of a task's images, those of its source model."""
        return self.world["sources"][self.config["tasks"][task]["source"]]["resolution"]

    def target(self, task):
        """The judge's target: {"target_class": name} or {"target_style": name}."""
        entry = self.config["tasks"][task]
        return {key: entry[key] for key in ("target_class", "target_style") if key in entry}

    def zero_shot(self, task):
        """The two texts that the world's held-out CLIP compares a task's pictures with, or None."""
        texts = self.config["tasks"][task].get("zero_shot")
        return tuple(texts) if texts else None

    # -- for people

    @property
    def targets(self):
        """All targets by name: collecting rules and groups."""
        return [*TARGETS, *(["assets"] if "assets" in self.world else []), *self.groups]

    def summary(self, target="all", names=None):
        """Two lines: the world and preset, and what a target consists of, made already or not.

        names: the groups of the target; default: those in `show`. Without groups, one line.
        """
        config = self.config
        names = self.shown if names is None else names
        sizes = sorted({self.resolution(c.task) for c in self.conditions_of(self.used)})
        size = ", ".join(f"{side}x{side}" for side in sizes)
        shown = {condition for name in names for condition in self.members(name)}
        tasks = {s.task for s in shown if real_images(self, s.task)}
        where = f"world '{self.world['name']}' ({size}, {self.device})"
        if not names:
            return f"{where}, preset '{config['preset']}', seeds {config['seeds']}, into {self.results}"
        stages = f"{counted(len(self.runs_of(names)), 'run')}, {counted(len(shown) + len(tasks), 'observation')}"
        made = f"a table, a grid and figures for each of {', '.join(names)}"
        stages = f"{stages}, {'the pictures of a study' if target == groups.STUDY else made}"
        lines = [
            f"{where}, preset '{config['preset']}', seeds {config['seeds']}, into {self.results}",
            f"target {target} consists of {stages}",
        ]
        return "\n".join([*lines, *left_out(self, names)])


def counted(count, noun):
    """`1 run`, `2 runs`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def load_plan(root=".", overrides=None, asked=(), typed=None):
    """Read, merge and check the whole configuration and return its Plan. Raises UserError.

    asked: the targets of the command line; typed: what --config says, which adds no entry: both as
    `workflow.plan.config.load` takes them.
    """
    check_typed(merge(overrides or {}, typed or {}))
    config, world = load(root, overrides, asked, typed)
    config["results"] = results_folder(config["results"], root)
    methods = registry.methods(Path(root, "baselines"))
    metrics = metric_names(root)
    check_declared(config, methods, metrics)
    check_files(world, root)
    plan = Plan(config, world, methods, asked)
    check_targets(plan, root)
    check_runs(plan, root)
    check_texts(plan, root)
    check_zero_shot(plan, root)
    check_groups(plan, metrics, root)
    if groups.STUDY in asked:
        check_study(plan)
    return plan
