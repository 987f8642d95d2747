"""The image bank: stored images, drawn by the latent code alone."""

import pytest
import torch

from nada.images.image_bank import ImageBank
from nada.images.tensors import to_tensor
from nada.run.artifact import AdaptedModel, load_artifact, save_artifact, snapshot_steps


@pytest.fixture
def bank():
    torch.manual_seed(0)
    bank = ImageBank(5, 8)
    bank.images.copy_(torch.randint(0, 256, (5, 8, 8, 3), dtype=torch.uint8))
    return bank


def test_every_image_is_drawn_as_often_as_the_others_and_mirrored_every_other_time(bank):
    torch.manual_seed(1)
    drawn = bank.sample(torch.randn(4000, 6))
    stored = to_tensor(bank.images)
    known = torch.cat([stored, stored.flip(3)])
    equal = (drawn[:, None] == known[None]).flatten(2).all(dim=2)  # [4000,10]
    assert (equal.sum(dim=1) == 1).all()
    shares = equal.double().mean(dim=0)
    assert (shares - 0.1).abs().max() < 4 * (0.1 * 0.9 / 4000) ** 0.5


def test_the_first_entry_says_which_image_and_the_sign_of_the_second_whether_mirrored(bank):
    stored = to_tensor(bank.images)
    z = torch.tensor([[-9.0, -1, 5], [9.0, -1, -5], [0.0, 1, 0], [40.0, 1, 0]])
    drawn = bank.sample(z)
    expected = torch.stack([stored[0], stored[4], stored[2].flip(2), stored[4].flip(2)])
    assert torch.equal(drawn, expected)
    assert torch.equal(bank.sample(z, truncation_psi=0.1), drawn)


def test_a_bank_is_an_artifact_that_draws_from_its_folder_alone(tmp_path, bank):
    save_artifact(tmp_path, AdaptedModel(bank), {"step": 0})
    z = torch.randn(7, 6)
    assert torch.equal(load_artifact(tmp_path).sample(z, 0.7), bank.sample(z))
    assert snapshot_steps(tmp_path) == [0]


def test_a_code_of_one_entry_is_an_error(bank):
    with pytest.raises(ValueError, match=r"z must have shape \[N, 2 or more\], got \[3, 1\]"):
        bank.sample(torch.randn(3, 1))
