"""Hooks for fine-tuning, failure, resume, and that a tiny GAN learns."""

import io
import math

import pytest
import torch

from nada.run.errors import UserError
from nada.stylegan2.adversarial import (
    AdversarialTrainer,
    TrainingHyperparameters,
    r1_penalty,
)
from tests.nada.stylegan2.small_trainer import (
    Late,
    batch,
    networks,
    same,
    trainer_of,
    values,
)

# Hooks for fine-tuning ----------------------------------------------------------------------------


def test_training_the_discriminator_alone_leaves_the_generator_and_its_average():
    trainer = trainer_of()
    G, G_ema, D = values(trainer.G), values(trainer.G_ema), values(trainer.D)
    reports = [trainer.step(batch(), train_generator=False) for _ in range(17)]
    assert same(trainer.G, G)
    assert same(trainer.G_ema, G_ema)
    assert not same(trainer.D, D)
    assert [i for i, report in enumerate(reports) if "r1" in report] == [0, 16]
    assert trainer.steps == 17
    assert not trainer.g_optimizer.state


def test_augmentation_is_seen_by_reals_fakes_and_r1():
    seen = []

    def augment(images):
        seen.append((len(images), images.requires_grad))
        return 0.5 * images

    trainer = trainer_of(TrainingHyperparameters(d_lr=0), augment=augment)
    images = batch(4)
    report = trainer.step(images)
    # D sees fakes and reals, R1 reals that require gradients, G fakes that do.
    assert seen == [(4, False), (4, False), (4, True), (4, True)]
    images.requires_grad_()
    expected = r1_penalty(images, trainer.D(0.5 * images))  # w.r.t. the un-augmented images
    assert report["r1"] == pytest.approx(expected.item(), rel=1e-5)


def test_an_extra_generator_loss_is_added_and_its_gradient_reaches_the_generator():
    target = torch.full((8, 4, 4), 5.0)
    plain, pulled = (
        trainer_of(TrainingHyperparameters(path_length_weight=0, g_lr=0.1)) for _ in range(2)
    )
    pulled.extra_generator_loss = lambda _: (
        1e3 * (pulled.G.synthesis.const - target).square().mean()
    )
    reports = []
    for trainer in (plain, pulled):
        torch.manual_seed(1)
        reports.append([trainer.step(batch()) for _ in range(5)][-1])
    distances = [(t.G.synthesis.const - target).abs().mean().item() for t in (plain, pulled)]
    assert distances[1] < distances[0] - 0.3
    assert reports[1]["extra_loss"] > 0
    assert "extra_loss" not in reports[0]


def test_parameters_left_out_or_frozen_stay_bit_identical():
    G, D = networks()
    G.mapping.requires_grad_(False)
    before = values(G.mapping), values(D.blocks[0])
    trainer = AdversarialTrainer(G, D, None, d_parameters=D.blocks[1:].parameters())
    G.mapping.eval()
    for _ in range(5):
        trainer.step(batch())
    assert same(G.mapping, before[0])
    assert same(D.blocks[0], before[1])
    assert trainer.d_optimizer.state[D.blocks[1].conv0.weight]["step"] == 6


def test_trainable_latents_learn_with_the_generator_frozen():
    G, D = networks()
    miner = torch.nn.Linear(8, 8)
    before, weights = values(G.synthesis), values(miner)
    parameters = [*G.parameters(), *miner.parameters()]
    trainer = AdversarialTrainer(
        G, D, None, latent=lambda n: miner(torch.randn(n, 8)), g_parameters=parameters
    )
    G.requires_grad_(False)
    trainer.step(batch())
    assert same(G.synthesis, before)
    assert not same(miner, weights)


def test_path_length_is_measured_at_ordinary_mixed_codes_wherever_d_judges():
    class AtZero(AdversarialTrainer):
        def sample_w_plus(self, n, move_w_avg=True):
            return self.G.broadcast(self.G.mapping(torch.zeros(n, 8)))

    trainer = AtZero(*networks(), None, TrainingHyperparameters(style_mixing=1))
    rendered = []
    trainer.G.synthesis.register_forward_pre_hook(lambda _, inputs: rendered.append(inputs[0]))
    trainer.step(batch())
    fakes, judged, path = rendered
    assert not fakes.any() and not judged.any() and len(path) == 2
    assert (path.abs().amax(dim=(1, 2)) > 0.01).all()
    assert not torch.equal(path[:, 0], path[:, -1])  # mixed


def test_another_discriminating_head_replaces_the_logits():
    trainer = trainer_of()
    trainer.discriminate = lambda images: images.mean(dim=(1, 2, 3)) * 0 + 2 + trainer.D.out.bias
    report = trainer.step(batch())
    assert report["real_logit"] == 2
    assert report["real_sign"] == 1


# Failure, resume, learning ------------------------------------------------------------------------


def test_a_loss_that_is_not_finite_stops_naming_the_step_and_leaves_the_weights():
    trainer = trainer_of()
    trainer.step(batch())
    before = values(trainer.D)
    bad = batch()
    bad[0, 0, 0, 0] = math.nan
    with pytest.raises(UserError, match="training step 1: the discriminator loss is nan"):
        trainer.step(bad)
    assert same(trainer.D, before)


def test_an_infinite_extra_loss_stops_too():
    trainer = trainer_of(extra_generator_loss=lambda _: torch.tensor(math.inf))
    with pytest.raises(UserError, match="training step 0: the generator loss is inf"):
        trainer.step(batch())


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("r1_interval", 0, "r1_interval: 0 given, must be in 1..1024"),
        ("path_length_interval", 2.5, "path_length_interval: 2.5 given, must be a whole number"),
        ("g_lr", -0.1, "g_lr: -0.1 given, must be in 0.0..1.0"),
        ("style_mixing", 1.5, "style_mixing: 1.5 given, must be in 0.0..1.0"),
        ("ema_kimg", math.nan, "ema_kimg: nan given, must be in"),
        ("d_lr", "0.1", "d_lr: '0.1' given, must be a number"),
    ],
)
def test_a_hyperparameter_out_of_range_is_refused_with_value_and_range(name, value, sentence):
    with pytest.raises(UserError, match=sentence):
        TrainingHyperparameters(**{name: value})


def test_resume_from_a_saved_state_is_bit_equal_to_not_stopping():
    hparams = TrainingHyperparameters(ema_rampup=0.05)
    torch.manual_seed(3)
    data = [batch() for _ in range(9)]

    torch.manual_seed(4)
    whole = trainer_of(hparams)
    for images in data:
        whole.step(images)

    torch.manual_seed(4)
    first = trainer_of(hparams)
    for images in data[:3]:
        first.step(images)
    file = io.BytesIO()
    torch.save({"trainer": first.state_dict(), "rng": torch.get_rng_state()}, file)

    file.seek(0)
    saved = torch.load(file, weights_only=True)
    second = trainer_of(hparams, seed=9)  # other weights: all of them must be replaced
    second.load_state_dict(saved["trainer"])
    torch.set_rng_state(saved["rng"])
    for images in data[3:]:
        second.step(images)

    for name in ("G", "D", "G_ema"):
        assert same(getattr(second, name), values(getattr(whole, name))), name
    assert torch.equal(second.path_mean, whole.path_mean)
    assert (second.steps, second.images_seen) == (whole.steps, whole.images_seen) == (9, 36)


@pytest.mark.parametrize("stop", [1, 3])
def test_a_resumed_run_knows_which_parameters_have_been_reached(stop):
    torch.manual_seed(3)
    data = [batch().double() for _ in range(5)]
    whole = Late(first=2)
    torch.manual_seed(4)
    for images in data:
        whole.trainer.step(images)

    first = Late(first=2)
    torch.manual_seed(4)
    for images in data[:stop]:
        first.trainer.step(images)
    file = io.BytesIO()
    saved = {"trainer": first.trainer.state_dict(), "head": first.head.state_dict()}
    torch.save({**saved, "rng": torch.get_rng_state()}, file)

    file.seek(0)
    saved = torch.load(file, weights_only=True)
    second = Late(first=2, seed=9)
    second.trainer.load_state_dict(saved["trainer"])
    second.head.load_state_dict(saved["head"])
    torch.set_rng_state(saved["rng"])
    for images in data[stop:]:
        second.trainer.step(images)
    assert same(second.head, values(whole.head))
    assert same(second.trainer.D, values(whole.trainer.D))
    assert same(second.trainer.G, values(whole.trainer.G))


def test_a_tiny_gan_learns_the_mean_colour_and_the_spread_of_its_data():
    torch.manual_seed(0)
    colour = torch.tensor([0.6, -0.5, 0.1])
    hparams = TrainingHyperparameters(g_lr=0.005, d_lr=0.005, r1_gamma=0.5, ema_kimg=0.2)
    trainer = trainer_of(hparams)

    def reals(n):  # flat images, brightness varies
        return (colour + 0.2 * torch.randn(n, 1))[:, :, None, None].expand(-1, -1, 16, 16)

    @torch.no_grad()
    def fake_colours():
        return trainer.G_ema(torch.randn(256, 8), noise_mode="const").mean(dim=(2, 3))

    before = (fake_colours().mean(dim=0) - colour).abs().max()
    for _ in range(80):
        trainer.step(reals(8))
    fakes = fake_colours()
    after = (fakes.mean(dim=0) - colour).abs().max()
    assert after < 0.15 < before / 4
    assert 0.02 < fakes.std(dim=0).mean() < 0.4  # 0.2 in the data; a collapsed model has 0
