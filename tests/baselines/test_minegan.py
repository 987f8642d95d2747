"""MineGAN: its two miners, its two stages, what is kept, and where D catches up first."""

import pytest
import torch

from baselines.adversarial.warm_starts import Start
from baselines.minegan import AccumulatedGradients, MineGanHyperparameters, Mining, SemanticMiner
from nada.latent_maps import Miner
from nada.run.artifact import load_artifact
from nada.run.steps import Steps
from nada.stylegan2.adversarial import AdversarialTrainer, TrainingHyperparameters
from nada.stylegan2.discriminator import Discriminator
from nada.stylegan2.generator import Generator
from nada.stylegan2.source_model import load_source
from tests.baselines.adversarial.test_few_shot import few_shot


def generator() -> Generator:
    torch.manual_seed(0)
    return Generator(16, 8, 8, channel_base=128, channel_max=8, mapping_layers=2)


def five_alone(snapshots) -> dict:
    """Hyperparameters of a first stage of five steps."""
    return {"snapshots": snapshots, "miner_iterations": round(5 * 5000 / 24)}


def parts_of(tensors) -> tuple[list, list]:
    """Names of what the miners own (with the constant that one makes), and of G's synthesis."""
    miner = [n for n in tensors if n.startswith("latent_map.") or n == "raw.synthesis.const"]
    own = [n for n in tensors if n.startswith("raw.synthesis") and "noise_const" not in n]
    return miner, [n for n in own if n not in miner]


def test_the_first_stage_trains_the_miners_alone(world):
    assert few_shot(world, "run", "minegan", hyperparameters=five_alone([0, 5, 6])) == 0
    first, fifth, sixth = (load_artifact("run", step=s).tensors() for s in (0, 5, 6))
    miner, trained = parts_of(first)
    assert len(miner) == 5 and all(not torch.equal(first[n], fifth[n]) for n in miner)
    assert all(torch.equal(first[n], fifth[n]) for n in trained)
    assert all(not torch.equal(fifth[n], sixth[n]) for n in miner)  # they train on
    assert any(not torch.equal(fifth[n], sixth[n]) for n in trained)


def test_the_first_stage_begins_when_d_has_caught_up(world, nada_parent):
    hparams = five_alone([0, 10, 15, 16])
    code = few_shot(
        world, "run", "minegan", parent="nada", hyperparameters=hparams, warm_start="nada_catchup"
    )
    assert code == 0
    s0, s10, s15, s16 = (load_artifact("run", step=s).tensors() for s in (0, 10, 15, 16))
    miner, trained = parts_of(s0)
    assert all(torch.equal(s0[n], s10[n]) for n in miner + trained)
    assert all(not torch.equal(s10[n], s15[n]) for n in miner)
    assert all(torch.equal(s10[n], s15[n]) for n in trained)
    assert any(not torch.equal(s15[n], s16[n]) for n in trained)


def test_d_catches_up_with_the_images_that_nada_left(world, nada_parent, monkeypatch):
    """No miner is in front of G yet: else D would catch up with a constant drawn at random."""
    constants, mined = [], []  # G's constant at each step of D; the steps at which z is mined
    judge, map_z = AdversarialTrainer.discriminator_step, Miner.map_z

    def record(self, real, fake):
        constants.append(self.G.synthesis.const.detach().clone())
        return judge(self, real, fake)

    def count(self, z):
        mined.append(len(constants))
        return map_z(self, z)

    monkeypatch.setattr(AdversarialTrainer, "discriminator_step", record)
    monkeypatch.setattr(Miner, "map_z", count)
    assert few_shot(world, "run", "minegan", parent="nada", warm_start="nada_catchup") == 0
    left = load_artifact("nada").generator.synthesis.const
    assert [torch.equal(const, left) for const in constants] == [True] * 10 + [False] * 14
    assert min(mined) == 10  # the first step after it


@pytest.mark.parametrize("stop", [4, 12])
def test_an_interrupted_catch_up_ends_as_if_it_had_not_been(world, nada_parent, monkeypatch, stop):
    start = {"parent": "nada", "warm_start": "nada_catchup", "hyperparameters": {"checkpoint_every": 2}}
    assert few_shot(world, "whole", "minegan", **start) == 0
    kept = Steps.checkpoint

    def interrupt(steps):
        kept(steps)
        if steps.step == stop:
            raise KeyboardInterrupt

    monkeypatch.setattr(Steps, "checkpoint", interrupt)
    assert few_shot(world, "halves", "minegan", **start) == 130
    monkeypatch.setattr(Steps, "checkpoint", kept)
    assert few_shot(world, "halves", "minegan", **start) == 0
    assert world.bytes_of("halves") == world.bytes_of("whole")


def test_official_gradients_add_up_and_paper_ones_start_at_zero():
    torch.manual_seed(0)
    z = torch.randn(4, 8)
    for official in (False, True):
        miner, seen = Miner(8), []
        parameters = list(miner.parameters())
        if official:
            AccumulatedGradients(parameters)
        for _ in range(2):
            for p in parameters:
                p.grad = None
            miner.map_z(z).square().sum().backward()
            seen.append([p.grad.clone() for p in parameters])
        factor = 2 if official else 1
        assert all(torch.allclose(b, factor * a) for a, b in zip(*seen))


def test_the_defaults_of_minegan_are_the_public_code_s_but_for_its_gradients():
    hparams = MineGanHyperparameters()
    assert hparams.semantic is True
    assert hparams.gradients == "zeroed"
    assert hparams.miner_iterations == 1000


@pytest.mark.parametrize("channels", [8, 32, 128, 512])
def test_the_semantic_miner_is_two_activated_convolutions_and_a_plain_one(channels):
    torch.manual_seed(0)
    semantic = SemanticMiner(channels).double()
    names = {name: tuple(p.shape) for name, p in semantic.named_parameters()}
    assert names == {
        "const": (1, 8, 4, 4),
        "convs.0.weight": (32, 8, 1, 1), "convs.0.bias": (32,),
        "convs.1.weight": (128, 32, 1, 1), "convs.1.bias": (128,),
        "convs.2.weight": (channels, 128, 1, 1),
    }  # fmt: skip
    with torch.no_grad():
        for conv in semantic.convs[:2]:
            conv.bias.normal_()
    x = semantic.const[0].reshape(8, 16)
    for conv in semantic.convs[:2]:
        x = conv.weight[..., 0, 0] @ x / conv.weight.shape[1] ** 0.5 + conv.bias[:, None]
        x = torch.where(x > 0, x, 0.2 * x) * 2**0.5
    x = semantic.convs[2].weight[..., 0, 0] @ x / 128**0.5
    torch.testing.assert_close(semantic(), x.reshape(channels, 4, 4), rtol=1e-12, atol=1e-12)


def mined_start() -> tuple[Start, Mining]:
    torch.manual_seed(0)
    start = Start(generator(), generator(), Discriminator(16, channel_base=128, channel_max=8))
    mining = Mining(start, semantic=True, device="cpu")
    mining.join()
    return start, mining


def test_the_generators_that_are_kept_hold_the_constant_as_mined_after_the_last_step():
    start, mining = mined_start()
    trainer = AdversarialTrainer(
        start.G, start.D, start.G_ema, latent=mining.latent, g_parameters=mining.trained()
    )
    before = mining.semantic().detach()
    for _ in range(3):
        trainer.step(torch.rand(2, 3, 16, 16))
        mining.settle()
    now = mining.semantic().detach()
    assert not torch.equal(before, now)
    for network in (start.G, start.G_ema):
        assert torch.equal(network.state_dict()["synthesis.const"], now)


def test_the_constant_of_a_run_is_the_miners_and_the_same_in_both_generators(world):
    assert few_shot(world, "run", "minegan") == 0
    model, source = load_artifact(world.folder / "run"), load_source("weights/dog.safetensors")
    assert torch.equal(model.generator.synthesis.const, model.raw.synthesis.const)
    assert not torch.equal(model.generator.synthesis.const, source.G_ema.synthesis.const)
    assert few_shot(world, "z", "minegan", hyperparameters={"semantic": False}) == 0
    first = load_artifact(world.folder / "z").tensors()
    assert not torch.equal(first["raw.synthesis.const"], first["generator.synthesis.const"])


def test_path_length_trains_the_miners_while_g_is_frozen():
    start, mining = mined_start()
    hparams = TrainingHyperparameters(path_length_interval=1)
    trainer = AdversarialTrainer(
        start.G, start.D, start.G_ema, hparams,
        latent=mining.latent, g_parameters=mining.trained(),
    )  # fmt: skip
    start.G.requires_grad_(False)
    before = {name: p.clone() for name, p in start.G.named_parameters()}
    seen = []
    trainer.g_optimizer.register_step_pre_hook(
        lambda *_: seen.append([p.grad.abs().sum().item() for p in mining.parameters()])
    )
    trainer.step(torch.rand(2, 3, 16, 16))
    adversarial, path_length = seen
    assert all(adversarial) and all(path_length)
    assert all(torch.equal(p, before[name]) for name, p in start.G.named_parameters())
