"""Ranger against its equations, one number at a time in float64."""

import copy

import numpy as np
import pytest
import torch

from nada.ranger import Ranger

LR, BETAS = 0.5, (0.95, 0.999)


def by_hand(start, gradients, lr=LR, betas=BETAS, eps=1e-5, every=6, share=0.5):
    """The weights after each step, from the equations of RAdam, Lookahead and centralisation."""
    beta1, beta2 = betas
    weights, slow = start.copy(), start.copy()
    m, v = np.zeros_like(start), np.zeros_like(start)
    longest = 2 / (1 - beta2) - 1
    after = []
    for t, g in enumerate(gradients, start=1):
        if g.ndim > 1:  # the mean over what belongs to one output
            g = g - g.reshape(len(g), -1).mean(axis=1).reshape(-1, *[1] * (g.ndim - 1))
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        length = longest - 2 * t * beta2**t / (1 - beta2**t)
        first = m / (1 - beta1**t)
        if length > 5:
            rectified = (length - 4) * (length - 2) * longest
            rectified /= (longest - 4) * (longest - 2) * length
            first = first * np.sqrt(rectified) * np.sqrt(1 - beta2**t) / (np.sqrt(v) + eps)
        weights = weights - lr * first
        if t % every == 0:
            slow = slow + share * (weights - slow)
            weights = slow.copy()
        after.append(weights.copy())
    return after


@pytest.mark.parametrize("shape", [(5,), (3, 4), (2, 3, 2)], ids=str)
def test_twenty_steps_are_those_of_the_equations(shape):
    """Twenty pass the rectification's threshold (step 6) and look ahead three times."""
    random = np.random.default_rng(0)
    start = random.normal(size=shape)
    gradients = [random.normal(size=shape) * 0.1 + 0.05 for _ in range(20)]
    parameter = torch.nn.Parameter(torch.from_numpy(start.copy()))
    optimiser = Ranger([parameter], lr=LR, betas=BETAS)
    for gradient, expected in zip(gradients, by_hand(start, gradients), strict=True):
        parameter.grad = torch.from_numpy(gradient.copy())
        optimiser.step()
        np.testing.assert_allclose(parameter.detach().numpy(), expected, rtol=1e-10, atol=1e-12)


def test_without_centred_gradients_or_slow_weights_the_same_steps_end_elsewhere():
    random = np.random.default_rng(0)
    start, gradients = random.normal(size=(3, 4)), [random.normal(size=(3, 4)) for _ in range(7)]
    whole = by_hand(start, gradients)[-1]
    rows = [row.reshape(-1) for row in (start, *gradients)]
    uncentred = by_hand(rows[0], rows[1:])[-1].reshape(3, 4)
    fast = by_hand(start, gradients, every=100)[-1]
    assert np.abs(whole - uncentred).max() > 0.1 and np.abs(whole - fast).max() > 0.1


def test_a_parameter_without_gradient_is_left_alone_and_counts_from_its_own_first_step():
    first, second = (torch.nn.Parameter(torch.ones(2, dtype=torch.float64)) for _ in range(2))
    optimiser = Ranger([first, second], lr=LR, betas=BETAS)
    for step in range(9):
        first.grad = torch.full_like(first, 0.1)
        second.grad = torch.full_like(second, 0.1) if step >= 2 else None
        optimiser.step()
        if step == 1:
            assert torch.equal(second, torch.ones_like(second))
    expected = by_hand(np.ones(2), [np.full(2, 0.1)] * 9)
    np.testing.assert_allclose(first.detach().numpy(), expected[8], rtol=1e-10)
    np.testing.assert_allclose(second.detach().numpy(), expected[6], rtol=1e-10)


def test_a_saved_state_goes_on_to_the_same_weights():
    torch.manual_seed(0)
    gradients = torch.randn(9, 3, 4)
    whole = torch.nn.Parameter(torch.ones(3, 4))
    optimiser = Ranger([whole], lr=LR, betas=BETAS)
    for step, gradient in enumerate(gradients):
        if step == 4:
            part = torch.nn.Parameter(whole.detach().clone())
            saved = copy.deepcopy(optimiser.state_dict())
        whole.grad = gradient.clone()
        optimiser.step()
    again = Ranger([part], lr=LR, betas=BETAS)
    again.load_state_dict(saved)
    for gradient in gradients[4:]:
        part.grad = gradient.clone()
        again.step()
    assert torch.equal(part, whole)
