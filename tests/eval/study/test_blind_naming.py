"""The blind naming study: what is shown, that nothing is given away, and how answers are counted."""

import numpy as np
import pandas as pd
import pytest

from eval.observation import Observation, save_observation
from eval.study.blind_naming import EACH, main, pick, score
from nada.images.arrays import load_images, save_images
from nada.run.errors import UserError


@pytest.fixture
def files(tmp_path):
    """An observation whose adapted images are red and source images green, and blue real ones."""

    def colour(channel, count):
        images = np.zeros((count, 8, 8, 3), np.uint8)
        images[..., channel] = 100 + np.arange(count)[:, None, None]  # the shade is the index
        return images

    arrays = {"seed3/gallery": colour(0, 20), "seed3/source_gallery": colour(1, 20)}
    save_observation(tmp_path / "o.npz", Observation({"runs": [{"seed": 3}]}, arrays))
    save_images(tmp_path / "r.npz", colour(2, 30))
    return tmp_path


def test_eight_of_each_group_are_shown_and_the_key_says_which(files):
    images, key = pick(files / "o.npz", files / "r.npz", seed=1)
    assert images.shape == (3 * EACH, 8, 8, 3)
    for image, row in zip(images, key.itertuples(), strict=True):
        channel = {"adapted": 0, "source": 1, "real": 2}[row.group]
        assert image[0, 0, channel] == 100 + row.index and image[0, 0].max() == image[0, 0].sum()
    assert key.group.value_counts().to_dict() == {"adapted": EACH, "real": EACH, "source": EACH}
    indices = {g: set(key[key.group == g]["index"]) for g in ("adapted", "source")}
    assert not indices["adapted"] & indices["source"]  # no face is shown before and after
    order = pick(files / "o.npz", files / "r.npz", seed=2)[1].group.tolist()
    assert order != key.group.tolist()


def test_too_few_kept_images_are_one_sentence(files):
    arrays = {f"seed0/{k}": np.zeros((9, 8, 8, 3), np.uint8) for k in ("gallery", "source_gallery")}
    save_observation(files / "few.npz", Observation({"runs": [{"seed": 0}]}, arrays))
    with pytest.raises(UserError, match=r"9 gallery images, 16 are needed"):
        pick(files / "few.npz", files / "r.npz", seed=0)


def test_answers_are_counted_by_group_and_a_missing_one_is_named():
    key = pd.DataFrame(
        {"number": [1, 2, 3, 4], "group": ["adapted", "real", "source", "adapted"], "index": 0}
    )
    answers = pd.DataFrame({"number": [1, 2, 3, 4], "name": ["Cat ", "cat", "dog", "fox"]})
    counts = score(key, answers, "cat").set_index("group")
    assert counts.named_target.to_dict() == {"adapted": 1, "real": 1, "source": 0}
    assert counts.pictures.to_dict() == {"adapted": 2, "real": 1, "source": 1}
    also = score(key, answers, "cat", ["Fox"]).set_index("group")
    assert also.named_target.to_dict() == {"adapted": 2, "real": 1, "source": 0}
    with pytest.raises(UserError, match="no name for picture 4"):
        score(key, answers[:3], "cat")


def test_the_command_draws_a_sheet_and_counts_its_answers(files, capsys):
    out = files / "study"
    options = ["--observation", str(files / "o.npz"), "--real", str(files / "r.npz")]
    for _ in range(2):  # an unanswered sheet may be drawn again
        assert main(["sheet", *options, "--out", str(out)]) in (0, None)
    assert (out / "sheet.png").read_bytes()[:4] == b"\x89PNG"
    key = pd.read_csv(out / "key.csv")
    images, _ = pick(files / "o.npz", files / "r.npz", seed=0)
    assert (load_images(out / "pictures.npz") == images).all()
    assert main(["score", "--folder", str(out), "--target", "cat"]) == 2
    assert "answers_1.csv is missing" in capsys.readouterr().err
    for viewer, name in enumerate(("cat", "dog"), start=1):
        answers = pd.DataFrame({"number": key.number, "name": name})
        answers.to_csv(out / f"answers_{viewer}.csv", index=False)
    assert main(["score", "--folder", str(out), "--target", "cat"]) in (0, None)
    result = pd.read_csv(out / "result.csv").set_index(["answers", "group"]).named_target
    groups = ("adapted", "real", "source")
    assert result["answers_1"].to_dict() == dict.fromkeys(groups, EACH)
    assert result["answers_2"].to_dict() == dict.fromkeys(groups, 0)
    before = (out / "key.csv").read_bytes()
    assert main(["sheet", *options, "--seed", "1", "--out", str(out)]) == 2
    assert "answers_1.csv has answers to the sheet" in capsys.readouterr().err
    assert (out / "key.csv").read_bytes() == before
