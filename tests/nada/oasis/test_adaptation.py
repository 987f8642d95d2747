"""NADA on OASIS (App. D): what CLIP sees, what stays, images without the class, the training."""

import numpy as np
import pytest
import torch
from torch import nn

from nada.images.label_maps import one_hot
from nada.oasis.adaptation import (
    ClassLoss,
    ClassMaps,
    OasisHyperparameters,
    adapt_oasis,
    class_mask,
    forward_backward,
    masked,
    trainable_copy,
)
from nada.oasis.generator import SMALL, OasisGenerator
from nada.perceptual_distance import perceptual_distance
from nada.run.errors import UserError
from nada.run.job import Job
from nada.run.spec.run_spec import RunSpec

CLASSES, LABEL = 3, 1
SPEC = RunSpec(
    world="tiny", task="dog2cat", method="oasis", variant="plain", seed=0, device="cpu", resolution=16
)


class Eyes(nn.Module):
    """A random perceptual network of two stages."""

    def __init__(self, weighted):
        super().__init__()
        torch.manual_seed(3)
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 6, 3, padding=1, stride=2)
        if weighted:
            self.layer_weights = [torch.rand(4), torch.rand(6)]

    def stages(self, x):
        x = self.first(x).relu()
        return [x, self.second(x).relu()]


class ColourClip:
    """Embeds an image as its mean colour and a constant: gradients and values are known in closed form."""

    weight = 1.0

    def encode_images(self, images):
        means = images.mean(dim=(2, 3))
        return nn.functional.normalize(torch.cat([means, torch.ones_like(means[:, :1])], dim=1), dim=-1)


def maps():
    """Three maps of 16 px: half the class, a single pixel of it, none."""
    ids = torch.zeros(3, 16, 16, dtype=torch.long)
    ids[:, :, 10:] = 2
    ids[0, 4:12] = LABEL
    ids[1, 0, 0] = LABEL
    return ids


def pictures(count=3):
    torch.manual_seed(4)
    frozen = torch.rand(count, 3, 16, 16) * 2 - 1
    return frozen, (frozen + 0.2 * torch.randn_like(frozen)).requires_grad_()


def objective(clip=None, direction=None, weighted=True, **hparams):
    direction = torch.tensor([1.0, 0, 0, 0]) if direction is None else direction
    eyes = Eyes(weighted).requires_grad_(False)
    return ClassLoss(LABEL, [clip or ColourClip()], [direction], eyes, OasisHyperparameters(**hparams))


# --- masks


def test_clip_gives_no_gradient_outside_the_class_and_none_to_images_without_it(clip):
    frozen, trained = pictures()
    loss = objective(clip, nn.functional.normalize(torch.ones(16), dim=0), lambda_l2=0, lambda_lpips=0)
    loss(maps(), frozen, trained)["loss"].backward()
    inside = class_mask(maps(), LABEL).bool().expand_as(trained)
    assert (trained.grad[~inside] == 0).all()
    assert (trained.grad[0][inside[0]] != 0).float().mean() > 0.9
    assert (trained.grad[1:] == 0).all()  # a pixel of the class is too little, and none is none


@pytest.mark.parametrize("kept", ["lambda_l2", "lambda_lpips"])
def test_l2_and_lpips_give_no_gradient_inside_the_class_and_some_to_whole_images_without_it(kept):
    frozen, trained = pictures()
    weights = {"lambda_clip": 0, "lambda_l2": 0, "lambda_lpips": 0, kept: 1}
    objective(**weights)(maps(), frozen, trained)["loss"].backward()
    inside = class_mask(maps(), LABEL).bool().expand_as(trained)
    assert (trained.grad[inside] == 0).all()
    assert (trained.grad[0][~inside[0]] != 0).any()
    assert (trained.grad[2] != 0).float().mean() > 0.9


def test_pixels_outside_the_mask_take_the_fill():
    images = torch.ones(1, 3, 16, 16)
    shown = masked(images, class_mask(maps()[:1], LABEL), -0.5)
    assert shown[0, 0, 5, 3] == 1 and shown[0, 0, 0, 0] == -0.5


# --- terms


@pytest.mark.parametrize("fill", [0.0, -1.0])
def test_the_terms_are_those_of_a_computation_in_numpy(fill):
    frozen, trained = pictures()
    direction = torch.tensor([0.6, 0.0, 0.8, 0.0])
    loss = objective(direction=direction, fill=fill, lambda_clip=0.5, lambda_l2=2, lambda_lpips=3)
    found = {k: v.item() for k, v in loss(maps(), frozen, trained).items()}

    x, y = frozen.double().numpy(), trained.detach().double().numpy()
    mask = (maps().numpy() == LABEL)[:, None].astype(float)

    def embed(image):
        vector = np.append(image.mean(axis=(1, 2)), 1)
        return vector / np.linalg.norm(vector)

    seen = [picture[0] * mask[0] + fill * (1 - mask[0]) for picture in (x, y)]
    change = embed(seen[1]) - embed(seen[0])
    cosine = change @ direction.double().numpy() / np.sqrt(change @ change + 0.05**2)
    l2 = (((y - x) * (1 - mask)) ** 2).mean()
    assert found["clip_loss"] == pytest.approx(1 - cosine, rel=1e-4)
    assert found["image_change"] == pytest.approx(np.linalg.norm(change), rel=1e-4)
    assert found["l2"] == pytest.approx(l2, rel=1e-5)
    hidden = [torch.tensor(p * (1 - mask) + fill * mask).float() for p in (y, x)]
    lpips = perceptual_distance(loss.perceptual, *hidden).mean().item()
    assert found["lpips"] == pytest.approx(lpips, rel=1e-5)
    total = 0.5 * found["clip_loss"] + 2 * found["l2"] + 3 * found["lpips"]
    assert found["loss"] == pytest.approx(total, rel=1e-5)


def test_a_batch_without_the_class_pays_only_for_change():
    frozen, trained = pictures()
    terms = objective()(maps()[1:], frozen[1:], trained[1:])
    assert terms["clip_loss"] == 0 and terms["image_change"] == 0
    assert terms["l2"] > 0 and terms["lpips"] > 0
    same = objective()(maps()[1:], frozen[1:], frozen[1:].clone())
    assert same["loss"] == 0


def test_a_single_pixel_of_the_class_reaches_clip_if_the_least_share_is_zero():
    frozen, trained = pictures()
    seen = objective(least_share=0)(maps()[1:2], frozen[1:2], trained[1:2])
    assert seen["image_change"] > 0
    none = objective(least_share=0)(maps()[2:], frozen[2:], trained[2:])
    assert none["image_change"] == 0 and none["clip_loss"] == 0


def test_several_clips_add_up_by_their_weights(clip):
    frozen, trained = pictures()
    direction = nn.functional.normalize(torch.ones(16), dim=0)
    clip.weight = 0.3
    alone = [objective(c, d)(maps(), frozen, trained)["clip_loss"] for c, d in
             ((clip, direction), (None, None))]  # fmt: skip
    both = objective()
    both.clips, both.directions = [clip, *both.clips], [direction, *both.directions]
    assert both(maps(), frozen, trained)["clip_loss"].item() == pytest.approx(sum(alone).item(), rel=1e-5)


# --- label maps


def test_a_step_has_its_share_of_maps_with_the_class_first_and_all_with_it_if_there_are_no_others():
    torch.manual_seed(0)
    few = ClassMaps(maps(), LABEL, OasisHyperparameters(batch=5, share_with_class=0.5))
    for _ in range(5):
        large = (few.draw() == LABEL).float().mean(dim=(1, 2)) >= 0.01
        assert large.tolist() == [True] * 3 + [False] * 2
    exact = ClassMaps(maps(), LABEL, OasisHyperparameters(batch=100, share_with_class=0.07))
    large = (exact.draw() == LABEL).float().mean(dim=(1, 2)) >= 0.01
    assert large.sum() == 7  # 100 * 0.07 is a little more than 7 in floating point
    every = ClassMaps(maps()[:1], LABEL, OasisHyperparameters(batch=2))
    assert every.draw().shape == (2, 16, 16)
    only = ClassMaps(maps(), LABEL, OasisHyperparameters(batch=2, share_with_class=1.0))
    assert ((only.draw() == LABEL).sum(dim=(1, 2)) == 128).all()


def test_a_class_that_no_map_has_is_refused():
    with pytest.raises(UserError, match=r"class 7 covers at least 0.01 of none of the 3 label maps"):
        ClassMaps(maps(), 7, OasisHyperparameters())
    with pytest.raises(UserError, match="at most 0.00391"):
        ClassMaps(maps()[1:], LABEL, OasisHyperparameters())
    assert len(ClassMaps(maps()[1:], LABEL, OasisHyperparameters(least_share=0)).with_class) == 1


# --- training


def source():
    torch.manual_seed(5)
    about = {**SMALL, "resolution": 16, "width": 2, "hidden": 8, "multipliers": (4, 2, 1)}
    return OasisGenerator(classes=CLASSES, **about).eval().requires_grad_(False)


def test_before_the_first_step_nothing_differs_but_the_class_has_a_gradient():
    frozen, loss = source(), objective()
    trained = trainable_copy(frozen)
    torch.manual_seed(6)
    terms = forward_backward(frozen, trained, loss, maps(), trained.draw_noise(3))
    assert terms["clip_loss"] == 1 and terms["l2"] == 0 and terms["lpips"] == 0
    gradients = [p.grad for p in trained.parameters()]
    assert all(g is not None and g.isfinite().all() for g in gradients)
    assert max(g.abs().max() for g in gradients) > 0
    assert all(p.grad is None for p in frozen.parameters())


def adapted(folder, out="run", stop=None, **hparams):
    hparams = OasisHyperparameters(
        **{"iterations": 6, "lr": 0.003, "checkpoint_every": 2, "snapshots": 1, **hparams}
    )
    job = Job(SPEC, folder / out, folder / "state", log=lambda line: None)
    loss = objective(direction=torch.tensor([1.0, 0, 0, 0]))
    loss.hparams = hparams
    if stop:
        report = job.report

        def interrupt(**values):
            report(**values)
            if job._steps.step == stop:
                raise KeyboardInterrupt

        job.report = interrupt
    return adapt_oasis(job, source(), ClassMaps(maps(), LABEL, hparams), loss, hparams), job


@pytest.mark.slow  # 40 steps
def test_the_class_turns_red_and_the_rest_moves_less(tmp_path):
    frozen = source()
    before = {name: value.clone() for name, value in frozen.state_dict().items()}
    trained, job = adapted(tmp_path, iterations=40, lambda_l2=10)
    torch.manual_seed(9)
    z, labels = frozen.draw_noise(3), one_hot(maps(), CLASSES)
    with torch.no_grad():
        change = trained(labels, z) - frozen(labels, z)
    inside = class_mask(maps(), LABEL).bool()[:, 0]
    red = change[0, 0][inside[0]].mean().item()
    beside, absent = (c.abs().mean().item() for c in (change[0][:, ~inside[0]], change[2]))
    assert red > 0.1 and red > 2 * beside and red > 2 * absent
    job.curves.read()
    losses = [row["clip_loss"] for row in job.curves.rows]
    assert losses[0] == 1 and np.mean(losses[-5:]) < 0.6
    assert job.cost.counts()["images"] == 2 * 2 * 40
    # the source, the running averages and the singular vectors are what they were
    assert all(torch.equal(before[name], value) for name, value in frozen.state_dict().items())
    assert all(torch.equal(before[name], value) for name, value in trained.named_buffers())


def test_an_interrupted_training_ends_at_the_same_weights(tmp_path):
    whole, _ = adapted(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        adapted(tmp_path, stop=5)
    resumed, _ = adapted(tmp_path)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_hyperparameters_out_of_range_are_refused_by_name():
    from nada.run.hyperparameters import read_hyperparameters

    for values in ({"fill": 2}, {"share_with_class": 0}, {"lambda_l2": -1}, {"lr": 0}):
        with pytest.raises(UserError, match=next(iter(values))):
            read_hyperparameters(OasisHyperparameters, values, "oasis")
