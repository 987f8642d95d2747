"""The code digest follows imports and ignores words: comments, docstrings and layout."""

import subprocess
import sys

import pytest

from workflow.plan import code_digest


@pytest.fixture
def package(tmp_path):
    """nada.a imports nada.b inside a function; nada.c is imported by no one."""
    folder = tmp_path / "nada"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "a.py").write_text(
        '"""A."""\n\n\ndef f():\n    from nada import b\n\n    return b.x\n'
    )
    (folder / "b.py").write_text("import math\n\nfrom .deep.d import y\n\nx = math.pi + y\n")
    (folder / "c.py").write_text("z = 1\n")
    (folder / "deep").mkdir()
    (folder / "deep" / "__init__.py").write_text("")
    (folder / "deep" / "d.py").write_text("y = 1\n")
    return tmp_path


def test_the_closure_follows_imports_inside_functions_and_relative_ones(package):
    names = set(code_digest.closure("nada.a", root=package))
    assert names == {"nada", "nada.a", "nada.b", "nada.deep", "nada.deep.d"}


@pytest.mark.parametrize(
    ("file", "text", "changes"),
    [
        (
            "a.py",
            "# a comment\ndef f():\n    'Other.'\n    from nada import b\n    return b.x\n",
            False,
        ),
        ("a.py", '"""A."""\n\n\ndef f():\n    from nada import b\n\n    return b.x + 1\n', True),
        ("deep/d.py", "y = 2\n", True),
        ("deep/d.py", "y = (1)  # the same\n", False),
        ("deep/__init__.py", "import sys\n", True),
        ("c.py", "z = 2\n", False),
    ],
)
def test_the_digest_changes_with_code_that_is_imported_and_with_nothing_else(
    package, file, text, changes
):
    before = code_digest.digest("nada.a", root=package)
    (package / "nada" / file).write_text(text)
    assert (code_digest.digest("nada.a", root=package) != before) == changes


RAISING = """
def f(x):
    if x > {limit}:
        raise ValueError({said}, x{key}) from None
"""


@pytest.mark.parametrize(
    ("change", "changes"),
    [
        ({"said": "'too large'"}, False),
        ({"said": "f'{x} is' f' too large'"}, False),
        ({"key": ", hint='smaller'"}, False),
        ({"said": "x + 1"}, True),
        ({"limit": 4}, True),
    ],
)
def test_the_text_of_a_raised_error_is_not_part_of_the_digest(package, change, changes):
    def digest(**values):
        (package / "nada/a.py").write_text(RAISING.format(**{"limit": 3, "said": "'large'", "key": ""} | values))
        return code_digest.digest("nada.a", root=package)

    assert (digest(**change) != digest()) == changes


def test_a_module_that_lists_a_package_depends_on_every_module_of_it(package):
    (package / "nada" / "e.py").write_text(
        "import pkgutil\n\nimport nada.deep\n\nlist(pkgutil.iter_modules(nada.deep.__path__))\n"
    )
    names = set(code_digest.closure("nada.e", root=package))
    assert names == {"nada", "nada.e", "nada.deep", "nada.deep.d"}
    before = code_digest.digest("nada.e", root=package)
    (package / "nada/deep/new.py").write_text("z = 1\n")
    assert code_digest.digest("nada.e", root=package) != before


def test_two_modules_have_a_digest_of_their_union(package):
    both = code_digest.digest("nada.a", "nada.c", root=package)
    assert both not in (
        code_digest.digest("nada.a", root=package),
        code_digest.digest("nada.c", root=package),
    )
    (package / "nada/c.py").write_text("z = 2\n")
    assert code_digest.digest("nada.a", "nada.c", root=package) != both


def test_a_module_that_does_not_exist_is_named(package):
    with pytest.raises(FileNotFoundError, match="nada.nothing"):
        code_digest.digest("nada.nothing", root=package)


def test_every_job_of_the_workflow_has_a_digest_that_covers_what_it_imports(root):
    adapt = code_digest.closure("baselines.adapt", "baselines.nada", root=root)
    assert {"nada.training", "nada.losses", "nada.stylegan2.generator", "nada.run.job"} <= set(adapt)
    assert not {name for name in adapt if name.split(".")[0] in ("eval", "workflow")}
    assert "baselines.nada" not in code_digest.closure("baselines.adapt", "baselines.source", root=root)
    assert "eval.networks.referee" in code_digest.closure("eval.observe", root=root)
    assert {"eval.metrics.kid", "eval.metrics.realism"} <= set(code_digest.closure("eval.tables", root=root))


@pytest.mark.parametrize(
    "module",
    ["workflow.plan.inputs", "workflow.plan.specs", "workflow.plan.code_digest", "workflow.estimate", "workflow.gpu"],
)
def test_planning_imports_neither_torch_nor_snakemake(module):
    code = f"import sys, {module}; print(sorted({{'torch', 'snakemake'}} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_imports_run_one_way(root):
    order = ["nada", "baselines", "eval", "workflow"]
    for path in sorted(p for name in order for p in (root / name).rglob("*.py")):
        name = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
        rank = order.index(name.split(".")[0])
        for imported in code_digest.source(name, path).imports:
            assert order.index(imported.split(".")[0]) <= rank, f"{name} imports {imported}"
