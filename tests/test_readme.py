"""The README's commands plan what they say, and its links lead somewhere."""

import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```\w*\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
TYPED = [
    line.split("#")[0].split("snakemake ", 1)[1].strip()
    for block in BLOCKS
    for line in block.splitlines()
    if line.startswith("snakemake ")
]


def test_the_readme_shows_the_cards_command_in_both_spellings():
    assert "all --cores 8 --resources gpu=1" in TYPED
    assert "--cores 8 --resources gpu=1 all" in TYPED


@pytest.mark.parametrize("typed", TYPED)
def test_every_snakemake_line_of_the_readme_is_accepted_as_typed(typed, snakemake):
    done = snakemake(*shlex.split(typed), "-n", "--quiet", "--nolock", entry=True)
    assert done.returncode == 0, done.stdout[-2000:]
    world = re.search(r"world=(\w+)", typed)
    assert f"world '{world[1] if world else 'mini'}'" in done.stdout


def test_every_make_target_of_the_readme_exists():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = set(re.findall(r"(?:^|`)make (\w+)", README, re.MULTILINE))
    assert named and all(re.search(rf"^{name}:", makefile, re.MULTILINE) for name in named)


def test_every_relative_link_of_the_readme_exists():
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert links and [link for link in links if not (ROOT / link).exists()] == []
