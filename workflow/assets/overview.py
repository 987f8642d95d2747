"""What a folder of assets holds, as a table; and the licences of a world's assets, as a page."""

from pathlib import Path

from workflow.assets.archives import first_lost, is_unpacked
from workflow.assets.asset_registry import Asset, Registry
from workflow.assets.download import Part, megabytes
from workflow.assets.fetch import by_hand, is_there, left_alone
from workflow.assets.verify import examine, read_pins


def state_of(asset: Asset, into: Path, pins: dict[str, str]) -> tuple[str, str]:
    """(state, sentence): ("present", ""), or a state with what to do; hashes the file."""
    path, folder = into / asset.file, into / asset.folder
    if path.is_file():
        if fault := examine(asset, path, pins.get(asset.name)).fault:
            return "damaged", left_alone(asset, path, fault)
        if asset.unpack and folder.is_dir() and (lost := first_lost(path, folder)):
            what = f"{asset.name}: {lost} is missing or has another size than in {path}"
            return "damaged", f"{what}; remove {folder} to have it unpacked again."
        if asset.unpack and not is_unpacked(folder):
            what = f"{asset.name}: {path} is not unpacked"
            return (
                "present, not unpacked",
                f"{what}; run: python -m workflow.assets fetch {asset.name}",
            )
        return "present", ""
    if is_there(asset, into):
        return "present, unpacked by hand", ""
    word, part = "missing" if asset.urls else "missing, by hand", Part(path).path
    if part.is_file():
        word = f"missing, {megabytes(part.stat().st_size)} fetched"
    return word, by_hand(asset, path, f"{path} is missing")


def size_of(asset: Asset) -> str:
    """The size in MB, exact, approximate, or `?`."""
    if asset.bytes:
        return megabytes(asset.bytes)
    return f"about {megabytes(asset.about)}" if asset.about else "?"


def table(registry: Registry, into: Path) -> str:
    """One line per asset: name, state, size, licence, what needs it, purpose."""
    from tabulate import tabulate

    pins = read_pins(into)
    rows = [
        [
            asset.name,
            state_of(asset, into, pins)[0],
            size_of(asset),
            registry.licences[asset.licence].name,
            ", ".join(asset.needed_by),
            asset.purpose,
        ]
        for asset in registry.assets.values()
    ]
    headers = ["name", "state", "size", "licence", "needed by", "purpose"]
    return tabulate(rows, headers, "simple", disable_numparse=True)


LICENCES_HEAD = """\
The models and data sets of this benchmark, in the form of the paper's Tables 4 and 5; written by
`python -m workflow.assets licences`. The benchmark's own licence does not cover them, and this page
is not legal advice.
"""


def licences_title(registry: Registry) -> str:
    return f"# Licences of the models and data of world '{registry.world}'"


def licences_page(registry: Registry) -> str:
    """Markdown: models and data sets with sources and licences, as in the paper's Tables 4 and 5."""
    parts = [f"{licences_title(registry)}\n", LICENCES_HEAD]
    for kind, heading in (("model", "Models (Table 4)"), ("data", "Data sets (Table 5)")):
        parts.append(f"## {heading}\n")
        parts.append("| name | the paper's row | source | licence | consent | used for |")
        parts.append("|---|---|---|---|---|---|")
        for asset in registry.assets.values():
            if asset.kind != kind:
                continue
            licence = registry.licences[asset.licence]
            consent = "required" if licence.consent else "not required"
            parts.append(
                f"| {asset.title} | {asset.paper or '–'} | <{asset.source}> | "
                f"[{licence.name}]({licence.url}) | {consent} | {asset.purpose} |"
            )
        parts.append("")
    notes = [f"- {asset.title}: {asset.note}" for asset in registry.assets.values() if asset.note]
    return "\n".join([*parts, "## Notes\n", *dict.fromkeys(notes), ""])
