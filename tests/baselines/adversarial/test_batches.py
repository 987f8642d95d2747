"""Batches of real images: orders without and with replacement, mirrors, resume."""

from collections import Counter

import pytest
import torch

from baselines.adversarial.batches import Batches


def images(count: int) -> torch.Tensor:
    """Image i is i everywhere, but for a ramp by which a mirrored one is known."""
    ramp = torch.linspace(0, 0.5, 4)
    return (torch.arange(float(count))[:, None, None, None] + ramp).expand(count, 3, 4, 4)


def rows_of(batches: Batches, draws: int) -> list[list[int]]:
    return [batches.rows().tolist() for _ in range(draws)]


def test_an_epoch_shows_whole_batches_of_a_new_order_and_drops_the_rest():
    torch.manual_seed(0)
    drawn = rows_of(Batches(images(10), 4, 0.0), 40)
    epochs = [drawn[i] + drawn[i + 1] for i in range(0, 40, 2)]
    assert all(len(set(epoch)) == 8 for epoch in epochs)  # two images of ten are left out
    assert len({tuple(epoch) for epoch in epochs}) > 1
    assert {row for epoch in epochs for row in epoch} == set(range(10))


def test_as_many_images_as_a_batch_are_all_of_each_batch():
    torch.manual_seed(0)
    for rows in rows_of(Batches(images(4), 4, 0.0), 5):
        assert sorted(rows) == [0, 1, 2, 3]


@pytest.mark.parametrize("count", [1, 3])
def test_with_fewer_images_than_a_batch_the_orders_follow_one_another(count):
    torch.manual_seed(0)
    rows = [row for batch in rows_of(Batches(images(count), 4, 0.0), 3 * count) for row in batch]
    orders = [rows[i : i + count] for i in range(0, len(rows), count)]
    assert all(sorted(order) == list(range(count)) for order in orders)


def test_with_replacement_a_batch_may_hold_an_image_twice_and_every_image_is_as_likely():
    torch.manual_seed(0)
    drawn = rows_of(Batches(images(10), 4, 0.0, "replacement"), 1000)
    twice = sum(len(set(rows)) < 4 for rows in drawn) / 1000
    assert twice == pytest.approx(1 - 10 * 9 * 8 * 7 / 10**4, abs=0.05)
    counts = Counter(row for rows in drawn for row in rows)
    assert set(counts) == set(range(10)) and max(counts.values()) < 500


@pytest.mark.parametrize("sampling", ["epochs", "replacement"])
def test_each_image_is_mirrored_by_itself(sampling):
    torch.manual_seed(0)
    few = images(3)
    batches = Batches(few, 3, 0.25, sampling)
    drawn = [batches.draw() for _ in range(200)]
    every = torch.cat(drawn)
    same = (every[:, None] == few).flatten(2).all(2)
    mirrored = (every[:, None] == few.flip(3)).flatten(2).all(2)
    assert (same | mirrored).any(1).all()
    assert mirrored.any(1).float().mean().item() == pytest.approx(0.25, abs=0.06)
    mixed = [0 < (batch[:, 0, 0, 0] > batch[:, 0, 0, 3]).sum() < 3 for batch in drawn]
    assert sum(mixed) / 200 == pytest.approx(1 - 0.75**3 - 0.25**3, abs=0.12)


@pytest.mark.parametrize(
    ("count", "sampling"), [(10, "epochs"), (3, "epochs"), (10, "replacement")]
)
def test_batches_go_on_within_an_epoch_as_if_they_had_not_stopped(count, sampling):
    torch.manual_seed(0)
    whole = Batches(images(count), 4, 0.5, sampling)
    whole.draw()
    state, stream = whole.state_dict(), torch.get_rng_state()
    expected = [whole.draw() for _ in range(5)]
    torch.manual_seed(9)
    again = Batches(images(count), 4, 0.5, sampling)
    again.draw()
    again.load_state_dict(state)
    torch.set_rng_state(stream)
    assert all(torch.equal(again.draw(), batch) for batch in expected)


def test_the_state_is_the_rest_of_the_epoch_and_no_more():
    batches = Batches(images(1000), 4, 0.5)
    for _ in range(249):
        batches.rows()
    (waiting,) = batches.state_dict().values()
    assert len(waiting) == 4 and waiting.untyped_storage().nbytes() == 32
