"""The frozen CLIP: tokenizer, preprocessing, embeddings, prompt ensemble, file errors."""

import json
import re
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import save_file
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2.functional import resize

from nada.clip.encoder import (
    WordTokenizer,
    load_clip,
    read_templates,
    text_direction,
    text_embedding,
)
from nada.clip.vocabulary import fewest_tokens
from nada.run.errors import UserError
from nada.run.manifest import read_weights


class FixedTexts:
    """A CLIP whose text embeddings are given, for arithmetic by hand."""

    name = "fixed"

    def __init__(self, embeddings):
        self.embeddings = embeddings

    def check_text(self, text):
        pass

    def encode_texts(self, texts):
        return torch.tensor([self.embeddings[text] for text in texts])


def test_tokens_are_start_words_end_and_the_end_is_the_largest_id():
    tokenizer = WordTokenizer(["a", "dog"], context_length=6)
    ids = tokenizer(["A dog.", "dog"])
    assert ids.tolist() == [[1, 2, 3, 4, 0, 0], [1, 3, 4, 0, 0, 0]]
    assert ids.argmax(dim=1).tolist() == [3, 2]
    assert tokenizer.vocab_size == 5


def test_a_word_outside_the_vocabulary_is_an_error_that_names_it_and_the_valid_words():
    tokenizer = WordTokenizer(["a", "dog", "cat"], context_length=6)
    with pytest.raises(UserError, match=r"'dgo'.*'a dgo'.*'dog'.*knows: a, cat, dog"):
        tokenizer(["a dgo"])


def test_a_text_longer_than_the_context_is_an_error():
    with pytest.raises(UserError, match=r"has 3 words, but this CLIP reads 2"):
        WordTokenizer(["a"], context_length=4)(["a a a"])


@pytest.mark.parametrize("text", ["", "???", "_", "—", "{}", "..."])
def test_a_text_without_a_word_is_an_error(text):
    with pytest.raises(UserError, match="holds no word"):
        WordTokenizer(["a"], context_length=4)([text])


@pytest.mark.parametrize(("text", "sign"), [("🐶", "🐶"), ("cat 🐱🐱", "🐱"), ("cat + cat", "+")])
def test_a_sign_that_is_neither_word_nor_punctuation_is_an_error(text, sign):
    with pytest.raises(UserError, match=f"holds '{re.escape(sign)}', which is neither a word nor"):
        WordTokenizer(["cat"], context_length=8)([text])


def test_an_accent_belongs_to_its_letter_however_it_is_written():
    tokenizer = WordTokenizer(["caf\u00e9", "cafe"], context_length=4)
    assert tokenizer.encode("cafe\u0301!") == tokenizer.encode("Caf\u00e9") == [2]


def test_a_text_without_a_word_is_an_error_whatever_words_the_prompts_have(clip):
    for text in ("???", "🐱"):
        with pytest.raises(UserError, match="CLIP 'a': the text '.*' holds"):
            text_direction(clip, "dog", text, ["a {}", "the {}"])


@pytest.fixture(scope="module")
def byte_pairs(tmp_path_factory):
    """A small CLIP under open_clip's own tokenizer, which reads 75 tokens."""
    folder = tmp_path_factory.mktemp("byte_pairs")
    vision = {"image_size": 16, "layers": 1, "width": 16, "patch_size": 8, "head_width": 8}
    text = {"context_length": 77, "vocab_size": 49408, "width": 8, "heads": 1, "layers": 1}
    config = {"embed_dim": 8, "vision_cfg": vision, "text_cfg": text}
    (folder / "clip.json").write_text(json.dumps(config))
    torch.manual_seed(0)
    save_file(open_clip.model.CLIP(**config).state_dict(), folder / "clip.safetensors")
    paths = {"config": str(folder / "clip.json"), "weights": str(folder / "clip.safetensors")}
    return load_clip({"name": "pairs", **paths})


def test_a_text_that_open_clip_would_cut_is_an_error(byte_pairs):
    assert byte_pairs.encode_texts(["dog " * 75]).shape == (1, 8)
    with pytest.raises(UserError, match="CLIP 'pairs': .* has 76 tokens, but this CLIP reads 75"):
        byte_pairs.encode_texts(["dog " * 76])
    with pytest.raises(UserError, match="has 76 tokens"):  # in a prompt that adds a word
        text_embedding(byte_pairs, "dog " * 75, ["a {}"])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [("\x00", "holds no word"), ("dog <end_of_text> cat", "the mark of a text's start or end")],
)
def test_a_text_of_which_open_clip_would_read_nothing_or_a_part_is_an_error(
    byte_pairs, text, sentence
):
    with pytest.raises(UserError, match=sentence):
        text_embedding(byte_pairs, text, ["a {}"])


@pytest.mark.parametrize(
    "text", ["dog", "the dog's 12 ears, 3.5 of them", "don't-stop", "naïve \u00b2", "a &nbsp; b", "cafe\u0301s"]
)
def test_the_fewest_tokens_of_a_text_are_not_more_than_it_has(byte_pairs, text):
    assert fewest_tokens(text) <= len(byte_pairs.tokenizer.encode(text))


def test_a_word_listed_twice_is_an_error():
    with pytest.raises(UserError, match="twice"):
        WordTokenizer(["a", "a"], context_length=4)


def test_embeddings_are_the_open_clip_model_s_own_after_its_preprocessing(clip, clip_spec):
    config = json.loads(Path(clip_spec["config"]).read_text())
    towers = {key: config[key] for key in ("embed_dim", "vision_cfg", "text_cfg")}
    model = open_clip.model.CLIP(**towers).eval()
    model.load_state_dict(read_weights(clip_spec["weights"])[0])
    images = torch.rand(3, 3, 16, 16) * 2 - 1
    mean, std = (torch.tensor(config[k]).view(3, 1, 1) for k in ("image_mean", "image_std"))
    with torch.no_grad():
        expected = model.encode_image(((images + 1) / 2 - mean) / std, normalize=True)
        words = model.encode_text(clip.tokenizer(["a dog"]), normalize=True)
    torch.testing.assert_close(clip.encode_images(images), expected)
    torch.testing.assert_close(clip.encode_texts(["a dog"]), words)
    assert clip.calls == 2


def test_the_model_is_frozen_in_float32_and_loading_moves_no_random_stream(clip_spec):
    before = torch.get_rng_state()
    clip = load_clip(clip_spec)
    assert torch.equal(torch.get_rng_state(), before)
    parameters = list(clip.model.parameters())
    assert all(p.dtype == torch.float32 and not p.requires_grad for p in parameters)
    assert not clip.model.training


def test_one_image_has_one_embedding_with_a_graph_and_without(clip):
    images = torch.rand(2, 3, 16, 16) * 2 - 1
    with torch.no_grad():
        without = clip.encode_images(images)
    assert torch.equal(clip.encode_images(images.requires_grad_()), without)


@pytest.mark.parametrize("form, antialias", [("antialias", True), ("official", False)])
def test_the_resize_is_torchvision_s_bicubic_and_then_a_centre_crop(clip, form, antialias):
    clip.resize = form
    images = torch.rand(2, 3, 40, 56) * 2 - 1
    resized = resize(
        (images + 1) / 2, [16], interpolation=InterpolationMode.BICUBIC, antialias=antialias
    )
    left = (resized.shape[-1] - 16) // 2
    expected = (resized[..., left : left + 16] - clip.mean) / clip.std
    torch.testing.assert_close(clip.preprocess(images), expected, atol=2e-6, rtol=1e-5)


def test_an_image_of_the_model_s_size_is_not_resampled(clip):
    images = torch.rand(1, 3, 16, 16) * 2 - 1
    assert torch.equal(clip.preprocess(images), ((images + 1) / 2 - clip.mean) / clip.std)


@pytest.mark.parametrize("form", ["antialias", "official"])
def test_gradients_reach_the_pixels_through_the_resize(clip, form):
    clip.resize = form
    clip.mean, clip.std = clip.mean.double(), clip.std.double()
    images = torch.rand(1, 3, 20, 20, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(clip.preprocess, (images,))


def test_the_text_direction_averages_differences_of_unit_embeddings_and_then_normalises():
    embeddings = {"a s": [1.0, 0.0], "a t": [0.0, 1.0], "the s": [0.6, 0.8], "the t": [0.0, 1.0]}
    direction = text_direction(FixedTexts(embeddings), "s", "t", ["a {}", "the {}"])
    mean_difference = np.array([(-1 - 0.6) / 2, (1 + 0.2) / 2])
    expected = mean_difference / np.linalg.norm(mean_difference)
    np.testing.assert_allclose(direction.numpy(), expected, rtol=1e-6)
    # renormalising each side's mean first would give another direction
    sides = np.array([0.0, 1.0]) - np.array([0.8, 0.4]) / np.hypot(0.8, 0.4)
    assert abs(direction.numpy() @ sides / np.linalg.norm(sides)) < 0.9999


def test_the_text_embedding_is_the_normalised_mean_over_prompts():
    embeddings = {"a t": [1.0, 0.0], "the t": [0.0, 1.0]}
    embedding = text_embedding(FixedTexts(embeddings), "t", ["a {}", "the {}"])
    np.testing.assert_allclose(embedding.numpy(), [0.5**0.5, 0.5**0.5], rtol=1e-6)


def test_two_texts_with_one_embedding_have_no_direction(clip):
    with pytest.raises(UserError, match="'dog' and 'dog' have the same embedding"):
        text_direction(clip, "dog", "dog", ["a {}"])


def test_the_imagenet_prompts_are_79_without_the_many_prompt():
    templates = read_templates("openai_imagenet")
    assert len(templates) == len(open_clip.OPENAI_IMAGENET_TEMPLATES) - 1 == 79
    assert "a photo of many {}." not in templates
    assert all(template.count("{}") == 1 for template in templates)


def test_template_files_skip_blank_lines_and_comments(tmp_path):
    path = tmp_path / "templates.txt"
    path.write_text("# neutral prompts\na {}\n\nthe {}\n")
    assert read_templates(path) == ["a {}", "the {}"]


@pytest.mark.parametrize("text, message", [("a dog\n", "'a dog'"), ("\n", "empty")])
def test_a_bad_template_file_is_an_error_that_names_the_line(tmp_path, text, message):
    path = tmp_path / "templates.txt"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        read_templates(path)


def test_weights_that_do_not_fit_the_config_are_an_error_naming_both(clip_spec, tmp_path):
    config = json.loads(Path(clip_spec["config"]).read_text())
    config["vision_cfg"]["width"] = 48
    (tmp_path / "wide.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"clip\.safetensors.*wide\.json.*size mismatch"):
        load_clip({**clip_spec, "config": str(tmp_path / "wide.json")})


def test_an_unknown_config_name_is_an_error_with_near_names(clip_spec):
    with pytest.raises(UserError, match="ViT-B-32"):
        load_clip({**clip_spec, "config": "ViT-B-23"})


def test_a_tokenizer_that_does_not_fit_the_text_tower_is_an_error(clip_spec, tmp_path):
    config = json.loads(Path(clip_spec["config"]).read_text())
    config["tokenizer"]["words"].remove("the")
    (tmp_path / "short.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="vocab_size=9.*needs 8"):
        load_clip({**clip_spec, "config": str(tmp_path / "short.json")})
