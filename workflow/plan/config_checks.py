"""Check that values of config.yaml fit together: names, parents, tasks, images, layers. Needs no torch.

All names are checked. Values that depend on the world (sources, domains, sizes, counts) are checked only
for the groups that a plan uses: those in `show` and the requested ones.
"""

from pathlib import Path

from baselines import registry
from nada.run.run_id import DEFAULT_SHOTS, DEFAULT_WARM_START
from workflow.plan.checking import ConfigError, known_name, merge, nearest, short
from workflow.plan.groups import OWN, controls, members, on_task, rows_of, with_parents
from workflow.plan.measured import LEAST_REAL
from workflow.plan.own_tasks import check_count
from workflow.plan.runs import images_to_train_on
from workflow.plan.world import HELD_OUT, convolutions

NO_IMAGES = {"count": 0, "domain": "no domain"}  # for a task that has only a text
POOL_UNIT = 32  # as in nada/mapper.py, which is not imported here since it needs torch
REQUIRED = ("title", "tasks", "rows", "controls", "table", "grid")  # keys of a group after `like`

# ---- names -----------------------------------------------------------------------------------------


def check_names(config) -> None:
    """Raise ConfigError for a name that does not exist, or a variant that is its own parent.

    config: with `like` resolved, and rows as in the file.
    """
    for key in ("show", "skip"):
        for name in config.get(key, []):
            known_name(name, config["groups"], f"'{key}'")
    if set(config["show"]) <= set(config.get("skip", [])):
        raise ConfigError("config: 'skip' leaves out every group of 'show'; leave one in.")
    methods = config["methods"]
    for method, entry in methods.items():
        for variant, change in entry["variants"].items():
            parent = change.get("parent")
            where = f"'methods.{method}.variants.{variant}"
            if variant == OWN:
                raise ConfigError(
                    f"config: {where}': in rows '{OWN}' means the variant that a task names; "
                    "choose another name."
                )
            if isinstance(parent, dict):
                _check_parent(parent, methods, f"{where}.parent'")
            elif parent is not None:
                known_name(parent, entry["variants"], f"{where}.parent'")
            _check_ancestry(method, variant, methods, f"{where}.parent'")
    variants = dict.fromkeys(name for entry in methods.values() for name in entry["variants"])
    for name, task in config["tasks"].items():
        if "variant" in task:
            known_name(task["variant"], variants, f"'tasks.{name}.variant'")
    for name, parent in config["warm_starts"].items():
        _check_parent(parent, methods, f"'warm_starts.{name}'", own=True)
    for name, group in config["groups"].items():
        _check_group(name, group, config)


def _check_parent(parent, methods, where, own=False) -> None:
    """Refuse a {method, variant} that does not exist. own: whether the variant may be `own`."""
    known_name(parent["method"], methods, where)
    if not (own and parent["variant"] == OWN):
        known_name(parent["variant"], methods[parent["method"]]["variants"], where)


def _check_ancestry(method, variant, methods, where) -> None:
    """Refuse a variant that is its own parent, directly or not."""
    seen = [(method, variant)]
    while True:
        method, variant = seen[-1]
        parent = methods.get(method, {}).get("variants", {}).get(variant, {}).get("parent")
        if parent is None:
            return
        if isinstance(parent, dict):
            method, parent = parent["method"], parent["variant"]
        if (method, parent) in seen:
            way = " -> ".join([*(name for _, name in seen), parent])
            raise ConfigError(f"config: {where} makes a circle: {way}.")
        seen.append((method, parent))


def _check_group(name, group, config) -> None:
    """Refuse a group that lacks a key, or names a task, method, variant or warm start that does not exist."""
    methods, starts, at = config["methods"], config["warm_starts"], f"groups.{name}"
    for key in REQUIRED:
        if key not in group:
            raise ConfigError(f"config: '{at}' lacks the key '{key}'.")
    for key in ("rows", "truncation_psi"):
        if key not in group["grid"]:
            raise ConfigError(f"config: '{at}.grid' lacks the key '{key}'.")
    for task in group["tasks"]:
        known_name(task, config["tasks"], f"'{at}.tasks'")
    for row in rows_of(group):
        known_name(row["method"], methods, f"'{at}.rows.methods'")
        tasks = row.get("tasks", group["tasks"])
        for task in tasks:
            known_name(task, group["tasks"], f"'{at}.rows.tasks'")
        for variant in row["variants"]:
            if variant == OWN:
                _check_own(row["method"], tasks, config, f"'{at}.rows'")
            else:
                known_name(variant, methods[row["method"]]["variants"], f"'{at}.rows.variants'")
        for start in row.get("warm_starts", []):
            known_name(start, [DEFAULT_WARM_START, *starts], f"'{at}.rows.warm_starts'")
            if start in starts and starts[start]["variant"] == OWN:
                _check_own(starts[start]["method"], tasks, config, f"'warm_starts.{start}'")
    for control in controls(group):
        known_name(control["method"], methods, f"'{at}.controls'")
        for task in control.get("tasks", []):
            known_name(task, group["tasks"], f"'{at}.controls.tasks'")
    if "preference" in group:
        _check_parent(group["preference"], methods, f"'{at}.preference'")


def _check_own(method, tasks, config, where) -> None:
    """Refuse tasks without a variant of a method, for rows whose variant is `own`."""
    for task in tasks:
        variant = config["tasks"][task].get("variant")
        if variant is None:
            raise ConfigError(
                f"config: {where} asks for the variant that each task names ('{OWN}'), but 'tasks.{task}' "
                "names none; give it the key 'variant'."
            )
        known_name(variant, config["methods"][method]["variants"], f"'tasks.{task}.variant'")


# ---- declarations in baselines/ and eval/metrics/ ----------------------------------------------------


def check_declared(config, methods, metrics) -> None:
    """Raise ConfigError for a method without a file, or a table column that no metric declares."""
    for method in config["methods"]:
        file = registry.FOLDER / f"{method}.py"
        if method not in methods and file.is_file():
            named = next((name for name, path in registry.files().items() if path == file), None)
            raise ConfigError(
                f"baselines/{method}.py: METHOD is missing; add METHOD = Method(…)."
                if named is None
                else f"baselines/{method}.py: METHOD's name is '{named}'; it must be '{method}', the file's name."
            )
        if method not in methods:
            raise ConfigError(
                f"config: 'methods' names '{method}', but no baselines/{method}.py declares it; "
                f"{nearest(method, methods)}"
            )
        if not file.is_file():
            raise ConfigError(
                f"config: the method '{method}' is declared in a file of another name; rename the file to "
                f"baselines/{method}.py."
            )
    for name, group in config["groups"].items():
        for key in ("table", "oracle", "raw", "sweep"):
            for column in group.get(key, []):
                if column not in metrics:
                    raise ConfigError(
                        f"config: 'groups.{name}.{key}' names '{short(column)}', which is not a metric; "
                        f"{nearest(column, metrics)}"
                    )


# ---- values of the groups that are used -----------------------------------------------------------


def check_values(config, world, root, used) -> None:
    """Raise ConfigError for values that do not fit together or do not fit the world.

    config: with rows written out. used: names of the groups in `show` and of the requested ones.
    """
    groups = {name: config["groups"][name] for name in used}
    tasks = dict.fromkeys(task for group in groups.values() for task in group["tasks"])
    for task in tasks:
        _check_task(task, config["tasks"][task], world, root)
    _check_conditions(groups.values(), config, world, root)
    for name, group in groups.items():
        _check_shown(name, group, config)
    _check_evaluation(config, tasks)


def _check_task(name, task, world, root) -> None:
    """Refuse a task whose source, images or target the world does not have."""
    domains = world["references"]["domains"]
    known_name(task["source"], world["sources"], f"'tasks.{name}.source'")
    for key in ("references", "few_shot"):
        if not task.get(key):
            continue
        domain, where = task[key]["domain"], f"'tasks.{name}.{key}.domain'"
        if domain not in domains:
            raise ConfigError(
                f"config: {where} names '{short(domain)}'; {nearest(domain, domains)} Or add it under "
                "references.domains of a world."
            )
        size = world["sources"][task["source"]]["resolution"]
        if domains[domain]["resolution"] != size:
            raise ConfigError(
                f"config: {where} is '{domain}' of {domains[domain]['resolution']} px, but the "
                f"source '{task['source']}' makes {size} px; give the domain that size."
            )
        check_count(name, key, task[key], world, root)
        most = world["references"].get("draws", {}).get("most")
        if most and "source" not in domains[domain] and task[key]["count"] > most:
            raise ConfigError(
                f"config: 'tasks.{name}.{key}.count' is {task[key]['count']}, but "
                f"{domains[domain]['module']} draws at most {most} images of a domain."
            )
    if task.get("zero_shot") and HELD_OUT not in world:
        raise ConfigError(
            f"config: 'tasks.{name}.zero_shot' needs a CLIP that steers nothing, but the world '{world['name']}' "
            f"names none; give its world.yaml the key '{HELD_OUT}', or set this key to null."
        )
    if "target_class" in task and "target_style" in task:
        raise ConfigError(
            f"config: 'tasks.{name}' names two things for the judge to see; leave out either the key "
            "'target_class' or the key 'target_style'."
        )


def _check_conditions(groups, config, world, root) -> None:
    """Refuse missing weights, and layers or CLIP inputs that do not fit the source model of a task."""
    shown = [condition for group in groups for condition in members(group, config)]
    smallest = {}  # (method, variant) -> pixels of the smallest source model that it adapts
    for condition in with_parents(shown, config):
        size = world["sources"][config["tasks"][condition.task]["source"]]["resolution"]
        key = condition.method, condition.variant
        smallest[key] = min(size, smallest.get(key, size))
    for (method, variant), size in smallest.items():
        entry = config["methods"][method]
        change = entry["variants"][variant].get("hyperparameters", {})
        hparams = merge(entry["hyperparameters"], change)
        who = f"variant '{variant}' of method '{method}'"
        if hparams.get("weights") and not Path(root, hparams["weights"]).exists():
            raise ConfigError(
                f"config: 'methods.{method}.variants.{variant}': the checkpoint "
                f"{hparams['weights']} is missing; correct the path, or put it there."
            )
        check_layers(hparams, size, who)
        check_clip_input(hparams, size, who)


def check_layers(hparams, size, who) -> None:
    """Refuse layers that a generator of this resolution does not have, if `hparams` has layers."""
    layers = hparams.get("layers")
    if not isinstance(layers, dict):
        return
    count = convolutions(size)
    has = f"but the {size}x{size} generator has {count}"
    # Table 3 counts W+ slots, one more than convolutions; the maximum of both means all layers
    if layers.get("policy") == "adaptive" and not 1 <= layers.get("k", 1) <= count + 1:
        raise ConfigError(
            f"config: {who}: k={layers['k']} layers asked, {has}; set layers.k to 1..{count}."
        )
    manual = layers.get("manual", [])
    if isinstance(manual, str) or layers.get("policy") != "manual":
        return
    if not manual:
        raise ConfigError(
            f"config: {who}: layers.manual is empty; list layers from 0 to {count - 1}."
        )
    for layer in manual:
        if layer >= count:
            raise ConfigError(
                f"config: {who}: layer {layer} asked, {has}; list layers from 0 to {count - 1}."
            )


def check_clip_input(hparams, size, who) -> None:
    """Refuse the mapper's official CLIP input for a resolution that it cannot pool."""
    mapper = hparams.get("mapper") or {}
    if mapper.get("clip_input") == "official" and size % POOL_UNIT:
        raise ConfigError(
            f"config: {who}: mapper.clip_input is 'official', which needs images of a multiple of "
            f"{POOL_UNIT} pixels, but the generator makes {size}x{size}; set it to 'clip'."
        )


def _check_shown(name, group, config) -> None:
    """Refuse comparisons with models that a group does not show, and more images than a task has."""
    rows, at = rows_of(group), f"groups.{name}"
    for pairs in group.get("against", []):
        _check_pairs(pairs, rows, f"'{at}.against'")
    if "preference" in group:
        model = group["preference"]
        shows = {
            (row["method"], variant, shots)
            for row in rows
            if DEFAULT_WARM_START in row["warm_starts"]
            for variant in row["variants"]
            for shots in row["shots"]
        }
        if (model["method"], model["variant"], model.get("shots", DEFAULT_SHOTS)) not in shows:
            raise ConfigError(
                f"config: '{at}.preference' names a model that the group does not show."
            )
    for task in group["tasks"]:
        images = images_to_train_on(config["tasks"][task]) or NO_IMAGES
        shown = on_task([*rows, *controls(group)], task)
        most = max((shots for row in shown for shots in row["shots"]), default=0)
        if most > images["count"]:
            raise ConfigError(
                f"config: '{at}' asks for {most} images (shots), but task "
                f"'{task}' has {images['count']} of '{images['domain']}' to train on."
            )
    if group["grid"]["rows"] > config["evaluation"]["gallery_images"]:
        raise ConfigError(
            f"config: '{at}.grid.rows' is {group['grid']['rows']}, more than the "
            f"{config['evaluation']['gallery_images']} of 'evaluation.gallery_images'."
        )


def _check_pairs(pairs, rows, where) -> None:
    """Refuse an entry of `against` with an ambiguous method, or with variants that the rows do not show."""
    shown = list(dict.fromkeys(row["method"] for row in rows))
    if "method" in pairs:
        known_name(pairs["method"], shown, where)
    elif len(shown) > 1:
        raise ConfigError(
            f"config: {where} compares with '{pairs['baseline']}', but the group shows variants of "
            f"{', '.join(shown)}; give the entry a 'method'."
        )
    method = pairs.get("method", shown[0])
    variants = [v for row in rows if row["method"] == method for v in row["variants"]]
    for variant in (pairs["baseline"], *pairs["variants"]):
        known_name(variant, variants, where)


def _check_evaluation(config, tasks) -> None:
    """Refuse counts of images that do not fit together. tasks: names of the used tasks."""
    evaluation = config["evaluation"]
    if evaluation["k_medoids"] >= evaluation["diversity_images"]:
        raise ConfigError(
            f"config: 'evaluation.k_medoids' is {evaluation['k_medoids']}, too many clusters for the "
            f"{evaluation['diversity_images']} images of 'evaluation.diversity_images': a cluster of "
            "one image has no diversity."
        )
    for name in tasks:
        references = config["tasks"][name].get("references")
        measured = references and references["count"] >= LEAST_REAL
        half = references["count"] // 2 if measured else None
        if half is not None and evaluation["k_medoids"] >= half:
            raise ConfigError(
                f"config: 'evaluation.k_medoids' is {evaluation['k_medoids']}, too many clusters for "
                f"the {half} images that are half of 'tasks.{name}.references'."
            )
    for key in ("diversity_images", "gallery_images", "snapshot_images"):
        if evaluation[key] > evaluation["fid_images"]:
            raise ConfigError(
                f"config: 'evaluation.{key}' is {evaluation[key]}, more than the "
                f"{evaluation['fid_images']} images of 'evaluation.fid_images'."
            )
