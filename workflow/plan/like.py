"""Resolve `like`: an entry takes over another entry of its mapping, for variants, groups and worlds."""

from workflow.plan.checking import ConfigError, known_name, merge


def chain(name, entry_of, known, where):
    """Names of an entry and of the entries that it is `like`, itself first.

    entry_of(name): the entry, a mapping. known: all names. where(name): the key `like` of an entry in
    messages. Raises ConfigError for a name that does not exist, or a circle.
    """
    names = [name]
    while model := entry_of(names[-1]).get("like"):
        at = where(names[-1])
        known_name(model, known, at)
        if model in names:
            raise ConfigError(
                f"config: {at} makes a circle: {' -> '.join([*names, model])}; break it."
            )
        names.append(model)
    return names


def laid_over(entries):
    """Merge a chain of entries into one; earlier entries override later ones."""
    whole = {}
    for entry in reversed(entries):
        whole = merge(whole, entry)
    return {key: value for key, value in whole.items() if key != "like"}


def resolved(entries, where):
    """Every entry of a mapping with `like` resolved; `where` is the mapping's name in messages."""

    def whole(name):
        names = chain(name, entries.get, entries, lambda entry: f"'{where}.{entry}.like'")
        return laid_over([entries[model] for model in names])

    return {name: whole(name) for name in entries}
