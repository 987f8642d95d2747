"""Training state: random streams continue, nothing is executed, damage is told."""

import random

import numpy as np
import pytest
import torch

from nada.run.errors import UserError
from nada.run.training_state import TrainingState, state_key


def draw():
    return torch.rand(3).tolist(), np.random.rand(3).tolist(), random.random(), np.random.randn()


def test_state_and_the_streams_of_torch_numpy_and_python_come_back(tmp_path):
    state = TrainingState(tmp_path, "key")
    np.random.randn()  # leaves half a pair of normals in numpy's stream
    state.save(7, {"w": torch.arange(3.0), "rows": [{"step": 1, "loss": 0.5}], "name": "x"})
    expected = draw()
    draw()
    step, loaded = TrainingState(tmp_path, "key").load()
    assert step == 7 and loaded["w"].tolist() == [0, 1, 2]
    assert loaded["rows"] == [{"step": 1, "loss": 0.5}] and loaded["name"] == "x"
    assert draw() == expected


def test_an_optimiser_s_state_comes_back(tmp_path):
    weight = torch.ones(2, requires_grad=True)
    optimiser = torch.optim.Adam([weight], betas=(0.0, 0.99))
    weight.sum().backward()
    optimiser.step()
    TrainingState(tmp_path, "k").save(1, {"optimiser": optimiser.state_dict()})
    fresh = torch.optim.Adam([weight], betas=(0.0, 0.99))
    fresh.load_state_dict(TrainingState(tmp_path, "k").load()[1]["optimiser"])
    saved, restored = optimiser.state_dict()["state"][0], fresh.state_dict()["state"][0]
    assert all(torch.equal(saved[key], restored[key]) for key in saved)


def test_states_of_other_keys_are_not_seen_and_discard_removes_only_one(tmp_path):
    one, other = TrainingState(tmp_path, "one"), TrainingState(tmp_path, "other")
    one.save(1, {})
    assert other.load() is None
    other.save(2, {})
    one.discard()
    assert one.load() is None and other.load()[0] == 2


def test_the_key_changes_with_every_part_of_the_identity():
    identity = {"hyperparameters": {"lr": 0.002}, "code": "a", "device": "cpu", "torch": "2.4"}
    changes = [{"hyperparameters": {"lr": 0.003}}, {"code": "b"}, {"device": "cuda"}, {"torch": "2.5"}]
    keys = {state_key(identity), *(state_key({**identity, **change}) for change in changes)}
    assert len(keys) == 5
    assert state_key(dict(reversed(identity.items()))) == state_key(identity)


def test_a_truncated_state_is_an_error_that_says_what_to_remove(tmp_path):
    state = TrainingState(tmp_path, "key")
    state.save(1, {"w": torch.zeros(1000)})
    state.path.write_bytes(state.path.read_bytes()[:500])
    with pytest.raises(UserError, match=f"remove the folder {state.folder}"):
        state.load()


def test_a_diverged_state_is_an_error_that_names_the_tensor_and_says_what_to_do(tmp_path):
    state = TrainingState(tmp_path, "key")
    moments = [{"exp_avg": torch.tensor([1.0, float("inf")])}]
    state.save(1, {"w": torch.zeros(3), "optimiser": {"state": moments}})
    with pytest.raises(UserError, match=r"optimiser\.state\.0\.exp_avg .* try a lower lr"):
        state.load()


def test_a_state_never_executes_code(tmp_path):
    class Harmful:
        def __reduce__(self):
            return (tmp_path.joinpath("executed").write_text, ("yes",))

    state = TrainingState(tmp_path, "key")
    state.folder.mkdir()
    torch.save({"step": 1, "state": Harmful(), "rng": {}}, state.path)
    with pytest.raises(UserError):
        state.load()
    assert not (tmp_path / "executed").exists()
