"""The held-out CLIP: its cosines, by hand and on drawn animals, and what an observation and a table keep of it."""

import json

import numpy as np
import open_clip
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from eval import observe, score, tables
from eval.networks.held_out import HeldOutClip
from eval.observation import load_observation
from nada.images.tensors import to_tensor
from nada.run.atomic import sha256
from nada.run.errors import UserError
from nada.run.spec.observation_spec import HeldOutClipSpec
from tests.eval.agreement import assert_numbers_agree
from workflow.worlds.mini.references import reference_images

WORDS = ["a", "photo", "of", "man", "woman"]
CONFIG = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 16, "patch_size": 8, "width": 32, "layers": 1, "head_width": 16},
    "text_cfg": {"context_length": 8, "vocab_size": 8, "width": 16, "heads": 2, "layers": 1},
    "image_mean": [0.5, 0.4, 0.3],
    "image_std": [0.5, 0.6, 0.7],
    "tokenizer": {"type": "words", "words": WORDS, "context_length": 8},
}
TEXTS = ("man", "woman")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The spec of a made-up CLIP that reads 16 px and five words."""
    folder = tmp_path_factory.mktemp("held_out")
    torch.manual_seed(3)
    towers = {key: CONFIG[key] for key in ("embed_dim", "vision_cfg", "text_cfg")}
    model = open_clip.model.CLIP(**towers)
    save_file({k: x.contiguous() for k, x in model.state_dict().items()}, folder / "clip.safetensors")
    (folder / "clip.json").write_text(json.dumps(CONFIG))
    (folder / "templates.txt").write_text("a {}\na photo of a {}\n")
    files = {"config": "clip.json", "weights": "clip.safetensors", "templates": "templates.txt"}
    return {"name": "h", **{key: str(folder / name) for key, name in files.items()}}


def test_cosines_are_those_of_open_clip_s_own_model_and_do_not_depend_on_the_batch(small):
    images = np.random.default_rng(0).integers(0, 256, (7, 16, 16, 3), dtype=np.uint8)
    held_out = HeldOutClip(HeldOutClipSpec(**small), TEXTS, torch.device("cpu"))
    found = held_out.cosines(images, 3)
    assert found.shape == (7, 2) and found.dtype == np.float32
    assert_numbers_agree(held_out.cosines(images, 7), found)

    torch.manual_seed(3)
    model = open_clip.model.CLIP(**{k: CONFIG[k] for k in ("embed_dim", "vision_cfg", "text_cfg")}).eval()
    start, end = 1, len(WORDS) + 2
    ids = {word: number for number, word in enumerate(WORDS, 2)}

    def tokens(text):
        row = [start, *(ids[word] for word in text.split()), end]
        return row + [0] * (8 - len(row))

    with torch.inference_mode():
        prompts = [[template.format(text) for template in ("a {}", "a photo of a {}")] for text in TEXTS]
        texts = [F.normalize(model.encode_text(torch.tensor([tokens(p) for p in both])), dim=-1) for both in prompts]
        texts = torch.stack([F.normalize(part.mean(0), dim=-1) for part in texts])
        mean, std = (torch.tensor(CONFIG[key]).view(3, 1, 1) for key in ("image_mean", "image_std"))
        seen = F.normalize(model.encode_image(((to_tensor(images) + 1) / 2 - mean) / std), dim=-1)
    assert_numbers_agree(found, (seen @ texts.T).numpy())


def test_the_mini_world_s_clip_c_tells_drawn_dogs_from_cats(root):
    weights = root / "workflow/worlds/mini/weights"
    spec = HeldOutClipSpec(
        name="c", config=str(weights / "clip_c.json"), weights=str(weights / "clip_c.safetensors"),
        templates=str(root / "workflow/worlds/mini/templates.txt"),
    )  # fmt: skip
    held_out = HeldOutClip(spec, ("dog", "cat"), torch.device("cpu"))
    for kind, bounds in (("dog", (0.9, 1.0)), ("cat", (0.0, 0.1))):
        cosines = held_out.cosines(reference_images(kind, kind, "photo", 40, 32), 20)
        assert bounds[0] <= (cosines[:, 0] > cosines[:, 1]).mean() <= bounds[1]
    assert held_out.record()["name"] == "c" and held_out.clip.model.transformer is None


def test_a_text_that_it_cannot_read_is_an_error(small):
    with pytest.raises(UserError, match="CLIP 'h'.*'doctor'"):
        HeldOutClip(HeldOutClipSpec(**small), ("man", "doctor"), torch.device("cpu"))


def test_an_observation_with_it_keeps_everything_else_and_its_table_says_what_the_share_is_not(
    tiny_world, small, tmp_path, capsys, scikit_learn_extra
):
    plain = tiny_world.spec(seeds=(0, 1))
    asked = {"referee": {**plain["referee"], "held_out_clip": small}, "zero_shot": list(TEXTS)}
    rows, files = ("source-unchanged", "nada-global"), {}
    for name in (*rows, "real"):
        method, _, variant = name.partition("-")
        seeds = {"real": (), "nada-global": (0, 1)}.get(name, (0,))
        path, files[name] = tmp_path / f"{name}.json", tmp_path / f"{name}.npz"
        path.write_text(json.dumps(tiny_world.spec(variant, method, seeds, **asked)))
        assert observe.main(["--spec", str(path), "--out", str(files[name])]) == 0
    seen = load_observation(files["nada-global"])
    before = load_observation(tiny_world.folder / "nada-global.npz")
    new = {key for key in seen.arrays if key not in before.arrays}
    assert new == {"seed0/text_cosines", "seed1/text_cosines"}
    assert all(np.array_equal(seen[key], before[key]) for key in before.arrays)
    assert seen["seed0/text_cosines"].shape == (60, 2) and seen.meta["zero_shot"] == list(TEXTS)
    assert seen.meta["networks"]["held_out_clip"]["sha256"] == sha256(small["weights"])
    assert seen.meta["hashes"]["held_out_clip"] == sha256(small["weights"])

    group = tiny_world.group(rows, table=["zero_shot_share", "mean_lpips"])
    for row in group["rows"]:
        row["observation"] = str(files[f"{row['method']}-{row['variant']}"])
    task = {"real": str(files["real"]), "zero_shot": {"clip": "h", "texts": list(TEXTS)}}
    (tmp_path / "group.json").write_text(json.dumps({**group, "tasks": {"dog2cat": task}}))
    words = ["--spec", str(tmp_path / "group.json")]
    assert score.main([*words, "--out", str(tmp_path / "scores.csv")]) == 0
    scores = score.read_scores(tmp_path / "scores.csv")
    found = scores[(scores.metric == "zero_shot_share") & (scores.method == "nada") & (scores.step == "last")]
    cosines = [seen[f"seed{seed}/text_cosines"] for seed in (0, 1)]
    assert found.value.astype(float).tolist() == pytest.approx([(c[:, 0] > c[:, 1]).mean() for c in cosines])
    assert set(scores[scores.metric == "zero_shot_share"].method) == {"real", "source", "nada"}
    assert tables.main([*words, "--scores", str(tmp_path / "scores.csv"), "--out", str(tmp_path / "t")]) == 0
    for ending in (".md", ".html", ".tex"):
        text = (tmp_path / f"t{ending}").read_text()
        assert "the CLIP h, which steers no adaptation" in text and "not people" in text, ending


def test_texts_without_a_clip_and_a_clip_without_texts_are_refused(tiny_world, small, tmp_path, capsys):
    for changes in (
        {"zero_shot": list(TEXTS)},
        {"referee": {**tiny_world.spec()["referee"], "held_out_clip": small}},
    ):
        (tmp_path / "spec.json").write_text(json.dumps(tiny_world.spec(**changes)))
        assert observe.main(["--spec", str(tmp_path / "spec.json"), "--out", str(tmp_path / "o.npz")]) == 2
        assert "give both, or neither" in capsys.readouterr().err
