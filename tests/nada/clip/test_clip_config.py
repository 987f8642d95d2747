"""What a CLIP's config may say: every value that no CLIP can have is one sentence, at load."""

import copy
import json
import subprocess
import sys

import open_clip
import pytest

from nada.clip.clip_config import BPE_IDS, NEEDS_NETWORK, read_config
from nada.clip.encoder import load_clip
from nada.run.errors import UserError
from tests.nada.conftest import CLIP_CONFIG


def written(folder, config):
    path = folder / "clip.json"
    path.write_text(config if isinstance(config, str) else json.dumps(config), encoding="utf-8")
    return path


def changed(key: str, value) -> dict:
    """CLIP_CONFIG with another value of a dotted key, or without the key where value is `...`."""
    config = copy.deepcopy(CLIP_CONFIG)
    *parents, last = key.split(".")
    place = config
    for parent in parents:
        place = place[parent]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return config


def test_every_config_of_open_clip_that_needs_no_network_is_taken_in_both_forms(tmp_path):
    models = {name: open_clip.get_model_config(name) for name in open_clip.list_models()}
    offline = {n: m for n, m in models.items() if not m["text_cfg"].keys() & set(NEEDS_NETWORK)}
    assert {"ViT-B-32-quickgelu", "ViT-B-16", "ViT-L-14", "RN50"} <= offline.keys()
    for model in offline.values():
        assert read_config(written(tmp_path, model)) == model
        hub = {"model_cfg": model, "preprocess_cfg": {"mean": [0.5, 0.4, 0.3], "std": [1, 1, 1]}}
        found = read_config(written(tmp_path, hub))
        assert found == {**model, "image_mean": [0.5, 0.4, 0.3], "image_std": [1, 1, 1]}


def test_a_config_with_words_is_taken_as_it_is(tmp_path):
    assert read_config(written(tmp_path, CLIP_CONFIG)) == CLIP_CONFIG


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("image_mean", [0.5, 0.5], r"image_mean is \[0\.5, 0\.5\]; wanted: three numbers"),
        ("image_mean", None, "image_mean is None; wanted: three numbers"),
        ("image_mean", 0.5, r"image_mean is 0\.5; wanted: three numbers"),
        ("image_std", [0.5, 0, 0.5], r"image_std\[1\] is 0; wanted: three numbers above 0"),
        ("image_std", [0.5, 0.5, -1], r"image_std\[2\] is -1; wanted: three numbers above 0"),
        ("image_std", [0.5, 0.5, "x"], r"image_std\[2\] is 'x'; wanted: three numbers"),
        ("tokenizer", "simple", "tokenizer is 'simple'; wanted: a mapping with type \"words\""),
        ("tokenizer", {"type": "words"}, "tokenizer lacks words, context_length"),
        ("tokenizer.type", "bpe", "tokenizer.type is 'bpe'; wanted: 'words'"),
        ("tokenizer.words", [], r"tokenizer.words is \[\]; wanted: a list of words"),
        ("tokenizer.words", "a dog", "tokenizer.words is 'a dog'; wanted: a list of words"),
        ("tokenizer.words", ["a", 3], r"tokenizer.words\[1\] is 3; wanted: a list of words"),
        ("tokenizer.context_length", 2, "tokenizer.context_length is 2; wanted: a whole number"),
        ("embed_dim", -16, "embed_dim is -16; wanted: a whole number from 1"),
        ("embed_dim", 16.0, r"embed_dim is 16\.0; wanted: a whole number"),
        ("embed_dim", True, "embed_dim is True; wanted: a whole number"),
        ("embed_dim", 10**9, "embed_dim is 1000000000; wanted: a whole number"),
        ("quick_gelu", "no", "quick_gelu is 'no'; wanted: true or false"),
        ("vision_cfg", [], r"vision_cfg is \[\]; wanted: a mapping"),
        ("vision_cfg.layers", [3, 4], r"vision_cfg.layers is \[3, 4\]; wanted: a whole number of"),
        ("vision_cfg.image_size", "16", "vision_cfg.image_size is '16'; wanted: a whole number"),
        ("vision_cfg.patch_size", 0, "vision_cfg.patch_size is 0; wanted: a whole number"),
        ("vision_cfg.mlp_ratio", 0, "vision_cfg.mlp_ratio is 0; wanted: a number above 0"),
        ("vision_cfg.head_width", 5, "vision_cfg.width is 32, which vision_cfg.head_width 5 does"),
        ("text_cfg.context_length", "77", "text_cfg.context_length is '77'; wanted: a whole"),
        ("text_cfg.heads", 3, "text_cfg.width is 16, which text_cfg.heads 3 does not divide"),
        ("text_cfg.hf_model_name", "x", "text_cfg.hf_model_name, which would be fetched"),
        ("text_cfg", ..., "lacks text_cfg"),
        ("tokenizer", None, "text_cfg.vocab_size is 9, but without a tokenizer of words"),
    ],
)
def test_a_malformed_value_is_one_sentence_with_file_and_key(tmp_path, clip_spec, key, value, said):
    path = written(tmp_path, changed(key, value))
    for read in (read_config, lambda path: load_clip({**clip_spec, "config": str(path)})):
        with pytest.raises(UserError, match=said) as caught:
            read(path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_json_does_not_have_are_refused(tmp_path, word):
    text = json.dumps(CLIP_CONFIG).replace("0.4", word)
    with pytest.raises(UserError, match=f"clip.json is no valid JSON .{word} is no number"):
        read_config(written(tmp_path, text))
    text = json.dumps(CLIP_CONFIG).replace("0.4", "1e999")
    with pytest.raises(UserError, match=r"image_mean\[1\] is inf; wanted: three numbers"):
        read_config(written(tmp_path, text))


@pytest.mark.parametrize("key", ["vision_cfg.zz", "text_cfg.pool_type", "vision_cfg.layers"])
def test_what_open_clip_cannot_build_is_one_sentence(tmp_path, clip_spec, key):
    value = [1, 1, 1, 1] if key.endswith("layers") else "x"
    path = written(tmp_path, changed(key, value))
    with pytest.raises(UserError, match="clip.safetensors and the config .* do not fit together"):
        load_clip({**clip_spec, "config": str(path)})


def test_the_bound_of_ids_is_that_of_open_clip_s_own_tokenizer():
    assert open_clip.tokenizer.SimpleTokenizer().vocab_size == BPE_IDS


def test_a_config_is_checked_without_torch(tmp_path, root):
    path = written(tmp_path, changed("image_std", [0, 0, 0]))
    code = (
        "import sys; from pathlib import Path\n"
        "from nada.clip.clip_config import read_config\n"
        "from nada.run.errors import UserError\n"
        f"try: read_config(Path({str(path)!r}))\n"
        "except UserError: print('torch' in sys.modules)"
    )
    done = subprocess.check_output([sys.executable, "-c", code], cwd=root, text=True)
    assert done.strip() == "False"
