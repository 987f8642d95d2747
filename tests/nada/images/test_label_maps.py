"""One-hot label maps."""

import pytest
import torch

from nada.images.label_maps import one_hot
from nada.run.errors import UserError


def test_one_hot_marks_each_label_and_refuses_labels_that_the_network_does_not_know():
    ids = torch.tensor([[[0, 2], [1, 0]]], dtype=torch.uint8)
    expected = torch.tensor([[[[1.0, 0], [0, 1]], [[0, 0], [1, 0]], [[0, 1], [0, 0]]]])
    assert torch.equal(one_hot(ids, 3), expected)
    with pytest.raises(UserError, match="has the labels 0 to 2, but the network knows 0 to 1"):
        one_hot(ids, 2)
    with pytest.raises(UserError, match="labels -1 to"):
        one_hot(ids.long() - 1, 3)
    with pytest.raises(UserError, match=r"whole numbers \[N, H, W\] expected"):
        one_hot(torch.zeros(1, 2, 2), 3)
    with pytest.raises(UserError, match=r"shape \[0, 2, 2\] given"):
        one_hot(ids[:0], 3)
