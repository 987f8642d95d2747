"""The design of the preference study: balanced pairs, random sides, repeats, attention checks."""

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from eval.study import prepare
from eval.study.answers import AnswerStore
from eval.study.folder import load_study
from eval.study.pairs import CHECK, PAIR, REPEAT, design, scrambled
from nada.run.errors import UserError
from nada.run.spec.base import as_json
from tests.eval.study.conftest import OURS, RIVALS, spec_of

CHANNEL = {"tgan": 1, "ojha": 2}


def test_every_rival_meets_ours_as_often_with_one_latent_and_seed(tmp_path):
    spec = spec_of(tmp_path)
    pairs, _, pictures = design(spec)
    counted = pairs[pairs.kind == PAIR]
    assert counted.groupby("method").size().to_dict() == {"ojha": 8, "tgan": 8}
    assert not counted.duplicated(["method", "latent"]).any() and set(counted.seed) == {0, 1}
    for row in counted.itertuples():
        shade = 100 + 50 * row.seed + row.latent
        assert pictures[row.rival][-1, -1, CHANNEL[row.method]] == shade
        assert pictures[row.preferred][-1, -1, 0] == shade


def test_the_same_seed_gives_the_same_study_and_another_seed_another(tmp_path):
    one, same, other = (design(spec_of(tmp_path, seed=seed)) for seed in (0, 0, 1))
    assert one[0].equals(same[0]) and one[1].equals(same[1]) and not one[0].equals(other[0])
    assert all((a == b).all() for a, b in zip(one[2], same[2], strict=True))


def test_booklets_are_balanced_over_models_pairs_and_sides(tmp_path):
    spec = spec_of(tmp_path)
    pairs, booklets, _ = design(spec)
    whole = booklets.merge(pairs.drop(columns="kind"), on="pair")
    counted = whole[whole.kind == PAIR]
    assert (counted.groupby(["booklet", "method"]).size() == spec.per_rater).all()
    assert (counted.groupby("pair").size() == 2).all()
    left = counted.left == counted.rival
    assert (left.groupby(counted.pair).sum() == 1).all()  # once on each side
    assert (left.groupby(counted.booklet).mean() == 0.5).all()
    sizes = booklets.groupby("booklet").size()
    assert len(sizes) == 2 * spec.pairs // spec.per_rater and sizes.nunique() == 1


def test_a_repeat_is_a_pair_of_the_same_booklet_later_with_sides_swapped(tmp_path):
    spec = spec_of(tmp_path)
    _, booklets, _ = design(spec)
    for _, rows in booklets.groupby("booklet"):
        again = rows[rows.kind == REPEAT].set_index("pair")
        first = rows[rows.kind == PAIR].set_index("pair").loc[again.index]
        assert len(again) == spec.repeats and (again.position > first.position).all()
        assert (again.left == first.right).all() and (again.right == first.left).all()


def test_checks_are_spread_over_a_booklet_on_both_sides(tmp_path):
    spec = spec_of(tmp_path)
    pairs, booklets, pictures = design(spec)
    for _, rows in booklets.groupby("booklet"):
        places = rows.position[rows.kind == CHECK].tolist()
        assert len(places) == spec.checks and np.diff(places).max() < len(rows) - 2
    for row in pairs[pairs.kind == CHECK].itertuples():
        rival, intact = pictures[row.rival], pictures[row.preferred]
        assert (rival != intact).any()
        assert sorted(map(tuple, rival.reshape(-1, 3))) == sorted(map(tuple, intact.reshape(-1, 3)))


@pytest.mark.parametrize("size", [(32, 32), (30, 17), (4, 4), (1024, 8)])
def test_scrambling_keeps_size_and_colours(size):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    moved = scrambled(image, np.random.default_rng(1))
    assert moved.shape == image.shape and (moved != image).any()
    assert sorted(moved.ravel()) == sorted(image.ravel())


def test_picture_numbers_tell_nothing_of_the_model(tmp_path):
    pairs, _, pictures = design(spec_of(tmp_path))
    assert sorted({*pairs.rival, *pairs.preferred}) == list(range(len(pictures)))
    counted = pairs[pairs.kind == PAIR]
    assert 0.1 < (counted.rival < counted.preferred).mean() < 0.9


def test_too_few_pictures_too_many_repeats_and_no_rival_are_one_sentence(tmp_path):
    with pytest.raises(UserError, match="12 kept images, 16 pairs are asked for; lower study.pairs"):
        design(spec_of(tmp_path, pairs=16))
    with pytest.raises(UserError, match="one person sees 8 pairs, so at most 4 can be repeated, not 5"):
        design(spec_of(tmp_path, repeats=5))
    spec = spec_of(tmp_path)
    elsewhere = tuple(row.model_copy(update={"task": "dog2bear"}) for row in spec.rows[1:])
    questions = {"dog2cat": "q", "dog2bear": "q"}
    with pytest.raises(UserError, match="no other model shares a task with the preferred one"):
        design(spec.model_copy(update={"rows": (spec.rows[0], *elsewhere), "questions": questions}))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("per_rater", 3, "'pairs' is 8, no multiple of 'per_rater', 3"),
        ("questions", {"dog2bear": "?"}, "'rows' names the task 'dog2cat', which has no question"),
        ("preferred", {"method": "x", "variant": "y"}, "'preferred' names a model that 'rows' do not show"),
        ("checks", -1, "checks is -1; it must be greater than or equal to 0"),
    ],
)
def test_a_faulty_spec_is_one_sentence(tmp_path, capsys, key, value, message):
    told = spec_of(tmp_path).model_dump(mode="json") | {key: value}
    (tmp_path / "spec.json").write_text(json.dumps(told))
    assert prepare.main(["--spec", str(tmp_path / "spec.json"), "--out", str(tmp_path / "study")]) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1 and not (tmp_path / "study").exists()


def test_the_folder_holds_the_study_and_reads_back(study, tmp_path):
    pairs, booklets, pictures = design(spec_of(tmp_path))
    pd.testing.assert_frame_equal(study.pairs, pairs, check_dtype=False)
    pd.testing.assert_frame_equal(study.booklets, booklets, check_dtype=False)
    assert study.booklet_count == 4 and study.length == 8 + 2 + 3
    for number, image in enumerate(pictures):
        assert (np.asarray(Image.open(study.picture(number))) == image).all()
    assert len(list((study.folder / "pictures").iterdir())) == len(pictures)


def test_a_study_that_people_have_answered_is_not_made_anew(study, make_study, tmp_path, capsys):
    store = AnswerStore(study)
    store.answer(store.start().result(), 0, "left", 1).result()
    study.picture(0).unlink()
    assert make_study().identity == study.identity and study.picture(0).is_file()  # the same one is completed
    before = {path.name: path.read_bytes() for path in (study.folder / "pictures").iterdir()}
    (tmp_path / "spec.json").write_text(as_json(spec_of(tmp_path, seed=1)))
    capsys.readouterr()
    assert prepare.main(["--spec", str(tmp_path / "spec.json"), "--out", str(study.folder)]) == 2
    assert "has people's answers to other pictures; move the folder away" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in (study.folder / "pictures").iterdir()} == before
    assert load_study(study.folder).identity == study.identity


@pytest.mark.parametrize("name", ["manifest.json", "pairs.csv", "booklets.csv"])
def test_a_folder_with_a_missing_or_faulty_file_is_one_sentence(study, name):
    text = (study.folder / name).read_text()
    for faulty in ("", "a,b\n1,2\n", "[]", text.replace("identity", "x").replace("pair,", "p,")):
        (study.folder / name).write_text(faulty)
        with pytest.raises(UserError, match="prepare"):
            load_study(study.folder)
    (study.folder / name).unlink()
    with pytest.raises(UserError, match=f"is no study \\({name} is missing\\); `snakemake study` prepares one"):
        load_study(study.folder)


def test_models_of_this_file_are_the_ones_that_the_study_names(study):
    assert set(study.pairs.method) == {OURS[1], *(rival[1] for rival in RIVALS)}
