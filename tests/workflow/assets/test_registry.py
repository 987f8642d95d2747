"""The registry of the paper's world is complete and consistent."""

import re
from dataclasses import fields

import pytest
import yaml

from workflow.assets import command
from workflow.assets.asset_registry import WORLDS, Asset, load_registry

PAPER = WORLDS / "paper" / "assets.yaml"
REGISTRY = load_registry("paper")
EVERY = pytest.mark.parametrize("asset", REGISTRY.assets.values(), ids=lambda asset: asset.name)


def test_names_in_the_registry_are_unique():
    def check(node, where="assets.yaml"):
        if isinstance(node, yaml.MappingNode):
            keys = [key.value for key, _ in node.value]
            assert len(keys) == len(set(keys)), f"{where}: {keys}"
            for key, value in node.value:
                check(value, f"{where}.{key.value}")

    check(yaml.compose(PAPER.read_text(encoding="utf-8")))
    files = [asset.file for asset in REGISTRY.assets.values()]
    folders = [asset.folder for asset in REGISTRY.assets.values() if asset.unpack]
    assert len({*files, *folders}) == len(files) + len(folders)


@EVERY
def test_every_entry_of_the_registry_has_all_keys_with_valid_values(asset):
    entry = yaml.safe_load(PAPER.read_text(encoding="utf-8"))["assets"][asset.name]
    assert set(entry) == {field.name for field in fields(Asset)} - {"name"}
    assert re.fullmatch(r"[a-z0-9_]+", asset.name) and asset.kind in ("model", "data")
    assert asset.title and asset.purpose and asset.needed_by and asset.licence in REGISTRY.licences
    for url in asset.urls:
        assert re.fullmatch(r"gd:[\w-]{20,}|https://[^\s]+", url)
    assert asset.source.startswith("https://")
    assert asset.sha256 is None or re.fullmatch(r"[0-9a-f]{64}", asset.sha256)
    assert asset.md5 is None or re.fullmatch(r"[0-9a-f]{32}", asset.md5)
    hashed = asset.sha256 or asset.md5
    assert asset.confidence in (("published", "mirror", "doubtful") if hashed else (None,))
    assert not (asset.bytes and asset.about)


def test_hashes_in_addresses_are_those_of_the_registry():
    found = 0
    for asset in REGISTRY.assets.values():
        for digits in re.findall(r"\b[0-9a-f]{8}\b(?=\.pth)|[0-9a-f]{64}", "".join(asset.urls)):
            assert asset.sha256.startswith(digits)
            found += 1
    assert found == 4  # two CLIPs, pytorch-fid's Inception, VGG16


def test_non_commercial_licences_ask_for_consent_and_every_licence_has_a_page():
    asked = {key for key, licence in REGISTRY.licences.items() if licence.consent}
    for licence in REGISTRY.licences.values():
        assert licence.name and licence.url.startswith("https://")
    non_commercial = {k for k, v in REGISTRY.licences.items() if re.search(r"NC|non-comm", v.name)}
    assert asked == non_commercial
    used = {asset.licence for asset in REGISTRY.assets.values()}
    assert used == set(REGISTRY.licences)


def test_the_default_selection_can_be_fetched_without_a_person():
    chosen = REGISTRY.chosen(REGISTRY.default)
    assert {role for asset in chosen for role in asset.needed_by} == set(REGISTRY.default)
    assert all(asset.urls for asset in chosen)  # nothing by default that only a person can get


def test_the_licences_page_lists_every_asset_with_source_and_licence(tmp_path):
    out = tmp_path / "licences.md"
    assert command.main(["licences", "--out", str(out)]) == 0
    text = out.read_text(encoding="utf-8")
    models, data = text.split("## Data sets (Table 5)")
    for asset in REGISTRY.assets.values():
        licence = REGISTRY.licences[asset.licence]
        part = models if asset.kind == "model" else data
        row = next(line for line in part.splitlines() if line.startswith(f"| {asset.title} |"))
        assert f"[{licence.name}]({licence.url})" in row and f"<{asset.source}>" in row
        assert row.count("|") == 7
        assert asset.note in text
    tables = {"StyleGAN2", "StyleGAN-ADA", "StyleGAN2-pytorch", "CLIP", "FFHQ", "AFHQ", "Sketches"}
    assert tables == {asset.paper for asset in REGISTRY.assets.values()} - {None}
