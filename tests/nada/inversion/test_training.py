"""Losses against their formulas; training steps lower the loss; a resumed training is bit-equal."""

import math

import pytest
import torch
import torch.nn.functional as F

from nada.images.label_maps import one_hot
from nada.inversion.encoders import StyleEncoder
from nada.inversion.inverter import Inverter
from nada.inversion.latent_discriminator import (
    CodePool,
    LatentDiscriminator,
    adversarial_loss,
    discriminator_loss,
    r1_penalty,
)
from nada.inversion.training import (
    EncoderHyperparameters,
    EncoderTrainer,
    Pretraining,
    delta_loss,
    progressive_deltas,
    train_encoder,
    w_norm_loss,
)
from nada.run.errors import UserError

SIZES = {"style_dim": 8, "input_size": 32, "widths": (6, 8, 10, 12), "depths": (1, 1, 1, 1)}
QUICK = {"optimiser": "adam", "lr": 3e-3, "batch": 4, "noise": "const"}


def inverter_of(kind, generator, channels=3, feedback=False, passes=None, seed=3):
    torch.manual_seed(seed)
    encoder = StyleEncoder(kind, 8, channels + 3 * feedback, **SIZES)
    return Inverter(encoder, generator.w_avg.expand(8, -1), feedback, passes)


@torch.no_grad()
def pictures(generator, seed=0, count=4):
    """(drawn images of codes, one-hot masks of three grey levels, line drawings in [0,1])."""
    z = torch.randn(count, 8, generator=torch.Generator().manual_seed(seed))
    images = generator.synthesis(generator.broadcast(generator.mapping(z)), noise_mode="const")
    grey = images.mean(dim=1)
    levels = (grey > grey.quantile(0.3)).long() + (grey > grey.quantile(0.7)).long()
    lines = (grey[:, None] - F.avg_pool2d(grey[:, None], 3, 1, 1)).abs().clamp(0, 1)
    return images, one_hot(levels, 3), lines


@pytest.mark.parametrize(
    ("kind", "source", "feedback"),
    [
        ("ResNetGradualStyleEncoder", "lines", False),
        pytest.param("GradualStyleEncoder", "image", False, marks=pytest.mark.slow),
        pytest.param("GradualStyleEncoder", "mask", False, marks=pytest.mark.slow),
        pytest.param("Encoder4Editing", "image", False, marks=pytest.mark.slow),
        pytest.param("ProgressiveBackboneEncoder", "image", True, marks=pytest.mark.slow),
    ],
)
def test_steps_lower_the_loss_and_leave_the_generator(generator, lpips, kind, source, feedback):
    images, masks, lines = pictures(generator)
    inputs = {"image": images, "mask": masks, "lines": lines}[source]
    inverter = inverter_of(kind, generator, inputs.shape[1], feedback, 2 if feedback else None)
    hparams = EncoderHyperparameters(**QUICK, progressive_start=10, progressive_every=2)
    trainer = EncoderTrainer(inverter, generator, hparams, lpips)
    before = {name: tensor.clone() for name, tensor in generator.state_dict().items()}
    found = [trainer.step(inputs, images)["l2"].item() for _ in range(30)]
    assert sum(found[-3:]) < 0.6 * sum(found[:3])
    assert all(torch.equal(before[name], t) for name, t in generator.state_dict().items())


def test_the_gradient_is_that_of_the_weighted_terms(generator, lpips):
    images, *_ = pictures(generator)
    hparams = EncoderHyperparameters(**QUICK, lambda_l2=0.7, lambda_lpips=0.3, lambda_id=0.2, lambda_w_norm=0.05)

    def unlike(x, y):
        return 1 - F.cosine_similarity(x.flatten(1), y.flatten(1))

    inverter = inverter_of("GradualStyleEncoder", generator)
    trainer = EncoderTrainer(inverter, generator, hparams, lpips, identity=unlike)
    terms = trainer.step(images, images)
    ours = {name: p.grad.clone() for name, p in inverter.encoder.named_parameters()}

    apart = inverter_of("GradualStyleEncoder", generator).train()
    codes = generator.w_avg + apart.encoder(images)
    drawn = generator.synthesis(codes, noise_mode="const")
    norms = torch.stack([(code - generator.w_avg).square().sum().sqrt() for code in codes])
    loss = 0.7 * (drawn - images).square().mean() + 0.3 * lpips(drawn, images).mean()
    loss = loss + 0.2 * unlike(drawn, images).mean() + 0.05 * norms.mean()
    loss.backward()
    assert terms["loss"].item() == pytest.approx(loss.item(), rel=1e-4)
    assert set(terms) == {"loss", "l2", "lpips", "identity", "w_norm"}
    for name, parameter in apart.encoder.named_parameters():
        torch.testing.assert_close(ours[name], parameter.grad, rtol=2e-3, atol=2e-5)


def test_restyle_sums_the_losses_of_its_passes_without_gradients_between_them(generator, lpips):
    images, *_ = pictures(generator)
    hparams = EncoderHyperparameters(**QUICK, lambda_lpips=0.0)
    inverter = inverter_of("BackboneEncoder", generator, feedback=True, passes=2)
    terms = EncoderTrainer(inverter, generator, hparams, lpips).step(images, images)
    ours = inverter.encoder.input_layer[0].weight.grad.clone()

    apart = inverter_of("BackboneEncoder", generator, feedback=True, passes=2).train()
    with torch.no_grad():
        mean = generator.synthesis(generator.broadcast(generator.w_avg[None]), noise_mode="const")
    first = generator.w_avg + apart.encoder(torch.cat([images, mean.expand(4, -1, -1, -1)], dim=1))
    drawn = generator.synthesis(first, noise_mode="const")
    second = first.detach() + apart.encoder(torch.cat([images, drawn.detach()], dim=1))
    redrawn = generator.synthesis(second, noise_mode="const")
    losses = [(image - images).square().mean() for image in (drawn, redrawn)]
    sum(losses).backward()
    assert terms["loss"].item() == pytest.approx(sum(losses).item(), rel=1e-4)
    assert terms["l2"].item() == pytest.approx(losses[1].item(), rel=1e-4)
    expected = apart.encoder.input_layer[0].weight.grad
    torch.testing.assert_close(ours, expected, rtol=2e-3, atol=2e-5)


def test_deltas_join_as_the_schedule_says(generator, lpips):
    hparams = EncoderHyperparameters(progressive_start=20, progressive_every=5)
    steps = (0, 19, 20, 24, 25, 49, 50, 1000)
    assert [progressive_deltas(step, 8, hparams) for step in steps] == [0, 0, 1, 1, 2, 6, 7, 7]
    images, *_ = pictures(generator)
    quick = EncoderHyperparameters(**QUICK, progressive_start=2, progressive_every=1)
    trainer = EncoderTrainer(inverter_of("Encoder4Editing", generator), generator, quick, lpips)
    seen = []
    for _ in range(4):
        terms = trainer.step(images, images)
        seen.append((trainer.inverter.encoder.deltas, "delta" in terms, "adversarial" in terms))
    assert seen == [(0, False, True), (0, False, True), (1, True, True), (2, True, True)]


def test_the_discriminator_starts_from_the_seed_and_leaves_the_global_stream(generator, lpips):
    def first_weights(seed):
        inverter, hparams = inverter_of("Encoder4Editing", generator), EncoderHyperparameters(**QUICK)
        torch.manual_seed(17 * seed + len(found))  # another state each time
        before = torch.get_rng_state()
        trainer = EncoderTrainer(inverter, generator, hparams, lpips, seed=seed)
        assert torch.equal(before, torch.get_rng_state())
        return trainer.discriminator.mlp[0].weight.detach()

    found = []
    for seed in (0, 0, 1):
        found.append(first_weights(seed))
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])


# A resumed training --------------------------------------------------------------------------------


def equal(a, b) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(equal, a, b))
    return a == b


def test_a_resumed_training_is_bit_equal(generator, lpips, tmp_path):
    hparams = EncoderHyperparameters(
        iterations=6, batch=4, optimiser="ranger", lr=1e-3, pool=3, r1_interval=2,
        progressive_start=2, progressive_every=1,
    )  # fmt: skip

    def attempt(folder, stop=None, seed=3):
        inverter = inverter_of("ProgressiveBackboneEncoder", generator, feedback=True, passes=2, seed=seed)
        trainer = EncoderTrainer(inverter, generator, hparams, lpips, seed=seed)
        lines = []
        job = Pretraining("e4e", tmp_path / folder, "key", log=lines.append)
        torch.manual_seed(seed)

        def draw(step):
            if step == stop:
                raise KeyboardInterrupt
            images = pictures(generator, seed=int(torch.randint(1000, ())))[0]
            return images, images

        train_encoder(job, trainer, draw, checkpoint_every=2)
        return trainer, job, lines

    whole, job, _ = attempt("whole")
    with pytest.raises(KeyboardInterrupt):
        attempt("cut", stop=6)
    again, resumed, lines = attempt("cut", seed=99)  # other weights and streams, until it resumes
    assert "resuming after step 4" in " ".join(lines)
    assert equal(whole.state_dict(), again.state_dict())
    assert job.curves.rows == resumed.curves.rows
    assert [row["step"] for row in resumed.curves.rows] == list(range(1, 7))
    assert again.inverter.encoder.deltas == whole.inverter.encoder.deltas == 4
    assert not again.inverter.training


# Losses --------------------------------------------------------------------------------------------


def test_the_norm_of_codes_is_over_slots_and_features():
    codes = torch.zeros(2, 3, 4)
    codes[0] += 2
    assert w_norm_loss(codes, torch.zeros(3, 4)).item() == pytest.approx(math.sqrt(12 * 4) / 2)
    assert w_norm_loss(codes, torch.ones(3, 4)).item() == pytest.approx(math.sqrt(12))


def test_the_norms_of_trained_deltas_are_summed():
    codes = torch.ones(2, 4, 3)
    codes[:, 1, 0] += 2
    codes[0, 2, 1] -= 4
    codes[:, 3] += 100
    assert delta_loss(codes, 1).item() == pytest.approx(2)
    assert delta_loss(codes, 2).item() == pytest.approx(2 + 2)
    assert delta_loss(codes, 0).item() == 0


def test_the_discriminators_losses_are_those_of_their_formulas():
    D = LatentDiscriminator(4)
    assert list(D.state_dict()) == [f"mlp.{i}.{part}" for i in (0, 2, 4, 6) for part in ("weight", "bias")]
    w = torch.randn(5, 4)
    x = w.double()
    for layer in (0, 2, 4, 6):
        x = x @ D.mlp[layer].weight.double().T + D.mlp[layer].bias.double()
        x = torch.where(x > 0, x, 0.2 * x) if layer < 6 else x
    torch.testing.assert_close(D(w).double(), x, rtol=1e-4, atol=1e-5)
    real, fake = torch.tensor([[1.0], [-2.0]]), torch.tensor([[0.5], [0.0]])
    expected = (math.log1p(math.exp(-1)) + math.log1p(math.exp(2))) / 2
    expected += (math.log1p(math.exp(0.5)) + math.log(2)) / 2
    assert discriminator_loss(real, fake).item() == pytest.approx(expected)
    linear = torch.nn.Linear(4, 1)
    assert r1_penalty(linear, w).item() == pytest.approx(linear.weight.square().sum().item(), rel=1e-5)
    codes = torch.randn(5, 3, 4)
    slots = [F.softplus(-linear(codes[:, slot])).mean().item() for slot in range(3)]
    assert adversarial_loss(linear, codes).item() == pytest.approx(sum(slots) / 3, rel=1e-5)


def test_the_pool_fills_and_then_exchanges_half_of_the_codes():
    stream, pool = torch.Generator().manual_seed(0), CodePool(10, 1)
    first = pool.exchange(torch.arange(10.0)[:, None], stream)
    assert torch.equal(first[:, 0], torch.arange(10.0))
    new = torch.arange(100.0, 1100.0)[:, None]
    back = pool.exchange(new, stream)
    kept = (back == new).float().mean().item()
    assert 0.45 < kept < 0.55
    # no code is lost or made: what came back and what the pool holds is what went in
    held = torch.cat([back, pool.codes]).flatten().sort().values
    assert torch.equal(held, torch.cat([first, new]).flatten().sort().values)
    assert torch.equal(CodePool(0, 1).exchange(new, stream), new)


def test_wrong_inputs_are_one_error(generator, lpips):
    images, masks, _ = pictures(generator)
    hparams = EncoderHyperparameters(**QUICK)
    trainer = EncoderTrainer(inverter_of("GradualStyleEncoder", generator, 1), generator, hparams, lpips)
    with pytest.raises(UserError, match="inputs of 3 channels given, but this encoder takes 1"):
        trainer.step(masks, images)
    with pytest.raises(UserError, match=r"\[2, 3, 32, 32\] given with inputs of shape \[4, 1, 32, 32\]"):
        trainer.step(masks[:, :1], images[:2])
    other = Inverter(StyleEncoder("BackboneEncoder", 10, **SIZES), torch.zeros(10, 8))
    with pytest.raises(UserError, match="images of 64 pixels"):
        EncoderTrainer(other, generator, hparams, lpips)
