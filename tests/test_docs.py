"""README.md and docs/: commands are accepted as they stand there, and links lead somewhere.

The lines of README.md and the quick start are typed into a shell as dry runs. Those of the other pages are given
to the same code without starting Snakemake, and those of other commands to the command's own help.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from workflow import cli
from workflow.plan.targets import check_targets

ROOT = Path(__file__).resolve().parent.parent
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]
}
TYPED_PAGES = ("README.md", "docs/quick-start.md")
FENCE = re.compile(r"^```\w*\n(.*?)^```$", re.DOTALL | re.MULTILINE)
WORLDS = re.compile(r"^```yaml\n# (workflow/worlds/\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def lines(page):
    """The lines of a page's fenced blocks without their comments, and what its sentences have in backticks."""
    blocks = [line.split(" #")[0].strip() for block in FENCE.findall(PAGES[page]) for line in block.splitlines()]
    return [*blocks, *(" ".join(code.split()) for code in re.findall("`([^`]+)`", FENCE.sub("", PAGES[page])))]


def commands(pages, start):
    """{page: what follows `start` in each command line that begins with it}; lines that name a variable first too."""
    pattern = re.compile(rf"^(?:[A-Z_]+=\S+ )*{start} (.*)")
    return [(page, m[1]) for page in pages for line in lines(page) if (m := pattern.match(line))]


SNAKEMAKE = commands(PAGES, "snakemake")
TYPED = list(dict.fromkeys(typed for page, typed in SNAKEMAKE if page in TYPED_PAGES))
#: Lines that need a file which the page tells its reader to write: the tests that try them.
ELSEWHERE = {
    "seed_histogram": "the example of docs/add-a-figure.md",
    "snakemake mine": "tests/workflow/plan/test_configuration_page.py",
    "my_method": "tests/baselines/test_add_a_method.py",
    "world=mine": "tests/workflow/plan/test_own_tasks.py, test_configuration_page.py",
    "answers=answers.csv": "tests/workflow/plan/test_study.py",
}
PARSED = [
    (page, typed)
    for page, typed in dict.fromkeys(SNAKEMAKE)
    if typed not in (*TYPED, "--version") and not any(part in f"snakemake {typed}" for part in ELSEWHERE)
]
OTHERS = ("pytest", "http.server", "snakemake", "seed_histogram", "package.module", "…")
PYTHON = sorted({typed for _, typed in commands(PAGES, "python -m") if not any(part in typed for part in OTHERS)})


def test_the_readme_shows_the_cards_command_in_both_spellings():
    assert "all --cores 8 --resources gpu=1" in TYPED
    assert "--cores 8 --resources gpu=1 all" in TYPED


@pytest.mark.parametrize("typed", TYPED)
def test_every_snakemake_line_of_the_first_pages_is_accepted_as_typed(typed, snakemake):
    done = snakemake(*shlex.split(typed), "-n", "--quiet", "--nolock", entry=True)
    assert done.returncode == 0, done.stdout[-2000:]
    world = re.search(r"world=(\w+)", typed)
    assert f"world '{world[1] if world else 'mini'}'" in done.stdout


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A folder with the project's files, and the worlds that the pages tell their reader to write."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("baselines", "eval", "config.yaml", "claims.yaml"):
        (folder / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "workflow/worlds", folder / "workflow/worlds")
    (folder / "workflow/presets").symlink_to(ROOT / "workflow/presets")
    for page in ("docs/add-a-domain.md", "docs/add-a-world.md"):
        found = WORLDS.findall(PAGES[page])
        assert len(found) == PAGES[page].count("```yaml")
        for file, content in found:
            (folder / file).parent.mkdir(exist_ok=True)
            (folder / file).write_text(content)
    return folder


@pytest.mark.parametrize(("page", "typed"), PARSED)
def test_every_snakemake_line_of_the_other_pages_is_planned(page, typed, project, monkeypatch):
    monkeypatch.chdir(project)
    monkeypatch.setattr(cli, "refuse_another_clone", lambda _: None)
    argv = cli.understood(shlex.split(typed))
    plan = cli.plan_of(argv)
    check_targets(plan, cli.get_argument_parser().parse_args(argv).targets)


def test_the_domains_and_worlds_of_the_pages_show_what_the_pages_say(project, monkeypatch):
    monkeypatch.chdir(project)
    lions = cli.plan_of(["--config", "world=lions"])
    assert (lions.shown, lions.results) == (["own"], "results/lions")
    names = [condition.name for condition in lions.members("own")]
    assert {"nada-adaptive", "tgan-plain-10shot", "tgan-plain-1000shot"} <= set(names)
    rabbits = cli.plan_of(["--config", "world=rabbits"])
    assert [c.name for c in rabbits.members("own")] == ["source-unchanged", "nada-adaptive", "nada-mapper"]
    small = cli.plan_of(["--config", "world=small"])
    assert [clip["name"] for clip in small.world["clips"]] == ["a"] and "judge" not in small.world
    assert small.results == "results/small"


@pytest.fixture(scope="module")
def helps():
    """{command: its help}, each called once."""
    return {}


@pytest.mark.parametrize("typed", PYTHON)
def test_every_option_of_a_python_command_is_in_its_help(typed, helps):
    """`A | B` in a line stands for several commands or words in one place."""
    words = re.sub(r"[\[\]…]", " ", re.split(r"\s*[>;&] ", typed)[0]).split()
    modules = [word for word in words if re.match(r"(nada|baselines|eval|workflow)\.", word)]
    assert modules and words[0] == modules[0]
    for module in modules:
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), module
    options = {word for word in words if word.startswith("--")}
    if not options:
        return
    inner = [word for word in words[1:2] if re.fullmatch("[a-z]+", word)]
    command = (modules[0], *inner)
    if command not in helps:
        call = [sys.executable, "-m", *command, "--help"]
        environ = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
        done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=False, env=environ)
        assert done.returncode == 0, done.stderr[-500:]
        helps[command] = done.stdout
    assert [option for option in options if not re.search(rf"{option}\b", helps[command])] == []


def test_every_make_target_of_the_pages_exists():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = {n for text in PAGES.values() for n in re.findall(r"(?:^|`)make ([a-z]+)", text, re.MULTILINE)}
    assert {"install", "check", "docs"} <= named
    assert [name for name in named if not re.search(rf"^{name}:", makefile, re.MULTILINE)] == []


def anchors(text):
    """The anchors of a page's headings, as GitHub and the site make them."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_every_relative_link_of_a_page_leads_to_a_file_and_its_heading(page):
    text = FENCE.sub("", PAGES[page])
    for link, anchor in re.findall(r"\]\(([^)#:\s]*)(?:#([^)\s]*))?\)", text):
        target = (ROOT / page).parent / link if link else ROOT / page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), f"{link}#{anchor}"


def test_every_page_is_in_the_sites_menu_once():
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    menu = re.findall(r": ([\w-]+\.md)$", text, re.MULTILINE)
    assert sorted(menu) == sorted(["index.md", *(Path(page).name for page in PAGES if page != "README.md")])


def test_every_file_that_a_page_names_in_backticks_exists():
    """Paths below the packages, without wildcards or placeholders."""
    pattern = re.compile(r"`((?:nada|baselines|eval|workflow|tests|profiles)/[\w/.]+\.(?:py|yaml|smk|md|csv|html))`")
    made_by_reader = ("/my_method.py", "/mine/", "/mine_clip/", "colourfulness.py", "seed_histogram.py")
    missing = {
        (page, path)
        for page, text in PAGES.items()
        for path in pattern.findall(text)
        if not (ROOT / path).exists() and not any(part in path for part in made_by_reader)
    }
    assert missing == set()


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path):
    """In strict mode a link that leads nowhere is an error."""
    python = ROOT / ".venv-docs/bin/python"
    if not python.is_file():
        pytest.skip("the site's environment is missing: make docs")
    call = [str(python), "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    environ = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=False, env=environ)
    assert done.returncode == 0, done.stderr[-2000:]
    pages = {path.name for path in (tmp_path / "site").glob("*.html")}
    assert {"index.html", "quick-start.html", "method.html"} <= pages
    method = (tmp_path / "site/method.html").read_text(encoding="utf-8")
    assert 'href="source/nada/losses.py.html"' in method
    assert "fonts.googleapis" not in method


def test_add_a_metric_adds_its_column_to_those_that_the_table_has(root):
    page = (root / "docs/add-a-metric.md").read_text()
    blocks = re.findall(r"^```yaml\n(groups:.*?)^```$", page, re.MULTILINE | re.DOTALL)
    shown = [yaml.safe_load(block)["groups"]["ablation"]["table"] for block in blocks]
    config = yaml.safe_load((root / "config.yaml").read_text())
    assert shown == [[*config["groups"]["ablation"]["table"], "colourfulness"]]
