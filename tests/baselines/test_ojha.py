"""Ojha et al.: distance consistency, anchors and patches, and whole steps written a second time."""

import copy
import math

import pytest
import torch

from baselines.adversarial.warm_starts import Start
from baselines.ojha import (
    OjhaHyperparameters,
    OjhaTrainer,
    PatchHeads,
    distance_consistency,
    features,
    similarity_logits,
)
from nada.stylegan2.discriminator import Discriminator
from nada.stylegan2.generator import Generator
from tests.baselines.adversarial.test_few_shot import curves, few_shot
from tests.baselines.ojha_by_hand import OjhaByHand


def generator() -> Generator:
    torch.manual_seed(0)
    return Generator(16, 8, 8, channel_base=128, channel_max=8, mapping_layers=2)


def test_consistency_is_zero_for_equal_similarities_and_the_divergence_in_closed_form():
    source = torch.tensor([[0.0, 0.0, 0.0]])
    adapted = torch.tensor([[math.log(2), 0.0, 0.0]])  # probabilities 1/2, 1/4, 1/4
    assert distance_consistency(source, source).item() == pytest.approx(0, abs=1e-7)
    expected = sum(1 / 3 * math.log((1 / 3) / q) for q in (0.5, 0.25, 0.25))
    assert distance_consistency(source, adapted).item() == pytest.approx(expected / 3, rel=1e-5)


def test_the_official_reduction_is_smaller_by_the_batch_but_one():
    torch.manual_seed(0)
    source, adapted = torch.randn(2, 4, 3)
    entries, samples = (distance_consistency(source, adapted, kl) for kl in ("entries", "samples"))
    assert samples.item() == pytest.approx(3 * entries.item(), rel=1e-5)


def test_similarities_leave_out_the_sample_itself_and_take_each_samples_layer():
    one, other = torch.eye(3)[:, :, None, None], torch.ones(3, 2, 1, 1)
    found = similarity_logits([one, other], torch.tensor([0, 1, 0]))
    assert torch.allclose(found, torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.0, 0.0]]), atol=1e-6)


def test_features_are_those_of_every_convolution_and_leave_no_hook():
    G = generator()
    codes = torch.randn(2, G.num_ws, 8)
    maps = features(G, codes, "none")
    assert [m.shape[-1] for m in maps] == [4, 8, 8, 16, 16]
    assert not any(conv._forward_hooks for conv in G.synthesis.convs)


def test_patch_logits_do_not_see_the_far_side():
    torch.manual_seed(0)
    D = Discriminator(64, channel_base=256, channel_max=8)
    heads = PatchHeads(D)
    images = torch.randn(1, 3, 64, 64, requires_grad=True)
    for index in range(len(heads.places)):
        logits = heads(D, images, index)
        assert logits.shape[-1] in (16, 32)
        (gradient,) = torch.autograd.grad(logits[0, 0, 0, 0], images)
        assert gradient[..., :8, :8].abs().sum() > 0
        assert gradient[..., 40:, 40:].abs().sum() == 0


def test_one_step_in_four_judges_whole_images_at_the_anchors():
    G, D = generator(), Discriminator(16, channel_base=128, channel_max=8)
    anchors = torch.randn(2, 8)
    hparams = OjhaHyperparameters(anchor_std=0.0, batch=2)
    trainer = OjhaTrainer(Start(G, generator(), D), hparams, anchors, PatchHeads(D))
    seen = []
    for _ in range(5):
        trainer.step(torch.rand(2, 3, 16, 16) * 2 - 1)
        seen.append(trainer.at_anchor)
        whole = trainer.discriminate(torch.zeros(2, 3, 16, 16)).shape == (2, 1)
        assert whole == trainer.at_anchor
    assert seen == [True, False, False, False, True]
    at_anchors = G.broadcast(G.mapping(anchors, skip_w_avg_update=True))
    codes = trainer.sample_w_plus(16, move_w_avg=False)
    apart = (codes[:, None] - at_anchors[None]).abs().amax(dim=(2, 3)).amin(dim=1)
    assert apart.max() < 1e-6
    trainer.at_anchor = False
    codes = trainer.sample_w_plus(16, move_w_avg=False)
    assert (codes[:, None] - at_anchors[None]).abs().amax(dim=(2, 3)).min() > 1e-3


def test_path_length_is_never_measured_around_anchors():
    G, D = generator(), Discriminator(16, channel_base=128, channel_max=8)
    anchors = torch.zeros(1, 8)
    hparams = OjhaHyperparameters(anchor_std=0.0, batch=4, style_mixing=1.0, consistency_weight=0.0)
    trainer = OjhaTrainer(Start(G, generator(), D), hparams, anchors, PatchHeads(D))
    rendered = []
    G.synthesis.register_forward_pre_hook(lambda _, inputs: rendered.append(inputs[0]))
    for _ in range(5):
        report = trainer.step(torch.rand(4, 3, 16, 16) * 2 - 1)
        if "path_length" in report:
            *_, path = rendered
            assert len(path) == 2
            assert not torch.equal(path[0], path[1])  # the anchor's codes are all one
            assert (path[:, 0] - path[:, -1]).abs().amax() > 1e-3  # anchors are not mixed
    assert trainer.steps == 5 and "path_length" in report


def test_the_defaults_of_ojha_are_the_public_codes():
    hparams = OjhaHyperparameters()
    assert hparams.kl == "entries" and hparams.anchor_std == 0.1
    assert hparams.patch_features == "first" and hparams.patch_r1 is False
    assert hparams.consistency_weight == 1000 and hparams.batch == 4
    assert hparams.g_lr == hparams.d_lr == 0.002 and hparams.style_mixing == 0.9
    assert hparams.r1_gamma == 10 and hparams.path_length_weight == 2


@pytest.mark.parametrize("side", [64, 128, 256, 512])
def test_patches_are_judged_on_the_public_codes_maps_of_32_and_16_pixels(side):
    D = Discriminator(side, channel_base=side * 2, channel_max=4).to("meta")
    heads = PatchHeads(D)
    images = torch.empty(1, 3, side, side, device="meta")
    sides = [side // 2 ** (block + conv) for block, conv in heads.places]
    assert sides == [32, 32, 16, 16]
    assert [conv for _, conv in heads.places] == [1, 0, 1, 0]
    assert heads.to("meta")(D, images, 0).shape == (1, 1, 32, 32)


def test_the_first_candidate_alone_trains_unless_all_are_asked_for():
    torch.manual_seed(0)
    for which in ("first", "all"):
        D = Discriminator(16, channel_base=128, channel_max=8)
        heads = PatchHeads(D)
        before = [head.weight.detach().clone() for head in heads.heads]
        hparams = OjhaHyperparameters(patch_features=which, batch=2)
        trainer = OjhaTrainer(
            Start(generator(), generator(), D), hparams, torch.randn(2, 8), heads
        )
        for _ in range(16):
            trainer.step(torch.rand(2, 3, 16, 16) * 2 - 1)
        pairs = zip(before, heads.heads, strict=True)
        moved = [not torch.equal(weight, head.weight) for weight, head in pairs]
        assert moved == [True, which == "all", which == "all"], which


def test_the_first_update_of_a_patch_head_has_the_length_of_the_rate():
    torch.manual_seed(0)
    G, D = generator().double(), Discriminator(16, channel_base=128, channel_max=8).double()
    heads, hparams = PatchHeads(D).double(), OjhaHyperparameters(batch=2)
    anchors = torch.randn(2, 8).double()
    trainer = OjhaTrainer(Start(G, generator().double(), D), hparams, anchors, heads)
    weight, seen = heads.heads[0].weight, []
    trainer.d_optimizer.register_step_pre_hook(lambda *_: seen.append(weight.grad))
    before = weight.detach().clone()
    trainer.step(torch.rand(2, 3, 16, 16).double())  # at anchors: D alone, and its R1
    assert seen == [None, None] and torch.equal(weight, before)
    trainer.step(torch.rand(2, 3, 16, 16).double())
    g, lr = seen[2], 0.002 * 16 / 17
    torch.testing.assert_close(weight, before - lr * g / (g.abs() + 1e-8), rtol=1e-12, atol=0)


def test_similarities_are_computed_in_float32_or_better():
    maps = torch.randn(3, 2, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    layers = torch.tensor([0, 0, 0])
    found = similarity_logits([maps], layers)
    flat = maps.flatten(1) / maps.flatten(1).norm(dim=1, keepdim=True)
    expected = (flat @ flat.T)[~torch.eye(3, dtype=torch.bool)].reshape(3, 2)
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-13)
    assert similarity_logits([maps.bfloat16()], layers).dtype == torch.float32


def test_whole_steps_equal_a_plain_second_writing_of_the_method():
    """Six steps: anchors (one with R1 and path length, one with path length), patches between."""
    torch.manual_seed(0)
    G, D = generator().double(), Discriminator(16, channel_base=128, channel_max=8).double()
    heads = PatchHeads(D).double()
    with torch.no_grad():  # zeros of the initialisation would hide faults
        for network in (G, D, heads):
            for name, p in network.named_parameters():
                p.add_(0.1 * torch.randn_like(p)) if "mapping" not in name else None
    anchors = torch.randn(3, 8).double()
    states = [copy.deepcopy(network.state_dict()) for network in (G, D, heads)]
    plain = OjhaByHand(*states, anchors, group=4)
    trainer = OjhaTrainer(Start(G, copy.deepcopy(G), D), OjhaHyperparameters(), anchors, heads)
    images = torch.rand(6, 4, 3, 16, 16).double() * 2 - 1
    for step, real in enumerate(images):
        torch.manual_seed(100 + step)
        report = trainer.step(real)
        torch.manual_seed(100 + step)
        expected = plain.step(real)
        assert expected.keys() <= report.keys()
        for name, value in expected.items():
            assert report[name] == pytest.approx(value, rel=1e-9, abs=1e-12), (step, name)
        assert trainer.path_mean.item() == pytest.approx(plain.path_mean, rel=1e-9)
        torch.testing.assert_close(G.w_avg, plain.w_avg, rtol=1e-9, atol=1e-12)
        trained = {**dict(G.named_parameters()), **dict(D.named_parameters())}
        trained |= dict(heads.named_parameters())
        for name, tensor in {**plain.G, **plain.D}.items():
            found = trained[name]
            torch.testing.assert_close(found, tensor, rtol=1e-9, atol=1e-9, msg=f"{step} {name}")
        average = dict(trainer.G_ema.named_parameters())
        for name, tensor in plain.average.items():
            torch.testing.assert_close(average[name], tensor, rtol=1e-9, atol=1e-9)


def test_a_batch_of_one_image_has_no_distances_to_keep(world, capsys):
    assert few_shot(world, "run", "ojha", hyperparameters={"batch": 1}) == 2
    assert "hyperparameters.batch is 1; set it to 2 or more." in capsys.readouterr().err


def test_every_switch_of_ojha_runs(world):
    assert few_shot(world, "run", "ojha", hyperparameters={"iterations": 8}) == 0
    assert "patch_r1" not in curves(world, "run")[0]
    ours = {"kl": "samples", "patch_features": "all", "patch_r1": True, "anchor_std": 0.05}
    assert few_shot(world, "ours", "ojha", hyperparameters={"iterations": 8, **ours}) == 0
    assert curves(world, "ours")[0]["patch_r1"]
