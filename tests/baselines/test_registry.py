"""The registry: methods are read from their files, without importing them."""

import subprocess
import sys

import pytest

from baselines import registry
from nada.run.errors import UserError

DECLARATION = (
    'METHOD = Method(name="{name}", paper="p", licence="MIT", supervision="{supervision}", '
    "hyperparameters=Mine)\n"
)


def declare(folder, file, name="mine", supervision="text"):
    text = DECLARATION.format(name=name, supervision=supervision)
    (folder / file).write_text("raise RuntimeError('imported')\n" + text)


def test_the_registered_methods_declare_where_they_come_from_and_what_they_learn_from():
    methods = registry.methods()
    assert {"nada", "source", "replay"} <= set(methods)
    for name, method in methods.items():
        assert method.name == name and method.paper and method.licence
        assert method.supervision in registry.SUPERVISION


def test_every_registered_method_can_be_loaded_and_offers_adapt():
    for name, method in registry.methods().items():
        module = registry.load(name)
        assert module.METHOD == method and callable(module.adapt)


def test_methods_are_read_without_importing_torch_or_their_files():
    code = (
        "import sys\n"
        "from baselines import adapt, registry\n"
        "assert 'nada' in registry.methods()\n"
        "try:\n    adapt.main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print(sorted({'torch', 'open_clip', 'baselines.nada'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "--spec" in done.stdout and "--parent" in done.stdout


def test_a_new_method_is_one_file(tmp_path):
    declare(tmp_path, "mine.py")
    (tmp_path / "registry.py").write_text("x = 1\n")
    assert list(registry.methods(tmp_path)) == ["mine"]


def test_an_unknown_method_is_an_error_with_the_nearest_name():
    with pytest.raises(UserError, match=r"no method 'nadaa'; did you mean 'nada'\? Known methods:"):
        registry.load("nadaa")


def test_a_declaration_that_is_no_literal_or_incomplete_is_an_error_that_names_the_file(tmp_path):
    (tmp_path / "bad.py").write_text("METHOD = Method(name=NAME, paper='p')\n")
    with pytest.raises(UserError, match=r"bad\.py: METHOD must give name, paper, licence, super"):
        registry.methods(tmp_path)
    (tmp_path / "bad.py").write_text("METHOD = Method(name='n', paper='p')\n")
    with pytest.raises(UserError, match=r"bad\.py"):
        registry.methods(tmp_path)


def test_an_unknown_supervision_is_an_error(tmp_path):
    declare(tmp_path, "bad.py", supervision="video")
    with pytest.raises(UserError, match=r"supervision is 'video'.*text, images, none"):
        registry.methods(tmp_path)


def test_two_files_with_one_method_name_are_an_error(tmp_path):
    declare(tmp_path, "one.py")
    declare(tmp_path, "two.py")
    with pytest.raises(UserError, match=r"two\.py and one\.py both declare"):
        registry.methods(tmp_path)


def test_a_method_starts_from_the_source_model_unless_it_says_so(tmp_path):
    assert registry.methods()["tgan"].generator == "source"
    assert registry.methods()["replay"].generator == "none"
    declare(tmp_path, "bad.py")
    text = (tmp_path / "bad.py").read_text().replace('licence="MIT"', 'licence="MIT", generator="dog"')
    (tmp_path / "bad.py").write_text(text)
    with pytest.raises(UserError, match="generator is 'dog'.*source, none"):
        registry.methods(tmp_path)
