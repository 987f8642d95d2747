"""From the configuration to the runs: what is trained, observed, scored and shown, and from what.

Pure: no torch, no Snakemake, no file is written. The Snakefile's rules only look things up here.
A run is world x task x method x variant x shots x warm start x seed, with at most one parent.
"""

import ast
import json
from dataclasses import dataclass
from pathlib import Path

from baselines import registry
from nada.run_id import DEFAULT_SHOTS, DEFAULT_WARM_START, run_id, setting_name
from nada.streams import stream_seed
from workflow.checking import ConfigError, merge, nearest
from workflow.config import controls, load, parts, rows_of
from workflow.world import check_files, convolutions, referee

# Names of the Snakefile's rules, which no group may take.
RULES = (
    *("all", "tables", "figures", "report", "settings", "assets", "asset"),
    *("references", "adapt", "estimate"),
    *(
        "look",
        "observe",
        "group",
        "score",
        "scores",
        "table",
        "paper_table",
        "claims",
        "grid",
        "figure",
        "html",
    ),
    *("pretrain_world", "pretrain_source", "pretrain_clip", "pretrain_referee"),
)
REFEREE = ("perceptual", "inception", "vgg", "judge")  # the networks that measure, as world.yaml has them
TABLES = ("md", "html")  # a table's files for people; .csv and .tex come with them
COMPARING = ("sweep", "against", "preference", "paper")  # a group's keys that need all its rows
REAL = "real"  # the observation of the reference images themselves
REPLAY = "replay"  # the control that is its training images
# Figures beside the grid: <group>_<kind>.svg by python -m eval.<kind>, and what it reads beside the
# scores: the runs' curves, or the observations with the reference images.
CURVES, PICTURES = "curves", "pictures"
FIGURES = {"training": CURVES, "layers": CURVES, "sweep": "", "pareto": "", "neighbours": PICTURES}


# ---- words ----------------------------------------------------------------------------------------


@dataclass(frozen=True, order=True)
class Setting:
    """What the seeds of one row of a table share: task, method, variant, shots, warm start."""

    task: str
    method: str
    variant: str
    shots: int = DEFAULT_SHOTS
    warm_start: str = DEFAULT_WARM_START

    @property
    def name(self):
        """`<method>-<variant>`, with `-<n>shot` and `-<warm start>` when not the default."""
        return setting_name(self.method, self.variant, self.shots, self.warm_start)


@dataclass(frozen=True, order=True)
class Run:
    """One adaptation: a setting and a seed; `parent` is the setting of its parent run or None."""

    setting: Setting
    seed: int
    parent: Setting | None = None

    @property
    def id(self):
        return run_id(self.setting.task, self.setting.name, self.seed)

    @property
    def parent_id(self):
        return (
            None if self.parent is None else run_id(self.parent.task, self.parent.name, self.seed)
        )


def latent_seed(task, seed):
    """Seed of the evaluation latents of (task, seed): every method is measured on the same ones."""
    return stream_seed("latents", task, seed)


def metric_names(root="."):
    """Names of the metrics that eval/ declares: `X = Metric("name", ...)` at a file's top level.

    Only the literals are read: importing the files would import torch.
    """
    names = []
    for path in sorted(Path(root, "eval").glob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            call = getattr(node, "value", None)
            if isinstance(call, ast.Call) and getattr(call.func, "id", None) == "Metric":
                literals = [*call.args[:1], *(k.value for k in call.keywords if k.arg == "name")]
                names += [x.value for x in literals if isinstance(x, ast.Constant)]
    return names


def as_json(value):
    """The text of a settings file; equal values give equal text."""
    return json.dumps(value, indent=2, ensure_ascii=False)


# ---- the plan -------------------------------------------------------------------------------------


class Plan:
    """Every run, observation, score, table and figure that a configuration asks for.

    config, world: as `workflow.config.load` returns them; methods: what `baselines.registry`
    says of each. All paths are relative to the folder that the workflow runs in. Attribute `runs`
    maps run ids to Run, parents before children.
    """

    def __init__(self, config, world, methods):
        self.config, self.world, self.methods = config, world, methods
        self.results = config["results"].rstrip("/")
        self.device = world["device"] if config["device"] == "world" else config["device"]
        self.groups = self._groups()
        self.settings = self._settings()
        self.runs = {}
        for setting in self.settings.values():
            for seed in config["seeds"]:
                self._add(Run(setting, seed, self.parent(setting)))

    # -- who is who

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
        """The settings of a group, in the order of its tables: controls, then variants, by task."""
        group, members = self.groups[group], []
        for task in group["tasks"]:
            for control, shots in controls(group):
                variants = self.config["methods"][control]["variants"]
                members += [Setting(task, control, v, n) for v in variants for n in shots]
            for row in rows_of(group):
                if task in row.get("tasks", [task]):
                    members += [
                        Setting(task, row["method"], variant, shots, warm_start)
                        for shots in row["shots"]
                        for warm_start in row["warm_starts"]
                        for variant in row["variants"]
                    ]
        return list(dict.fromkeys(members))

    def _settings(self):
        """{(task, name): Setting} of every group's members and their ancestors, without doubles."""
        settings = {}
        for group in self.groups:
            for setting in self.members(group):
                while setting is not None:
                    settings[setting.task, setting.name] = setting
                    setting = self.parent(setting)
        return settings

    def parent(self, setting):
        """The setting of the parent run, or None.

        A variant's own parent is a variant of its method with the same shots and warm start, or
        {method, variant} without either; else a warm start names the run that training goes on with,
        by task where a task has one of its own.
        """
        variants = self.config["methods"][setting.method]["variants"]
        parent = variants[setting.variant].get("parent")
        if isinstance(parent, str):
            return Setting(setting.task, setting.method, parent, setting.shots, setting.warm_start)
        if parent is None and setting.warm_start != DEFAULT_WARM_START:
            parent = self.config["warm_starts"][setting.warm_start]
            own = parent.get("tasks", {}).get(setting.task, parent["variant"])
            parent = {**parent, "variant": own}
        if parent is None:
            return None
        return Setting(setting.task, parent["method"], parent["variant"])

    def _add(self, run):
        if run.parent is not None and run.parent_id not in self.runs:
            self._add(Run(run.parent, run.seed, self.parent(run.parent)))
        self.runs.setdefault(run.id, run)

    def run(self, task, setting, seed):
        """The run of these three (as text, from a path), or a KeyError."""
        return self.runs[f"{task}/{setting}/seed{int(seed)}"]

    def lineage(self, run):
        """Ids of a run and of all that it goes on from, itself first."""
        ids = []
        while run is not None:
            ids.append(run.id)
            run = self.runs.get(run.parent_id)
        return ids

    def seeds_of(self, setting):
        return [run for run in self.runs.values() if run.setting == setting]

    # -- where things lie

    def folder(self, run_id):
        return f"{self.results}/runs/{run_id}"

    def observation(self, task, setting):
        return f"{self.results}/observations/{task}/{setting}.npz"

    def references(self, task):
        """The file of a task's reference images; None where it has none, only a text."""
        if not self.config["tasks"][task].get("references"):
            return None
        domain = self.config["tasks"][task]["references"]["domain"]
        kind = "json" if self.image_set(domain) else "npz"  # an index of images elsewhere, or drawn ones
        return f"{self.results}/references/{domain}.{kind}"

    def image_set(self, domain):
        """Where a domain's images lie, as world.yaml has it; None where a module draws them."""
        drawn = self.world["references"]["domains"][domain]
        return drawn.get("source")

    def reference_inputs(self, domain):
        """What must be there before a domain's references can be made."""
        source = self.image_set(domain)
        return [] if source is None else self.ready(source)

    def reference_arguments(self, domain):
        """The part of the references' command that says which images, and how many."""
        drawn, count = self.world["references"]["domains"][domain], self.reference_count(domain)
        if "source" not in drawn:
            return f"--domain {domain} --count {count}"
        chosen = "".join(f" --{key} {drawn[key]}" for key in ("split", "resize") if key in drawn)
        return f"--source {drawn['source']} --resolution {drawn['resolution']} --limit {count}{chosen}"

    def reference_count(self, domain):
        """How many images of a domain are drawn: the most that any task asks for."""
        tasks = (t["references"] for t in self.config["tasks"].values() if t.get("references"))
        return max(task["count"] for task in tasks if task["domain"] == domain)

    def shown(self, *groups):
        """The tables, grids and figures that some groups end in."""
        names = [*groups, *(f"{g}_paper" for g in groups if self.groups[g].get("paper"))]
        tables = [f"{self.results}/tables/{name}.{kind}" for name in names for kind in TABLES]
        return tables + [figure for group in groups for figure in self.figures(group)]

    def figures(self, group):
        """The pictures of a group: its grid, and each figure that it has something for."""
        members, prefix = self.members(group), f"{self.results}/figures/{group}"
        has = {
            "training": any(self.methods[m.method].supervision != "none" for m in members),
            "layers": any(self.chooses_layers(member) for member in members),
            "sweep": bool(self.groups[group].get("sweep")),
            "pareto": bool(self.groups[group].get("preference")),
            "neighbours": any(m.shots for m in members if m.method != REPLAY),
        }
        return [f"{prefix}_grid.png", *(f"{prefix}_{kind}.svg" for kind in FIGURES if has[kind])]

    def ready(self, *paths):
        """What a job waits for so that it may open some files of the world.

        An embedded file itself; of an asset the mark that it was fetched and verified; of a bare
        name (a model of open_clip's, its public prompts) nothing.
        """
        waits = []
        for path in paths:
            fetched = self.world["fetched"].items()
            asset = next((name for at, name in fetched if Path(path).is_relative_to(at)), None)
            if asset is not None:
                waits.append(self.fetched(asset))
            elif Path(path).suffix:
                waits.append(path)
        return list(dict.fromkeys(waits))

    def fetched(self, asset):
        """The mark of an asset that lies in its folder, verified."""
        return f"{self.world['assets']['folder']}/.fetched/{asset}"

    def text_files(self):
        """What a method that is supervised by text reads: CLIPs and prompts."""
        clips = [clip[key] for clip in self.world["clips"] for key in ("config", "weights")]
        return self.ready(*clips, self.world["templates"])

    def source(self, task):
        domain = self.config["tasks"][task]["source"]
        return {"domain": domain, "weights": self.world["sources"][domain]["weights"]}

    def resolution(self, task):
        """Pixels per side of a task's images, those of its source model."""
        return self.world["sources"][self.config["tasks"][task]["source"]]["resolution"]

    def target(self, task):
        """What the judge must see: {"target_class": name} or {"target_style": name}."""
        entry = self.config["tasks"][task]
        return {key: entry[key] for key in ("target_class", "target_style") if key in entry}

    # -- what the jobs read

    def adapt_inputs(self, run):
        """Named files that a run reads beside its settings, by the supervision it declares."""
        supervision = self.methods[run.setting.method].supervision
        files = {"source": self.ready(self.source(run.setting.task)["weights"])}
        if supervision == "text":
            files["clips"] = self.text_files()
        if supervision == "images" or run.setting.shots:
            files["references"] = self.references(run.setting.task)
        if weights := self.method_settings(run.setting).get("weights"):  # a model made elsewhere
            files["weights"] = f"{weights}/model.safetensors" if Path(weights).is_dir() else weights
        if run.parent is not None:
            files["parent"] = f"{self.folder(run.parent_id)}/model.safetensors"
        return files

    def parent_argument(self, run):
        """The part of the adapt command that names the parent's folder; empty without one."""
        return "" if run.parent is None else f"--parent {self.folder(run.parent_id)}"

    def look_inputs(self, task, name):
        """Named files that an observe job reads beside its settings."""
        files = {
            "referee": self.ready(*referee(self.world)),
            "references": [path for path in (self.references(task),) if path],
            "source": self.ready(self.source(task)["weights"]),
        }
        if name != REAL:
            runs = self.seeds_of(self.settings[task, name])
            files["models"] = [f"{self.folder(run.id)}/model.safetensors" for run in runs]
        return files

    def group_inputs(self, name):
        """The observations that a group's scores and grid are made of, the real images' included."""
        tasks = [task for task in self.groups[name]["tasks"] if self.references(task)]
        return [self.observation(task, REAL) for task in tasks] + [
            self.observation(setting.task, setting.name) for setting in self.members(name)
        ]

    def record_inputs(self, name):
        """What a group's runs, and all that they go on from, were told and what they cost."""
        runs = [run for setting in self.members(name) for run in self.seeds_of(setting)]
        ids = dict.fromkeys(i for run in runs for i in self.lineage(run))
        return [f"{self.folder(i)}/{record}.json" for i in ids for record in ("run", "cost")]

    def figure_inputs(self, name, kind):
        """What a figure is drawn from beside the group's file: named lists of files."""
        files = {"scores": [f"{self.results}/scores/{name}.csv"]}
        if FIGURES[kind] == PICTURES:
            files["observations"] = self.group_inputs(name)
            every = [self.references(task) for task in self.groups[name]["tasks"]]
            files["references"] = [path for path in every if path]
        if FIGURES[kind] == CURVES:
            runs = [run for setting in self.members(name) for run in self.seeds_of(setting)]
            files["curves"] = [f"{self.folder(run.id)}/curves.csv" for run in runs]
        if answers := self.answers(name, kind):
            files["answers"] = [answers]
        return files

    def answers(self, name, kind):
        """The file of people's comparisons that a figure takes for quality, or None."""
        return self.groups[name].get("preference", {}).get("answers") if kind == "pareto" else None

    def figure_arguments(self, name, kind):
        """What a figure's command is told beside its group, scores and names."""
        answers = self.answers(name, kind)
        return f"--answers {answers}" if answers else ""

    def trained_layers(self, setting):
        """Convolutions trained at a step by a setting's policy; None where it has none to choose."""
        settings = self.method_settings(setting)
        layers = settings.get("layers")
        if layers is None or settings.get("mapper"):
            return None
        policy, count = layers.get("policy", "all"), convolutions(self.resolution(setting.task))
        if policy == "adaptive":
            return min(layers["k"], count) if "k" in layers else None
        return count if policy == "all" else None

    def chooses_layers(self, setting):
        """Whether a setting's runs choose their layers anew at each step."""
        settings = self.method_settings(setting)
        layers = settings.get("layers", {})
        count = convolutions(self.resolution(setting.task))
        forced = layers.get("saturated") == "select"
        few = layers.get("k", 1) < count or forced
        return layers.get("policy") == "adaptive" and few and not settings.get("mapper")

    def method_settings(self, setting):
        """The method's settings with the variant's overrides applied."""
        method = self.config["methods"][setting.method]
        return merge(method["settings"], method["variants"][setting.variant].get("settings", {}))

    def _surroundings(self, task):
        """What every job on a task is told about it and the world."""
        entry = self.config["tasks"][task]
        return {
            "world": self.world["name"],
            "task": task,
            "device": self.device,
            "resolution": self.resolution(task),
            "source": self.source(task),
            "text": entry["text"],
            "templates": self.world["templates"],
            "clips": self.world["clips"],
            "references": self._reference_entry(task),
        }

    def _reference_entry(self, task):
        """Which images a task's jobs may ask for; None where it has none."""
        references = self.config["tasks"][task].get("references")
        if references is None:
            return None
        return {"domain": references["domain"], "images": self.references(task)}

    def run_file(self, run):
        """The content of settings.json: everything a run is."""
        setting = run.setting
        return {
            **self._surroundings(setting.task),
            "method": setting.method,
            "variant": setting.variant,
            "shots": setting.shots,
            "warm_start": setting.warm_start,
            "seed": run.seed,
            "parent": run.parent_id,
            "settings": self.method_settings(setting),
        }

    def look_file(self, task, name):
        """What one observe job is told: the artifacts of a setting, one per seed, or the reals."""
        look = {
            **self._surroundings(task),
            "setting": name,
            **self.target(task),
            **{key: self.world[key] for key in REFEREE if key in self.world},
            "evaluation": self.config["evaluation"],
        }
        if look["references"]:
            look["references"]["count"] = self.config["tasks"][task]["references"]["count"]
        if name == REAL:
            return {**look, "method": REAL, "runs": []}
        setting = self.settings[task, name]
        runs = [
            {
                "id": run.id,
                "seed": run.seed,
                "folder": self.folder(run.id),
                "latent_seed": latent_seed(task, run.seed),
            }
            for run in self.seeds_of(setting)
        ]
        return {**look, **self._labels(setting), "runs": runs}

    def preferred(self, group):
        """The model that a group's others are compared with image by image, or None."""
        if "preference" not in group:
            return None
        model = group["preference"]
        return self._labels(Setting("", model["method"], model["variant"], model.get("shots", 0)))

    @staticmethod
    def _labels(setting):
        return {
            "method": setting.method,
            "variant": setting.variant,
            "shots": setting.shots,
            "warm_start": setting.warm_start,
        }

    def group_file(self, name):
        """What the score, table and grid jobs of a group are told."""
        group = self.groups[name]
        observations = [
            {
                "task": setting.task,
                "setting": setting.name,
                **self._labels(setting),
                "layers": self.trained_layers(setting),
                "chooses_layers": self.chooses_layers(setting),
                "runs": [
                    {
                        "seed": run.seed,
                        "curves": f"{self.folder(run.id)}/curves.csv",
                        "costs": [f"{self.folder(i)}/cost.json" for i in self.lineage(run)],
                    }
                    for run in self.seeds_of(setting)
                ],
                "file": self.observation(setting.task, setting.name),
            }
            for setting in self.members(name)
        ]
        return {
            "group": name,
            "title": group["title"],
            "world": self.world["name"],
            "preset": self.config["preset"],
            "device": self.device,
            "convolutions": max(convolutions(self.resolution(task)) for task in group["tasks"]),
            "tasks": {
                task: {
                    "role": self.config["tasks"][task]["role"],
                    "source": self.config["tasks"][task]["source"],
                    "text": self.config["tasks"][task]["text"],
                    **self.target(task),
                    "real": self.observation(task, REAL) if self.references(task) else None,
                    "references": self.references(task),
                }
                for task in group["tasks"]
            },
            "observations": observations,
            "evaluation": self.config["evaluation"],
            "table": group["table"],
            "oracle": group.get("oracle", []),
            "raw": group.get("raw", []),
            "against": group.get("against", []),
            "sweep": group.get("sweep", []),
            "preference": self.preferred(group),
            "paper": group.get("paper"),
            "grid": group["grid"],
        }

    # -- for people

    def summary(self):
        """Two lines: which world and preset ran, and how much target `all` takes, by stage."""
        config = self.config
        sizes = sorted({self.resolution(setting.task) for setting in self.settings.values()})
        size = ", ".join(f"{side}x{side}" for side in sizes)
        groups = list(config["groups"])
        shown = {setting for group in groups for setting in self.members(group)}
        tasks = {setting.task for setting in shown if self.references(setting.task)}
        where = f"world '{self.world['name']}' ({size}, {self.device})"
        stages = f"{len(self.runs_of(groups))} runs, {len(shown) + len(tasks)} observations"
        return (
            f"{where}, preset '{config['preset']}', seeds {config['seeds']}, into {self.results}\n"
            f"target all, made anew: {stages}, a table, a grid and figures for each of"
            f" {', '.join(groups)}"
        )

    def runs_of(self, groups):
        """The runs of some groups, parents included."""
        found = {}
        for group in groups:
            for setting in self.members(group):
                for run in self.seeds_of(setting):
                    while run is not None:
                        found[run.id] = run
                        run = self.runs.get(run.parent_id)
        return list(found.values())


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
                        f"config: 'groups.{name}.{key}' names '{column}', which is no metric; "
                        f"{nearest(column, metrics)}"
                    )


def load_plan(root=".", overrides=None):
    """Read, merge and check the whole configuration and return its Plan, or raise UserError."""
    config, world = load(root, overrides)
    methods = registry.methods(Path(root, "baselines"))
    check_names(config, methods, metric_names(root))
    check_files(world, root)
    return Plan(config, world, methods)
