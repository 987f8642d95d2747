"""Adversarial training: losses in closed form, lazy schedules, averaging, mixing, resume."""

import math

import pytest
import torch
from torch.testing import assert_close

from nada.stylegan2.adversarial import (
    TrainingHyperparameters,
    discriminator_loss,
    draw_crossover,
    ema_decay,
    generator_loss,
    mix_styles,
    path_length_penalty,
    path_lengths,
    r1_penalty,
    update_ema,
)
from nada.stylegan2.discriminator import Discriminator
from tests.nada.stylegan2.small_trainer import (
    Late,
    batch,
    in_double,
    networks,
    same,
    trainer_of,
    values,
)

# Losses -------------------------------------------------------------------------------------------


def test_adversarial_losses_are_the_logistic_ones():
    real, fake = torch.tensor([[2.0], [-1.0]]), torch.tensor([[0.5], [3.0]])
    log = math.log1p
    d_loss = (log(math.exp(-2)) + log(math.exp(1))) / 2 + (
        log(math.exp(0.5)) + log(math.exp(3))
    ) / 2
    g_loss = (log(math.exp(-0.5)) + log(math.exp(-3))) / 2
    assert discriminator_loss(real, fake).item() == pytest.approx(d_loss)
    assert generator_loss(fake).item() == pytest.approx(g_loss)


def test_r1_of_a_quadratic_discriminator_is_its_closed_form(rng):
    x, a = rng(5, 3, 4, 4).requires_grad_(), rng(3, 4, 4)
    logits = (a * x.square()).sum(dim=(1, 2, 3))[:, None] / 2  # gradient: a * x
    expected = (a * x).square().sum() / 5  # over pixels, mean over the batch
    assert_close(r1_penalty(x, logits), expected)


def test_r1_through_the_discriminator_equals_finite_differences(rng):
    D = Discriminator(16, 64, 4, mbstd_group_size=1).double()
    x = rng(2, 3, 16, 16).requires_grad_()
    pixels, h = 3 * 16 * 16, 1e-5
    bumps = h * torch.eye(pixels, dtype=torch.float64).reshape(pixels, 3, 16, 16)
    with torch.no_grad():
        slopes = [(D(sample + bumps) - D(sample - bumps)) / (2 * h) for sample in x]
    expected = sum((slope**2).sum() for slope in slopes) / 2
    assert_close(r1_penalty(x, D(x)), expected, rtol=1e-6, atol=0)


def test_the_gradient_of_r1_equals_finite_differences(rng):
    D = Discriminator(16, 128, 8, mbstd_group_size=2).double()
    x, weight, h = rng(2, 3, 16, 16).requires_grad_(), D.blocks[0].conv1.weight, 1e-5
    (gradient,) = torch.autograd.grad(r1_penalty(x, D(x)), weight)
    direction = rng(*weight.shape)

    def moved(step):
        with torch.no_grad():
            weight.add_(direction, alpha=step)
        penalty = r1_penalty(x, D(x)).item()
        with torch.no_grad():
            weight.sub_(direction, alpha=step)
        return penalty

    slope = (moved(h) - moved(-h)) / (2 * h)
    assert (gradient * direction).sum().item() == pytest.approx(slope, rel=1e-5)


def test_path_lengths_of_a_linear_generator_are_their_closed_form(rng):
    w_plus, A, y = rng(4, 6, 5).requires_grad_(), rng(3 * 2 * 2, 6 * 5), rng(4, 3, 2, 2)
    images = (w_plus.flatten(1) @ A.T).reshape(4, 3, 2, 2)
    g = (y.flatten(1) @ A).reshape(4, 6, 5)  # A transposed times y
    expected = ((g**2).sum(dim=2).mean(dim=1)) ** 0.5  # sum over dimensions, mean over slots
    assert_close(path_lengths(images, w_plus, y), expected)


def test_path_lengths_through_the_generator_equal_finite_differences(rng):
    G, _ = networks()
    synthesis, h = G.double().synthesis, 1e-5
    w_plus, y = rng(1, G.num_ws, 8).requires_grad_(), rng(1, 3, 16, 16)
    entries = w_plus.numel()
    bumps = h * torch.eye(entries, dtype=torch.float64).reshape(entries, G.num_ws, 8)
    with torch.no_grad():
        up, down = (synthesis(w_plus + sign * bumps, "const") for sign in (1, -1))
    slopes = ((up - down) * y).sum(dim=(1, 2, 3)) / (2 * h)
    expected = (slopes.square().sum() / G.num_ws).sqrt()
    length = path_lengths(synthesis(w_plus, "const"), w_plus, y)
    assert_close(length, expected[None], rtol=1e-6, atol=0)


def test_path_penalty_uses_the_moved_mean_and_its_gradient():
    lengths = torch.tensor([1.0, 3.0], dtype=torch.float64, requires_grad=True)
    penalty, moved = path_length_penalty(lengths, torch.tensor(5.0).double(), 0.01)
    a = 5 + 0.01 * (2 - 5)
    assert moved.item() == pytest.approx(a)
    assert not moved.requires_grad
    assert penalty.item() == pytest.approx(((1 - a) ** 2 + (3 - a) ** 2) / 2)
    (gradient,) = torch.autograd.grad(penalty, lengths)
    mean_error = 2 - a  # each length moves a by 0.01 / 2
    expected = [(1 - a) - 0.01 * mean_error, (3 - a) - 0.01 * mean_error]
    assert_close(gradient, torch.tensor(expected).double())


# Optimiser and schedule ---------------------------------------------------------------------------


def adam(optimizer):
    group = optimizer.param_groups[0]
    return group["lr"], *group["betas"], group["eps"]


def test_adam_constants_carry_the_lazy_corrections():
    trainer = trainer_of(TrainingHyperparameters(g_lr=0.002, d_lr=0.003))
    assert adam(trainer.g_optimizer) == pytest.approx((0.002 * 4 / 5, 0, 0.99 ** (4 / 5), 1e-8))
    assert adam(trainer.d_optimizer) == pytest.approx((0.003 * 16 / 17, 0, 0.99 ** (16 / 17), 1e-8))


def test_adam_is_uncorrected_for_a_network_without_regularisation():
    trainer = trainer_of(TrainingHyperparameters(r1_gamma=0, path_length_weight=0, beta1=0.5))
    assert adam(trainer.g_optimizer) == pytest.approx((0.002, 0.5, 0.99, 1e-8))
    assert adam(trainer.d_optimizer) == pytest.approx((0.002, 0.5, 0.99, 1e-8))
    assert not {"r1", "path_length"} & trainer.step(batch()).keys()


def test_an_adam_step_equals_its_formula():
    trainer = trainer_of(TrainingHyperparameters(beta1=0.5))
    p = trainer.D.out.bias
    gradients, expected, m, v = [0.3, -2.0, 0.01], p.item(), 0.0, 0.0
    lr, beta1, beta2, eps = adam(trainer.d_optimizer)
    for t, g in enumerate(gradients, start=1):
        p.grad = torch.full_like(p, g)
        trainer.d_optimizer.step()
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g
        expected -= lr * (m / (1 - beta1**t)) / (math.sqrt(v / (1 - beta2**t)) + eps)
    assert p.item() == pytest.approx(expected, rel=1e-4)


def test_r1_runs_every_16_and_path_length_every_4_steps_from_step_0():
    trainer = trainer_of()
    reports = [trainer.step(batch(2)) for _ in range(18)]
    assert [i for i, report in enumerate(reports) if "r1" in report] == [0, 16]
    assert [i for i, report in enumerate(reports) if "path_length" in report] == [0, 4, 8, 12, 16]
    assert trainer.steps == 18
    assert trainer.images_seen == 36


def gradients_of(optimizer, parameter):
    """A list that receives the gradient of `parameter` at each of the optimizer's steps."""
    seen = []
    optimizer.register_step_pre_hook(lambda *_: seen.append(parameter.grad.clone()))
    return seen


def test_r1_gradient_is_weighted_by_half_gamma_times_16():
    trainer = trainer_of(TrainingHyperparameters(d_lr=0, r1_gamma=3))  # D stays as it is
    weight, images = trainer.D.blocks[0].conv0.weight, batch()
    seen = gradients_of(trainer.d_optimizer, weight)
    report = trainer.step(images)
    images.requires_grad_()
    penalty = r1_penalty(images, trainer.D(images))
    assert report["r1"] == pytest.approx(penalty.item(), rel=1e-5)
    (gradient,) = torch.autograd.grad(penalty, weight)
    assert_close(seen[1], 3 / 2 * 16 * gradient, rtol=1e-4, atol=1e-7)


def test_path_length_gradient_is_weighted_by_2_times_4_and_moves_the_mean_by_a_hundredth():
    trainer = trainer_of(TrainingHyperparameters(g_lr=0, style_mixing=0))  # G stays as it is
    weight = trainer.G.synthesis.convs[1].weight
    seen = gradients_of(trainer.g_optimizer, weight)
    z, reals = torch.randn(4, 8), batch()
    trainer.latent = lambda n: z[:n]
    state = torch.get_rng_state()
    report = trainer.step(reals)
    assert trainer.path_mean.item() == pytest.approx(0.01 * report["path_length"], rel=1e-5)
    torch.set_rng_state(state)  # replay the draws before y: mixing and noise of D, of G, of its own
    for n in (4, 4):
        trainer.G.synthesis(trainer.sample_w_plus(n))
    w_plus = trainer.sample_w_plus(2)
    images = trainer.G.synthesis(w_plus)
    y = torch.randn_like(images) / 16  # sqrt(16 * 16)
    lengths = path_lengths(images, w_plus, y)
    assert report["path_length"] == pytest.approx(lengths.mean().item(), rel=1e-5)
    penalty, _ = path_length_penalty(lengths, torch.zeros(()), 0.01)
    (gradient,) = torch.autograd.grad(penalty, weight)
    assert_close(seen[1], 2 * 4 * gradient, rtol=1e-4, atol=1e-7)


def test_each_kind_of_step_draws_latents_of_its_own_and_path_length_halves_the_batch():
    asked = []

    def latent(n):
        asked.append(n)
        return torch.randn(n, 8)

    trainer = trainer_of(TrainingHyperparameters(style_mixing=0), latent=latent)
    trainer.step(batch(6))
    assert asked == [6, 6, 3]  # D, G, path length
    trainer.step(batch(6))
    assert asked[3:] == [6, 6]


def test_a_regularisation_counts_as_an_adam_step_for_what_it_does_not_reach():
    trainer = trainer_of()
    trainer.step(batch())
    steps = {trainer.d_optimizer.state[p]["step"].item() for p in trainer.D.parameters()}
    assert steps == {2.0}
    steps = {trainer.g_optimizer.state[p]["step"].item() for p in trainer.G.parameters()}
    assert steps == {2.0}


def test_networks_of_double_precision_are_trained_in_it():
    trainer = in_double(trainer_of())
    report = trainer.step(batch().double())
    assert {"d_loss", "r1", "g_loss", "path_penalty"} <= report.keys()
    assert trainer.normal_latent(2).dtype == trainer.path_mean.dtype == torch.float64


def test_the_first_update_of_a_parameter_has_the_length_of_the_rate_however_late_it_is():
    for first in (0, 1, 5):
        late = Late(first)
        for _ in range(first):
            before = values(late.head)
            late.trainer.step(batch().double())
            assert same(late.head, before)
            assert not any(late.trainer.d_optimizer.state.get(p) for p in late.head.parameters())
        before = late.head.weight.detach().clone()
        seen = gradients_of(late.trainer.d_optimizer, late.head.weight)
        late.trainer.hparams = TrainingHyperparameters(r1_gamma=0)  # no second update in this step
        late.trainer.step(batch().double())
        lr, _, _, eps = adam(late.trainer.d_optimizer)
        g = seen[0]  # Adam's first step with bias correction: m = g, v = g²
        assert_close(late.head.weight, before - lr * g / (g.abs() + eps), rtol=1e-12, atol=0)


def test_a_parameter_that_a_loss_has_reached_is_stepped_with_gradient_0_by_one_that_does_not():
    late = Late(first=0)
    late.trainer.step(batch().double())
    state = late.trainer.d_optimizer.state[late.head.bias]
    step, v = state["step"].item(), state["exp_avg_sq"].clone()
    late.first = math.inf  # never again
    late.trainer.step(batch().double())
    assert state["step"].item() == step + 1
    assert_close(state["exp_avg_sq"], adam(late.trainer.d_optimizer)[2] * v)


# Averaging ----------------------------------------------------------------------------------------


def test_ema_decay_halves_over_ema_kimg_thousand_images():
    assert ema_decay(32, 10) == pytest.approx(0.5 ** (32 / 10000))
    assert ema_decay(32, 10) == pytest.approx(0.99778, abs=1e-5)
    assert ema_decay(4, 10) ** (10_000 / 4) == pytest.approx(0.5)


def test_ema_rampup_limits_the_half_life_to_a_share_of_the_images_seen():
    assert ema_decay(32, 500, images_seen=1000, rampup=0.05) == pytest.approx(0.5 ** (32 / 50))
    assert ema_decay(32, 10, images_seen=10**9, rampup=0.05) == pytest.approx(ema_decay(32, 10))
    assert ema_decay(32, 10, images_seen=0, rampup=0.05) == 0  # the first step copies


def test_ema_averages_parameters_and_copies_buffers():
    (G, _), (average, _) = networks(0), networks(1)
    before = values(average)
    G.w_avg.fill_(2)
    update_ema(average, G, 0.75)
    for name, p in average.named_parameters():
        assert_close(p, 0.75 * before[name] + 0.25 * G.get_parameter(name))
    for name, buffer in average.named_buffers():
        assert torch.equal(buffer, G.get_buffer(name))


def test_a_step_moves_the_average_towards_the_trained_generator():
    trainer = trainer_of(TrainingHyperparameters(ema_kimg=0.01))  # half-life 10 images
    before = trainer.G_ema.synthesis.const.clone()
    trainer.step(batch(5))
    decay = 0.5**0.5
    expected = decay * before + (1 - decay) * trainer.G.synthesis.const
    assert_close(trainer.G_ema.synthesis.const, expected)
    assert torch.equal(trainer.G_ema.w_avg, trainer.G.w_avg)


# Style mixing -------------------------------------------------------------------------------------


def test_crossover_is_uniform_over_1_to_the_last_slot():
    torch.manual_seed(0)
    drawn = torch.tensor([draw_crossover(6, 1.0) for _ in range(5000)])
    assert torch.bincount(drawn, minlength=7)[[0, 6]].sum() == 0
    assert_close(torch.bincount(drawn)[1:] / 5000, torch.full((5,), 0.2), rtol=0, atol=0.02)


def test_a_batch_mixes_with_the_given_probability():
    torch.manual_seed(0)
    mixed = sum(draw_crossover(6, 0.9) < 6 for _ in range(3000)) / 3000
    assert mixed == pytest.approx(0.9, abs=0.02)
    assert {draw_crossover(6, 0.0) for _ in range(100)} == {6}


def test_mixing_takes_the_second_code_from_the_crossover_on():
    w1, w2 = torch.zeros(2, 3), torch.ones(2, 3)
    assert mix_styles(w1, w2, 2, 5)[:, :, 0].tolist() == [[0, 0, 1, 1, 1]] * 2


def test_one_crossover_per_batch_and_w_avg_follows_the_first_code_alone():
    trainer = trainer_of(TrainingHyperparameters(style_mixing=1))
    codes = trainer.sample_w_plus(8).detach()
    equal = (codes == codes[:, :1]).all(dim=2)
    crossover = int(equal[0].sum())
    assert 1 <= crossover < 6
    assert (equal == (torch.arange(6) < crossover)).all()
    assert_close(trainer.G.w_avg, 0.005 * codes[:, 0].mean(dim=0))
