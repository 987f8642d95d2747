"""Tasks that a world.yaml declares: their defaults, and the groups with `tasks: own` that show them.

Such a world needs no config.yaml. Rows for which a task has no images are left out. Needs no torch.
"""

from pathlib import Path

from nada.run.errors import UserError
from workflow.plan.checking import ConfigError, merge
from workflow.plan.groups import OWN
from workflow.plan.runs import images_to_train_on

ROLE = "test"
EVERY = "all"  # in place of a number of shots: every image that the task has to train on
IMAGES = ("references", "few_shot")  # keys of a task that name images of a domain
HEADERS = 1000  # images of a set whose sizes are read before anything starts


def brought(world, content, file, taken):
    """What a world.yaml changes in config.yaml; nothing if it declares no tasks.

    world: the name of the world that is loaded. content: the content of its file, or of the file of a
    world that it is `like`. taken: names of the tasks in config.yaml; ConfigError if a task has one of them.
    """
    tasks = content.get("tasks")
    if not tasks or not isinstance(tasks, dict):
        return {}
    for name in tasks:
        if name in taken:
            raise ConfigError(f"{file}: config.yaml has a task '{name}' already; choose another name.")
    tasks = {name: _with_domains(task) if isinstance(task, dict) else task for name, task in tasks.items()}
    return {"results": f"results/{world}", "show": [OWN], "tasks": tasks}


def _with_domains(task):
    """A task with {domain} instead of a domain's name, so that other files can add keys to it."""
    return {k: {"domain": v} if k in IMAGES and isinstance(v, str) else v for k, v in task.items()}


# ---- tasks ------------------------------------------------------------------------------------------


def completed(tasks, evaluation, world, root):
    """Tasks with every key that has a default: `role`, images as {domain, count}.

    evaluation: that of config.yaml. A missing count becomes the number of images of the domain, at
    most `fid_images`. A task whose domain does not exist is refused later, where it is used. Raises
    ConfigError if the number is unknown because the images have not been fetched.
    """
    done = {}
    for name, task in tasks.items():
        task = _with_domains({"role": ROLE, **task})
        for key in IMAGES:
            images = task.get(key)
            if images and "count" not in images:
                where = f"'tasks.{name}.{key}'"
                most = evaluation["fid_images"]
                images = {**images, "count": _count(images["domain"], world, root, most, where)}
            if key in task:
                task[key] = images
        done[name] = task
    return done


def _count(domain, world, root, most, where):
    """The number of images of a domain, at most `most`; `where` is the key for error messages."""
    images = world["references"]["domains"].get(domain)
    if images is None:  # config_checks says which there are
        return most
    if "source" not in images:
        return min(most, world["references"].get("draws", {}).get("most", most))
    path = images["source"]
    if any(Path(path).is_relative_to(asset) for asset in world["fetched"]):
        raise ConfigError(
            f"config: {where} gives no 'count', and the images of '{domain}' are not there before they "
            "are fetched; say how many are used."
        )
    if not Path(root, path).exists():  # workflow.plan.world.check_files refuses it where it is used
        return most
    return min(most, counted(path, images, domain, root))


def check_count(task, key, images, world, root) -> None:
    """Refuse a count above the number of images that exist. images: {domain, count}, the task's entry `key`."""
    domain = world["references"]["domains"][images["domain"]]
    path = domain.get("source")
    fetched = path and any(Path(path).is_relative_to(asset) for asset in world["fetched"])
    if path is None or fetched or not Path(root, path).exists():
        return
    there = counted(path, domain, images["domain"], root)
    if images["count"] > there:
        raise ConfigError(
            f"config: 'tasks.{task}.{key}.count' is {images['count']}, but {path} holds {there} images; "
            "leave the count out to use all."
        )


def counted(path, images, domain, root):
    """The number of images in a folder, zip or LMDB; none is decoded.

    images: the domain's entry of world.yaml. Raises ConfigError if there are none, or if an image of a
    set of up to HEADERS images is smaller than the domain's resolution.
    """
    from nada.images.containers import open_source
    from nada.images.selection import selected

    split = images.get("split")
    try:
        source = open_source(Path(root, path))
        names, _, _ = selected(source, images["resolution"], [split] if split else None, 0, None)
    except UserError as error:
        raise ConfigError(f"the domain '{domain}': {error}") from None
    if len(names) <= HEADERS:
        _check_sizes(path, source, names, images, domain)
    return len(names)


def _check_sizes(path, source, names, images, domain):
    """Refuse images that are too small; the job that decodes the images reports unreadable ones."""
    import io

    from PIL import Image

    from nada.images.files import DECODERS, Unusable

    wanted, small = images["resolution"], []
    with source.reading() as read:
        for name in names:
            try:
                size = Image.open(io.BytesIO(read(name)), formats=DECODERS).size
            except (Unusable, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
                continue
            if min(size) < wanted:
                small.append(f"{name} ({size[0]}x{size[1]})")
    if small:
        of = f"{len(small)} of {len(names)} images of the domain '{domain}' are smaller"
        raise ConfigError(
            f"{path}: {of} than {wanted} px, such as {small[0]}; take them out, or put larger ones there."
        )


# ---- groups -----------------------------------------------------------------------------------------


def with_own_tasks(config, world):
    """The groups of the configuration; groups with `tasks: own` show the tasks that the world declares.

    These groups keep the rows for which the tasks have images. If the world declares no tasks, they are
    removed; ConfigError if one of them is shown. `all` in `shots` becomes the number of a task's images.
    """
    own = list(world.get("tasks", ()))
    groups = {}
    for name, group in config["groups"].items():
        mine = group.get("tasks") == OWN
        if mine and not own:
            if name in config["show"]:
                raise ConfigError(
                    f"config: 'groups.{name}' shows the tasks of the world itself, but '{world['name']}' "
                    "declares none; give its world.yaml the key 'tasks'."
                )
            continue
        group = merge(group, {"tasks": own}) if mine else group
        tasks = [task for task in group.get("tasks", ()) if task in config["tasks"]]
        images = {task: images_of(config["tasks"][task]) for task in tasks}
        fitted = {
            key: [entry for row in group[key] for entry in _fitted(row, images, mine, f"groups.{name}.{key}")]
            for key in ("rows", "controls")
            if isinstance(group.get(key), list)
        }
        groups[name] = {**group, **fitted}
    return groups


def images_of(task):
    """How many images a task has to train on; 0 if it has only a text."""
    images = images_to_train_on(task)
    return images["count"] if images else 0


def _fitted(row, images, leave_out, where):
    """A row or control with numbers instead of `all`, split where tasks have different numbers of images.

    images: task -> how many it has to train on. leave_out: whether shots without enough images are left
    out; otherwise `config_checks` refuses them.
    """
    shots = row.get("shots") if isinstance(row, dict) else None
    if shots is None or not (leave_out or EVERY in shots):
        return [row]
    shared = {}  # shots -> the tasks that have them
    for task in row.get("tasks", images):
        has = images.get(task, 0)
        if EVERY in shots and not has and not leave_out:
            raise ConfigError(
                f"config: '{where}' asks for all images (shots) of task '{task}', which has none to train on."
            )
        numbers = [has if number == EVERY else number for number in shots]
        kept = tuple(dict.fromkeys(n for n in numbers if n <= has or not leave_out))
        kept = tuple(n for n in kept if n or 0 in shots)
        if kept:
            shared.setdefault(kept, []).append(task)
    everywhere = len(shared) == 1 and "tasks" not in row and len(next(iter(shared.values()))) == len(images)
    return [{**row, "shots": list(n), **({} if everywhere else {"tasks": t})} for n, t in shared.items()]
