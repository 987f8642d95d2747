"""docs/departures.md: every switch that it names exists, every licence is the one that is declared."""

import re
from pathlib import Path

import pytest
import yaml

from baselines import registry
from nada.run.hyperparameters import read_hyperparameters

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/departures.md").read_text(encoding="utf-8")
COLUMNS = ["what", "paper", "public code", "default here", "switch"]


def sections() -> dict[str, str]:
    """{heading: text} of the page's parts."""
    parts = re.split(r"^## (.+)$", PAGE, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def rows(text: str) -> list[list[str]]:
    """The cells of a section's table, header first."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in cells if not set("".join(row)) <= set("-: ")]


# heading → (method, rows) of the parts that are about one
OF_METHODS = {
    heading: (match[1], rows(text))
    for heading, text in sections().items()
    if (match := re.search(r"\(`(\w+)`\)$", heading))
}


def nested(name: str, value) -> dict:
    """{"a": {"b": value}} of the name a.b."""
    for key in reversed(name.split(".")):
        value = {key: value}
    return value


def test_every_method_that_trains_has_a_section():
    found = {method for method, _ in OF_METHODS.values()}
    assert {"tgan", "tgan_ada", "freezed", "finetune_gd"} <= found <= set(registry.methods())


def test_what_nada_does_otherwise_than_printed_is_listed_where_no_switch_turns_it():
    """Conflicts of paper and public code that every run takes a side in: Eq. 1-3, ΔT, the batch."""
    header, *listed = rows(sections()["StyleGAN-NADA"].split("Departures without a switch:")[1])
    assert header == ["what", "paper", "public code", "here", "why"]
    assert {"embeddings in Eq. 1 to 3", "prompts of ΔT", "batch"} <= {row[0] for row in listed}
    assert all(len(row) == len(header) and all(row) for row in listed)


@pytest.mark.parametrize("heading", OF_METHODS)
def test_every_departure_has_a_switch_that_exists_or_a_reason_for_none(heading):
    method, (header, *departures) = OF_METHODS[heading]
    assert header == COLUMNS and departures
    for row in departures:
        assert len(row) == len(COLUMNS) and all(row), row
        switch = row[-1]
        if switch.startswith("none: "):
            continue
        match = re.match(r"`([\w.]+): ([^`]+)`", switch)
        assert match, f"{row[0]}: neither a switch nor a reason: {switch}"
        values = nested(match[1], yaml.safe_load(match[2]))
        read_hyperparameters(registry.load(method).METHOD.hyperparameters, values, heading)  # UserError for one that is not


def test_the_switches_of_few_shot_training_are_not_the_defaults():
    defaults = registry.load("tgan_ada").METHOD.hyperparameters()
    for name, value in (("sampling", "replacement"), ("ada_warp", "official"), ("ada_p_limit", "official")):  # fmt: skip
        assert f"`{name}: {value}`" in PAGE
        assert getattr(defaults, name) != value


def test_the_page_and_the_declarations_name_the_same_licences():
    header, *table = rows(sections()["Licences of the originals"])
    assert header == ["method", "licence of the authors' public code", "repository"]
    listed = {row[0].strip("`"): row[1] for row in table}
    assert listed == {name: method.licence for name, method in registry.methods().items()}


def test_licences_have_the_names_that_the_asset_registry_gives_them():
    assets = yaml.safe_load((ROOT / "workflow/worlds/paper/assets.yaml").read_text())
    names = {key: entry["name"] for key, entry in assets["licences"].items()}
    licence = {name: method.licence for name, method in registry.methods().items()}
    assert licence["tgan_ada"] == names["nvidia-ada"]
    assert licence["ojha"] == names["adobe-research"]
    assert licence["minegan"] == names["mit"]
    assert licence["nada"].startswith(names["mit"])
    assert licence["tgan"] == licence["freezed"] == "no licence file"
    assert licence["finetune_gd"] == "no public code"
    ours = {name for name, text in licence.items() if text == "this project's MIT"}
    assert ours == {"source", "replay", "checkpoint"}
