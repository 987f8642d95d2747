"""The rehearsal's files: in the published formats, read right, and a mistake in reading is noticed."""

import json
import os
import pickletools
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from nada.stylegan2 import convert
from workflow.assets.asset_registry import load_registry
from workflow.worlds.rehearsal import check, make, recipes
from workflow.worlds.rehearsal.architectures import StyleGan, generator_tensors
from workflow.worlds.rehearsal.comparisons import compare, findings
from workflow.worlds.rehearsal.pictures import Afhq, write_folder
from workflow.worlds.rehearsal.recipes import RECIPES

STYLEGANS = [name for name, recipe in RECIPES.items() if isinstance(recipe.size, StyleGan)]
CLIPS = ["clip_vit_b_32", "clip_vit_b_16", "clip_laion400m_b_32"]
SETS = ["afhq", "sketches_fid", "sketches_10_shot"]
INCEPTIONS = ["inception_clean", "inception_pytorch_fid"]
#: What work at 256 px needs, and the held-out CLIP.
PART_256 = ["ffhq_256", *CLIPS, *INCEPTIONS, "vgg16", "sketches_fid", "sketches_10_shot"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The assets that can be narrow, made by the command."""
    folder = tmp_path_factory.mktemp("rehearsal")
    names = [*STYLEGANS, *CLIPS, *SETS]
    assert make.main(["fetch", *names, "--into", str(folder), "--narrow"]) == 0
    return folder


def found(name, folder, size=make.NARROW):
    return list(findings(name, make.recipe_of(name, size), make.place(name, folder)))


# What is right ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*STYLEGANS, *CLIPS, *SETS])
def test_every_format_is_loaded_as_the_network_of_an_independent_forward_pass(folder, name):
    assert [(x.what, x.difference) for x in found(name, folder) if not x.ok] == []


@pytest.mark.parametrize("name", [*INCEPTIONS, "vgg16"])
def test_the_networks_that_measure_equal_an_independent_forward_pass(tmp_path, name):
    make.make(name, tmp_path, make.NARROW)
    results = found(name, tmp_path)
    assert len(results) == 1 and results[0].ok, results


@pytest.mark.slow
@pytest.mark.parametrize("name", PART_256)
def test_the_256_part_is_right_at_full_size(tmp_path, name):
    path = make.make(name, tmp_path)
    assert [(x.what, x.difference) for x in found(name, tmp_path, make.FULL) if not x.ok] == []
    expected = load_registry("paper").assets[name]
    if expected.bytes:  # the published file keeps more text, but hardly other tensors
        assert path.stat().st_size == pytest.approx(expected.bytes, rel=0.02)


def test_the_widths_are_the_published_ones():
    def widths(name):
        size = RECIPES[name].size
        return [size.channels(side) for side in size.sides]

    assert widths("ffhq_1024") == [512, 512, 512, 512, 512, 256, 128, 64, 32]
    assert widths("afhq_dog_512") == [512, 512, 512, 512, 512, 256, 128, 64]
    assert widths("ffhq_256") == [512, 512, 512, 512, 256, 128, 64]
    assert widths("lsun_church_256") == [512, 512, 512, 512, 512, 256, 128]
    groups = {name: RECIPES[name].size.group for name in STYLEGANS}
    assert {name for name, group in groups.items() if group == 8} == {"afhq_dog_512", "ffhq_256"}


def test_no_tensor_is_zero_so_that_a_lost_one_is_noticed():
    size = RECIPES["ffhq_256"].size.narrow()
    for name, tensor in generator_tensors(size, recipes.Numbers("any")).items():
        assert (tensor != 0).all(), name


# What is wrong ------------------------------------------------------------------------------------


def swap(a, b):
    a.data, b.data = b.data.clone(), a.data.clone()


def flip(weight):
    weight.data = weight.data.flip(2, 3)


MISTAKES = {
    "one kernel flipped": lambda s: flip(s.G_ema.synthesis.convs[3].weight),
    "two layers swapped": lambda s: swap(
        s.G_ema.synthesis.to_rgbs[0].weight, s.G_ema.synthesis.to_rgbs[1].weight
    ),
    "the noise of the next layer": lambda s: swap(
        s.G_ema.synthesis.convs[1].noise_const, s.G_ema.synthesis.convs[2].noise_const
    ),
    "styles without their 1": lambda s: s.G.synthesis.convs[2].affine.bias.data.sub_(1),
    "the mean of w lost": lambda s: s.G_ema.w_avg.zero_(),
    "G where G_ema belongs": lambda s: vars(s).update(G=s.G_ema, G_ema=s.G),
    "a layer of D transposed": lambda s: setattr(
        s.D.blocks[0].conv0.weight, "data", s.D.blocks[0].conv0.weight.data.transpose(0, 1).clone()
    ),
    "the last convolution of D flipped": lambda s: flip(s.D.conv.weight),
    "D's groups halved": lambda s: s.D.config.update(
        mbstd_group_size=s.D.config["mbstd_group_size"] // 2
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.parametrize("name", ["ffhq_1024", "ffhq_256", "lsun_church_256"])
def test_a_mistake_in_reading_a_stylegan2_is_noticed(folder, monkeypatch, name, mistake):
    read = convert.read_model

    def mistaken(path):
        source = read(path)
        MISTAKES[mistake](source)
        return source

    monkeypatch.setattr(convert, "read_model", mistaken)
    assert not all(finding.ok for finding in found(name, folder))


def test_gelu_instead_of_quickgelu_is_noticed(folder, monkeypatch):
    monkeypatch.setattr(open_clip.transformer.QuickGELU, "forward", lambda self, x: F.gelu(x))
    images, texts = found("clip_vit_b_32", folder)
    assert not images.ok and not texts.ok


@pytest.mark.parametrize("tower", ["visual", "text"])
def test_swapped_blocks_of_a_clip_are_noticed(folder, monkeypatch, tower):
    from nada.clip import encoder

    load = encoder.load_clip

    def mistaken(spec):
        loaded = load(spec)
        part = loaded.model.visual if tower == "visual" else loaded.model
        swap(part.transformer.resblocks[0].ln_1.weight, part.transformer.resblocks[1].ln_1.weight)
        return loaded

    monkeypatch.setattr(encoder, "load_clip", mistaken)
    images, texts = found("clip_vit_b_16", folder)
    assert (images.ok, texts.ok) == ((False, True) if tower == "visual" else (True, False))


def test_an_image_set_in_another_order_is_noticed(folder, monkeypatch):
    from nada.images import lazy

    class Turned:
        def __init__(self, path):
            self.images = opened(path)

        def __len__(self):
            return len(self.images)

        def __getitem__(self, rows):
            return self.images[:][::-1][rows]

    opened = lazy.open_images
    monkeypatch.setattr(lazy, "open_images", Turned)
    assert not found("afhq", folder)[0].ok


def test_values_that_are_not_finite_or_equal_for_all_samples_never_pass():
    x = np.random.default_rng(0).normal(size=(3, 4))
    assert compare("x", x, x).ok
    assert not compare("x", np.where(x == x.max(), np.nan, x), x).ok
    assert not compare("x", x[:1].repeat(3, 0), x[:1].repeat(3, 0)).ok
    assert not compare("x", x[:2], x).ok


# The formats --------------------------------------------------------------------------------------


def test_the_same_name_gives_the_same_bytes_whatever_was_made_before(folder, tmp_path):
    # other modules are compiled in between, which moves torch's own numbering of classes
    for name in [*CLIPS, "ffhq_1024", "ffhq_256", "lsun_church_256", "afhq"]:
        recipe = make.recipe_of(name, make.NARROW)
        again = recipes.write(name, recipe, tmp_path / name)
        assert again["sha256"] == recipes.digest_of(make.place(name, folder)), name


@pytest.mark.slow
def test_a_torchscript_archive_does_not_depend_on_the_hash_seed_of_its_process(root):
    code = (
        "import sys, torch\n"
        "from workflow.worlds.rehearsal.formats.torchscript import write_script\n"
        "module = torch.nn.Embedding(2, 2)\n"
        "torch.nn.init.zeros_(module.weight)\n"
        "write_script(sys.stdout.buffer, module)"
    )
    made = set()
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        call = [sys.executable, "-c", code]
        done = subprocess.run(call, cwd=root, env=environment, capture_output=True, check=True)
        made.add(done.stdout)
    assert len(made) == 1


def test_an_archive_holds_no_path_of_the_machine_that_made_it(folder, root):
    content = make.place("clip_vit_b_32", folder).read_bytes()
    assert b"encode_image" in content and str(root).encode() not in content


def test_the_pickles_need_the_globals_that_published_ones_need(folder):
    def asked(name):
        content, names, words = make.place(name, folder).read_bytes(), set(), []
        for opcode, argument, _ in pickletools.genops(content):
            if opcode.name == "GLOBAL":
                names.add(argument.replace(" ", "."))
            elif opcode.name == "STACK_GLOBAL":
                names.add(".".join(words[-2:]))
            if isinstance(argument, str):
                words.append(argument)
        return names, words

    names, words = asked("ffhq_256")
    assert {
        "torch_utils.persistence._reconstruct_persistent_obj",
        "dnnlib.util.EasyDict",
        "torch._utils._rebuild_parameter",
        "torch.storage._load_from_bytes",
    } <= names
    assert "module_src" in words and any(word.startswith("raise RuntimeError") for word in words)
    assert {"_init_kwargs", "_parameters", "_buffers", "mbstd_group_size"} <= set(words)
    names, words = asked("lsun_church_256")
    assert any(name.endswith("EasyDict") for name in names)
    assert {"dlatent_avg", "4x4/Const/const", "32x32/Conv0_up/mod_bias", "static_kwargs"} <= set(
        words
    )


def test_the_foreign_modules_exist_only_while_a_pickle_is_written(folder):
    import sys

    assert not any(name.startswith(("dnnlib", "torch_utils")) for name in sys.modules)


def test_torch_itself_reads_a_state_dict_in_the_old_format(tmp_path):
    path = make.make("inception_pytorch_fid", tmp_path)
    state = torch.load(path, weights_only=True)
    assert path.read_bytes()[:2] != b"PK"
    drawn = recipes.tensors("inception_pytorch_fid", RECIPES["inception_pytorch_fid"])
    assert list(state) == list(drawn)
    assert all(torch.equal(state[name], drawn[name]) for name in drawn)


def test_image_folders_have_the_layout_of_the_published_archives(folder):
    afhq = folder / "afhq"
    assert sorted(path.relative_to(afhq).as_posix() for path in afhq.glob("*/*")) == [
        f"{split}/{kind}" for split in ("train", "val") for kind in ("cat", "dog", "wild")
    ]
    with Image.open(next((folder / "sketches_10_shot").glob("*.png"))) as image:
        assert image.mode == "L"
    name, content = next(Afhq().files("afhq"))
    assert name == "train/cat/flickr_cat_000000.jpg" and content[:2] == b"\xff\xd8"
    counts = (RECIPES[name].size for name in ("sketches_fid", "sketches_10_shot"))
    assert [sketches.count for sketches in counts] == [160, 10] and Afhq().used == 160


def test_a_failed_write_keeps_the_earlier_folder_and_leaves_nothing_else(tmp_path):
    write_folder(tmp_path / "set", iter([("a.txt", b"first")]))

    def broken():
        yield "b.txt", b"second"
        raise OSError("no more")

    with pytest.raises(OSError, match="no more"):
        write_folder(tmp_path / "set", broken())
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
    assert (tmp_path / "set" / "a.txt").read_bytes() == b"first"
    assert write_folder(tmp_path / "set", iter([("c.txt", b"third")])) == 1
    assert [path.name for path in (tmp_path / "set").iterdir()] == ["c.txt"]


# The commands -------------------------------------------------------------------------------------


def test_every_asset_of_the_paper_s_world_is_made(root):
    worlds = root / "workflow" / "worlds" / "paper"
    asked = {
        word.split("asset:")[1].split('"')[0]
        for word in (worlds / "world.yaml").read_text().split()
        if "asset:" in word and "asset:NAME" not in word
    }
    assert asked and asked <= set(RECIPES) <= set(load_registry("paper").assets)


def test_files_have_the_registry_s_names_and_are_listed_in_the_manifest(folder):
    files = json.loads((folder / "manifest.json").read_text())["files"]
    assert files["ffhq-res256-mirror-paper256-noaug.pkl"]["asset"] == "ffhq_256"
    assert set(files) == {path.name for path in folder.iterdir() if path.name[0] != "."} - {
        "manifest.json"
    }
    for name, entry in files.items():
        assert recipes.digest_of(folder / name) == entry["sha256"]


def test_parallel_jobs_lose_no_entry_of_the_manifest(tmp_path):
    def add(number):
        make._list(tmp_path, f"{number}.pt", {"sha256": str(number)})

    threads = [threading.Thread(target=add, args=(i,)) for i in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(make.read_manifest(tmp_path)) == {f"{i}.pt" for i in range(12)}


def test_an_unknown_name_is_reported_in_one_line_and_nothing_is_made(tmp_path, capsys):
    into = ["--into", str(tmp_path / "new"), "--narrow"]
    assert make.main(["fetch", "afhq", "ffhq_265", *into]) == 2
    error = capsys.readouterr().err
    assert "ffhq_265" in error and "did you mean" in error and error.count("\n") == 1
    assert make.main(["fetch", "nada_anime", *into]) == 2
    assert "cannot make 'nada_anime'" in (error := capsys.readouterr().err) and error.count("\n") == 1
    assert not Path(tmp_path, "new").exists()


def test_options_of_workflow_assets_fetch_are_accepted(tmp_path, capsys):
    options = ["--world", "paper", "--accept", "mit", "adobe-research", "--offline"]
    words = ["fetch", "sketches_10_shot", "--into", str(tmp_path), "--narrow", *options]
    assert make.main(words) == 0
    assert "sketches_10_shot: 5 files" in capsys.readouterr().out


def test_the_check_prints_one_line_per_comparison_and_fails_with_one(folder, monkeypatch, capsys):
    words = ["--assets", str(folder), "--only", "ffhq_256"]
    assert check.main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5 and all(": ok (" in line for line in lines[:4])
    assert lines[4] == "1 of 1 assets within bounds"
    read = convert.read_model

    def mistaken(path):
        source = read(path)
        flip(source.G_ema.synthesis.convs[3].weight)
        return source

    monkeypatch.setattr(convert, "read_model", mistaken)
    assert check.main(words) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [": DIFFERS (" in line for line in lines] == [True, False, False, False, False]
    assert lines[4] == "0 of 1 assets within bounds"


def test_a_missing_or_changed_file_is_reported_in_one_line(folder, tmp_path, capsys):
    assert check.main(["--assets", str(tmp_path), "--only", "afhq"]) == 2
    error = capsys.readouterr().err
    assert "rehearsal.make fetch afhq" in error and error.count("\n") == 1
    assert check.main(["--assets", str(tmp_path)]) == 2 and "has no file" in capsys.readouterr().err
    assert check.main(["--assets", str(tmp_path), "--only", "afqh"]) == 2
    assert "did you mean 'afhq'" in capsys.readouterr().err
    path = make.make("sketches_10_shot", tmp_path, make.NARROW)
    next(path.glob("*.png")).write_bytes(b"other")
    assert check.main(["--assets", str(tmp_path)]) == 2
    assert "not as it was made" in capsys.readouterr().err
