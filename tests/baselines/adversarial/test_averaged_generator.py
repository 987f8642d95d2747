"""The averaged generator of every adversarial method decays as in the published code.

rosinality's training code, its forks of Ojha et al. and MineGAN, and the rule `auto` of NVlabs
(ema_kimg = batch * 10 / 32) all multiply the average by 0.5 ** (32 / 10000) a step.
"""

import copy
import dataclasses

import pytest
import torch

from baselines import registry
from baselines.adversarial.few_shot import FewShotHyperparameters
from nada.stylegan2.adversarial import AdversarialTrainer, ema_decay
from nada.stylegan2.discriminator import Discriminator
from nada.stylegan2.generator import Generator

PUBLISHED_DECAY = 0.5 ** (32 / 10000)


def adversarial_hyperparameters() -> dict[str, type[FewShotHyperparameters]]:
    """The hyperparameters class of every registered method that trains adversarially, by method."""
    classes = {name: registry.load(name).METHOD.hyperparameters for name in registry.methods()}
    return {name: cls for name, cls in classes.items() if issubclass(cls, FewShotHyperparameters)}


METHODS = adversarial_hyperparameters()


def test_every_few_shot_method_and_the_fine_tuned_pair_are_tested():
    assert set(METHODS) == {"tgan", "tgan_ada", "minegan", "ojha", "freezed", "finetune_gd"}


@pytest.mark.parametrize("name", METHODS)
def test_at_the_published_length_a_step_decays_by_the_published_factor(name):
    hparams = METHODS[name]()
    assert hparams.iterations == hparams.published_iterations == 5000 and hparams.batch == 4
    decay = ema_decay(hparams.batch, hparams.training().ema_kimg)
    assert decay == pytest.approx(PUBLISHED_DECAY, rel=1e-12)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("iterations", [240, 600, 5000])
def test_a_run_of_any_length_forgets_as_much_of_its_start(name, iterations):
    hparams = METHODS[name](iterations=iterations)
    left = ema_decay(hparams.batch, hparams.training().ema_kimg) ** iterations
    assert left == pytest.approx(PUBLISHED_DECAY**5000, rel=1e-9)  # 1.5e-5: nothing that shows


def test_the_trainer_averages_with_that_factor():
    torch.manual_seed(0)
    widths = {"resolution": 16, "channel_base": 128, "channel_max": 8}
    G = Generator(**widths, z_dim=8, style_dim=8, mapping_layers=2)
    hparams = dataclasses.replace(FewShotHyperparameters().training(), path_length_weight=0.0)
    trainer = AdversarialTrainer(G, Discriminator(**widths), copy.deepcopy(G), hparams)
    before = {name: p.detach().clone() for name, p in trainer.G_ema.named_parameters()}
    trainer.step(torch.rand(4, 3, 16, 16) * 2 - 1)
    after = dict(trainer.G_ema.named_parameters())
    for name, new in G.named_parameters():
        expected = before[name].double().lerp(new.detach().double(), 1 - PUBLISHED_DECAY)
        torch.testing.assert_close(after[name].double(), expected, rtol=1e-5, atol=1e-8)
