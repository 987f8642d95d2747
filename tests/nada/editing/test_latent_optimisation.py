"""Latent optimisation: its objective, its rate, what moves, and that codes of a batch do not meet."""

import numpy as np
import pytest
import torch

from nada.editing.latent_optimisation import (
    LatentOptimisationHyperparameters,
    optimise,
)
from nada.editing.style_space import read_styles, style_layers
from nada.run.errors import UserError


@pytest.fixture
def w_plus(generator):
    torch.manual_seed(4)
    return generator.broadcast(generator.mapping(torch.randn(2, 8))).detach()


@pytest.fixture
def target(clip):
    return clip.encode_texts(["cat"])[0]


def hparams(**changes):
    return LatentOptimisationHyperparameters(**{"iterations": 25, **changes})


def test_the_loss_falls_and_clip_sees_the_text_nearer(generator, clip, w_plus, target):
    found = optimise(generator, w_plus, [clip], [target], hparams())
    assert found.losses.shape == (25, 2)
    assert (found.losses[-1] < found.losses[0] - 0.02).all()
    before = clip.encode_images(generator.synthesis(w_plus, "const")) @ target
    after = clip.encode_images(generator.synthesis(found.w_plus, "const")) @ target
    assert (after > before + 0.02).all()
    assert torch.equal(found.images, generator.synthesis(found.w_plus, "const").detach())


def test_the_objective_is_the_sum_of_its_terms(generator, clip, w_plus, target):
    clip.weight, seen = 0.5, []

    def identity(images):
        return images.mean(dim=(2, 3)) + 2

    settings = hparams(iterations=4, lambda_l2=0.3, lambda_id=0.7)
    found = optimise(
        generator, w_plus, [clip], [target], settings, identity, lambda _, terms: seen.append(terms)
    )
    for terms in seen:
        expected = terms["clip_loss"] + 0.3 * terms["l2"] + 0.7 * terms["id_loss"]
        torch.testing.assert_close(terms["loss"], expected)
    assert torch.equal(found.losses, torch.stack([terms["loss"] for terms in seen]))
    # at the first code nothing has moved
    torch.testing.assert_close(seen[0]["l2"], torch.zeros(2))
    torch.testing.assert_close(seen[0]["id_loss"], torch.zeros(2), rtol=0, atol=1e-6)
    image = generator.synthesis(w_plus, "const")
    embedding = clip.embed_images(image).detach().double().numpy()
    embedding /= np.linalg.norm(embedding, axis=1, keepdims=True)
    expected = 0.5 * (1 - embedding @ target.double().numpy())
    np.testing.assert_allclose(seen[0]["loss"].numpy(), expected, rtol=1e-5)


def test_the_first_step_has_rate_0_and_the_second_adam_s_sign_step(generator, clip, w_plus, target):
    one = optimise(generator, w_plus, [clip], [target], hparams(iterations=1))
    assert torch.equal(one.w_plus, w_plus)
    two = optimise(generator, w_plus, [clip], [target], hparams(iterations=2, lambda_l2=0))
    # equal gradients twice: Adam's step is the rate in each entry, here 0.1 · 1 · 1 at t = 1/2
    leaf = w_plus.clone().requires_grad_(True)
    embedding = clip.encode_images(generator.synthesis(leaf, "const"))
    (gradient,) = torch.autograd.grad((1 - embedding @ target).sum(), leaf)
    large = gradient.abs() > 1e-5  # beside Adam's epsilon
    moved = (two.w_plus - w_plus)[large]
    torch.testing.assert_close(moved, -0.1 * gradient[large].sign(), rtol=0, atol=2e-4)


def test_a_larger_l2_weight_keeps_the_code_nearer(generator, clip, w_plus, target):
    far, near = (
        optimise(generator, w_plus, [clip], [target], hparams(lambda_l2=weight, iterations=15))
        for weight in (0.0, 1.0)
    )
    distances = [(found.w_plus - w_plus).square().sum(dim=(1, 2)) for found in (far, near)]
    assert (distances[1] < 0.1 * distances[0]).all()


def test_codes_of_a_batch_move_as_each_alone(generator, clip, w_plus, target):
    settings = hparams(iterations=10, lambda_l2=0.1)
    together = optimise(generator, w_plus, [clip], [target], settings)
    alone = [optimise(generator, code[None], [clip], [target], settings) for code in w_plus]
    losses = torch.cat([found.losses for found in alone], dim=1)
    torch.testing.assert_close(together.losses, losses, rtol=0, atol=2e-3)
    images = torch.cat([found.images for found in alone])
    assert (together.images - images).abs().mean() < 0.01 * images.std()


def test_in_style_space_the_styles_of_to_rgb_stay(generator, clip, w_plus, target):
    found = optimise(generator, w_plus, [clip], [target], hparams(space="styles", iterations=12))
    assert found.w_plus is None and (found.losses[-1] < found.losses[0] - 0.01).all()
    first = read_styles(generator, w_plus)
    for layer, style, before in zip(style_layers(generator), found.styles, first, strict=True):
        assert torch.equal(style, before) != layer.edited


def test_the_generator_is_left_alone_and_nothing_is_drawn(generator, clip, w_plus, target):
    before = {name: tensor.clone() for name, tensor in generator.state_dict().items()}
    state = torch.get_rng_state()
    optimise(generator, w_plus, [clip], [target], hparams(iterations=3))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], tensor) for name, tensor in generator.state_dict().items())
    assert all(parameter.grad is None for parameter in generator.parameters())


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"lambda_id": 0.1}, "lambda_id is 0.1, but no identity network is given; set it to 0"),
        ({"clip_input": "official"}, "but the generator has 16 pixels a side; set it to 'clip'"),
    ],
)
def test_what_does_not_fit_is_one_sentence(generator, clip, w_plus, target, changes, message):
    with pytest.raises(UserError, match=f"^latent optimisation: .*{message}"):
        optimise(generator, w_plus, [clip], [target], hparams(**changes))


def test_a_loss_that_is_not_finite_is_one_sentence(generator, clip, w_plus, target):
    w_plus[0, 0, 0] = float("nan")
    with pytest.raises(UserError, match="the loss is not finite at step 0; lower lr, which is 0.1"):
        optimise(generator, w_plus, [clip], [target], hparams())
