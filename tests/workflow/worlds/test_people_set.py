"""The names that people gave, as a test set of the judge."""

import numpy as np
import pandas as pd
import pytest
import torch

from nada.images.arrays import save_images
from nada.run.errors import UserError
from workflow.worlds.mini.people_set import (
    NONE_OF_THESE,
    agreement,
    gather,
    load_people,
    majority,
    save_people,
)


def study(folder, real_name, adapted_names):
    """A folder with one real and len(adapted_names) adapted pictures, named by three people."""
    folder.mkdir()
    count = 1 + len(adapted_names)
    shades = np.arange(count, dtype=np.uint8)[:, None, None, None] * 50
    save_images(folder / "pictures.npz", np.broadcast_to(shades, (count, 8, 8, 3)))
    groups = ["real", *["adapted"] * len(adapted_names)]
    pd.DataFrame({"number": range(1, count + 1), "group": groups}).to_csv(folder / "key.csv", index=False)
    for person in range(3):
        names = [real_name, *(told[person] for told in adapted_names)]
        frame = pd.DataFrame({"number": range(1, count + 1), "name": names})
        frame.to_csv(folder / f"answers_{person + 1}.csv", index=False)
    return folder


def test_the_majority_counts_in_this_worlds_words():
    assert majority(["Kitten ", "cat", "dog"]) == "cat"
    assert majority(["cat", "dog", "fox"]) == NONE_OF_THESE  # no majority
    assert majority(["smudge", "smudge", "cat"]) == NONE_OF_THESE  # no name of this world
    assert majority(["cat", "dog"]) == NONE_OF_THESE  # half is no majority


def test_the_set_is_gathered_saved_and_read_again(tmp_path):
    cats = study(tmp_path / "cats", "cat", [("cat", "cat", "dog"), ("blob", "blob", "cat")])
    sketches = study(tmp_path / "sketches", "drawing", [("sketch", "drawing", "photo")])
    people = gather([cats, sketches])
    assert people.names.tolist() == ["cat", "cat", NONE_OF_THESE, "sketch", "sketch"]
    assert people.studies.tolist() == ["cats"] * 3 + ["sketches"] * 2
    save_people(tmp_path / "people.npz", people)
    again = load_people(tmp_path / "people.npz")
    assert all((one == other).all() for one, other in zip(people, again, strict=True))

    class Judge:
        """Refuses the second adapted cat, and takes the second sketch for a photograph."""

        class_names, style_names = ["cat", "dog", NONE_OF_THESE], ["photo", "sketch"]

        def __call__(self, images):
            assert images.shape == (5, 3, 8, 8)
            return {"class_logits": torch.eye(3)[[0, 0, 2, 1, 1]], "style_logits": torch.eye(2)[[0, 0, 0, 1, 0]]}

    judge = Judge()
    assert agreement(judge, people) == {"adapted": pytest.approx(2 / 3), "all": pytest.approx(4 / 5)}


def test_a_study_without_answers_or_with_a_missing_name_is_named(tmp_path):
    folder = study(tmp_path / "cats", "cat", [("cat", "cat", "dog")])
    frame = pd.read_csv(folder / "answers_2.csv")
    frame[:1].to_csv(folder / "answers_2.csv", index=False)
    with pytest.raises(UserError, match="gave picture 2 no name"):
        gather([folder])
    for path in folder.glob("answers*"):
        path.unlink()
    with pytest.raises(UserError, match="a study needs pictures.npz"):
        gather([folder])
