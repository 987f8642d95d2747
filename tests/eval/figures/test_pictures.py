"""Sheets of pictures: whole factors, wrapping, galleries in order of the codes, shifts of factors."""

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from eval.figures import bias, gallery, grid, sheet
from eval.metrics.correspondence import factor_bias, factor_shifts
from eval.observation import Observation, load_observation, save_observation
from nada.run.errors import UserError
from nada.run.spec.group_spec import read_group_spec

MEMBERS = ("source-unchanged", "nada-global", "nada-adaptive")


@pytest.fixture
def spec(tiny_world, tmp_path):
    """A group of the tiny world's models."""
    members = [name for name in MEMBERS if (tiny_world.folder / f"{name}.npz").is_file()]
    (tmp_path / "group.json").write_text(json.dumps(tiny_world.group(members)))
    return tmp_path / "group.json"


def column(title, task="dog2cat", side=32, rows=2):
    return grid.Column(title, task, title, np.zeros((rows, side, side, 3), np.uint8))


def test_many_columns_are_wrapped_and_each_part_begins_with_the_source():
    table = [column("source"), *(column(f"m{i}") for i in range(24)), column("source", "a2b"), column("n", "a2b")]
    found = grid.blocks(table)
    assert [block.heads[0] for block in found] == ["source"] * 3
    assert [head for block in found for head in block.heads[1:]] == [*(f"m{i}" for i in range(24)), "n"]
    assert [block.title for block in found] == ["dog → cat", "dog → cat, continued", "a → b"]
    figure = sheet.draw(found, "World mini: a title " * 12)
    assert figure.get_figwidth() * sheet.DPI <= sheet.WIDEST + 100
    figure.canvas.draw()
    boxes = [text.get_window_extent() for text in figure.texts]
    assert all(0 <= box.x0 and box.x1 <= figure.bbox.x1 and 0 <= box.y0 and box.y1 <= figure.bbox.y1 for box in boxes)


def test_pictures_are_at_least_96_pixels_wide_and_keep_their_colours(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    figure = sheet.draw([sheet.Block("a", [("x", images)])], "t")
    figure.savefig(tmp_path / "a.png", dpi=sheet.DPI)
    picture = np.asarray(Image.open(tmp_path / "a.png").convert("RGB"))
    cell = images[1].repeat(3, axis=0).repeat(3, axis=1)
    windows = np.lib.stride_tricks.sliding_window_view(picture, cell.shape)
    assert (windows == cell).all(axis=(-1, -2, -3)).sum() == 1


def test_a_gallery_shows_the_first_codes_in_order_truncated_and_the_source_once(spec, tiny_world, tmp_path):
    prefix = str(tmp_path / "g")
    group = read_group_spec(spec)
    gallery.draw(group, None, prefix)
    table = pd.read_csv(prefix + ".csv", keep_default_na=False)
    assert set(table.truncation_psi) == {0.7}
    models = table.drop_duplicates(["method", "variant"])[["method", "variant"]].values.tolist()
    assert models[0] == ["source", "unchanged"] and models.count(["source", "unchanged"]) == 1
    for _, of_model in table.groupby(["method", "variant"]):
        assert of_model.latent.tolist() == list(range(len(of_model)))  # in order, none left out
    _, pictures = gallery.data(group)
    seen = load_observation(tiny_world.folder / "nada-adaptive.npz")
    shown = pictures["dog2cat", "nada", "adaptive", 0, "source"]
    assert np.array_equal(shown, seen["seed0/gallery"][: len(shown)])
    for ending in (".svg", ".pdf", ".png"):
        assert (tmp_path / f"g{ending}").stat().st_size > 1000


def test_a_shift_is_the_mean_difference_in_units_of_the_source_and_its_mean_is_the_bias():
    rng = np.random.default_rng(0)
    frozen = np.column_stack([rng.normal(2, 3, 50), rng.normal(0, 1, 50), np.ones(50)])
    adapted = frozen + np.array([6, -1, 5]) * [1, 1, 1]
    shifts = factor_shifts(frozen, adapted)
    std = frozen.std(axis=0)
    assert shifts[:2] == pytest.approx([6 / std[0], -1 / std[1]]) and np.isnan(shifts[2])
    assert factor_bias(frozen, adapted) == pytest.approx(np.abs(shifts[:2]).mean())


def test_the_bias_figure_has_a_point_for_each_factor_and_model(spec, tiny_world, tmp_path):
    group = read_group_spec(spec)
    bias.draw(group, None, str(tmp_path / "b"))
    table = pd.read_csv(tmp_path / "b.csv")
    seen = load_observation(tiny_world.folder / "nada-adaptive.npz")
    part = table[table.variant == "adaptive"]
    assert part.factor.tolist() == list(seen.meta["factor_names"])
    frozen = seen["seed0/source_factors"]
    shifts = [factor_shifts(seen[f"seed{k}/source_factors"], seen[f"seed{k}/factors"][: len(frozen)])
              for k in (run["seed"] for run in seen.meta["runs"])]  # fmt: skip
    assert part["mean"].to_numpy() == pytest.approx(np.mean(shifts, axis=0), abs=1e-5)
    assert set(part.images) == {len(frozen)} and "source" not in set(table.method)


def test_a_world_without_a_judge_has_no_factors_to_draw(tiny_world, tmp_path):
    seen = load_observation(tiny_world.folder / "nada-adaptive.npz")
    arrays = {name: array for name, array in seen.arrays.items() if not name.endswith("factors")}
    save_observation(tmp_path / "o.npz", Observation(seen.meta, arrays))
    content = tiny_world.group(["nada-adaptive"])
    content["rows"][0]["observation"] = str(tmp_path / "o.npz")
    (tmp_path / "group.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="no judge estimated the factors"):
        bias.data(read_group_spec(tmp_path / "group.json"))
