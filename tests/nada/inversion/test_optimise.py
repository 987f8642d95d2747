"""The projector finds known codes; its terms are those of their formulas."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from nada.inversion.optimise import (
    ProjectorHyperparameters,
    WDistribution,
    noise_autocorrelation,
    project,
    render,
    w_distribution,
)
from nada.run.errors import UserError
from nada.stylegan2.generator import Generator

QUICK = {"steps": 80, "w_noise": 0.0, "lambda_w": 0.0}


def known(generator, count=2):
    """(codes of the mapping in every slot, their images without noise)."""
    z = torch.randn(count, generator.config["z_dim"], generator=torch.Generator().manual_seed(9))
    codes = generator.broadcast(generator.mapping(z))
    return codes, generator.synthesis(codes, noise_mode="none")


@pytest.mark.slow  # 300 steps
def test_a_known_code_is_found_again(lpips):
    # more features than numbers in w: otherwise demodulation lets several codes draw one image
    torch.manual_seed(1)
    sizes = {"z_dim": 3, "style_dim": 3, "channel_base": 200, "channel_max": 12}
    generator = Generator(16, **sizes, mapping_layers=2, mapping_lr_mul=1.0).eval().requires_grad_(False)
    codes, images = known(generator)
    hparams = ProjectorHyperparameters(steps=300, lr=0.3, noise="none", lambda_w=0.0)
    steps = []
    found = project(generator, images, lpips, hparams, progress=lambda step, _: steps.append(step))
    start = generator.broadcast(w_distribution(generator).mean.expand(2, -1))
    away, left = (codes - start).norm(dim=(1, 2)), (codes - found.w_plus).norm(dim=(1, 2))
    assert (left < 0.05 * away).all()
    drawn = render(generator, found.w_plus, None, "none")
    spread = (images - images.mean(dim=0)).square().mean()
    assert (drawn - images).square().mean() < 1e-3 * spread
    assert steps == list(range(1, 301))
    assert found.noise is None


def test_each_image_is_projected_as_if_alone(generator, lpips):
    _, images = known(generator)
    hparams = ProjectorHyperparameters(**{**QUICK, "steps": 12}, noise="const")
    together = project(generator, images, lpips, hparams)
    alone = project(generator, images[1:2], lpips, hparams)
    torch.testing.assert_close(together.w_plus[1:2], alone.w_plus, rtol=1e-2, atol=1e-2)
    assert (together.w_plus[0] - together.w_plus[1]).abs().max() > 0.1


def test_an_encoders_code_is_a_better_start_than_the_mean(generator, lpips):
    codes, images = known(generator)
    hparams = ProjectorHyperparameters(**{**QUICK, "steps": 8}, noise="none", lr=0.01)
    near = project(generator, images, lpips, hparams, start=codes + 0.01)
    far = project(generator, images, lpips, hparams)
    assert (near.terms["loss"] < 0.1 * far.terms["loss"]).all()


def test_the_loss_is_the_weighted_sum_of_its_terms(generator, lpips):
    codes, images = known(generator)
    weights = {"lpips": 0.3, "l2": 0.7, "w": 0.2, "noise": 0.5}
    hparams = ProjectorHyperparameters(steps=1, w_noise=0.0, **{f"lambda_{n}": w for n, w in weights.items()})
    terms = project(generator, images, lpips, hparams, start=codes + 0.1).terms
    expected = sum(weight * terms[name].double() for name, weight in weights.items())
    torch.testing.assert_close(terms["loss"].double(), expected, rtol=1e-5, atol=0)
    distance = w_distribution(generator).distance(codes + 0.1)
    torch.testing.assert_close(terms["w"], distance)
    assert all((weight * terms[name] > 0.01 * expected).all() for name, weight in weights.items())


@pytest.mark.slow  # 160 steps
def test_a_larger_weight_keeps_codes_nearer_to_the_distribution_of_w(generator, lpips):
    _, images = known(generator)
    images = images + 0.5  # no code draws these
    free, held = (
        project(generator, images, lpips, ProjectorHyperparameters(**{**QUICK, "lambda_w": weight}, noise="none"))
        for weight in (0.0, 1.0)
    )
    assert (held.terms["w"] < 0.5 * free.terms["w"]).all()
    assert (held.terms["l2"] > free.terms["l2"]).all()


def test_optimised_noise_is_each_images_own_and_normalised(generator, lpips):
    _, images = known(generator)
    before = {name: tensor.clone() for name, tensor in generator.state_dict().items()}
    found = project(generator, images, lpips, ProjectorHyperparameters(**{**QUICK, "steps": 10}))
    assert [maps.shape for maps in found.noise] == [(2, 1, r, r) for r in (4, 8, 8, 16, 16, 32, 32)]
    for maps in found.noise:
        assert maps.mean(dim=(1, 2, 3)).abs().max() < 1e-5
        torch.testing.assert_close(maps.square().mean(dim=(1, 2, 3)), torch.ones(2))
    after = generator.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    # the same picture as with these maps stored in the generator
    drawn = render(generator, found.w_plus, found.noise)
    for conv, maps in zip(generator.synthesis.convs, found.noise, strict=True):
        conv.noise_const.copy_(maps[1, 0])
    alone = generator.synthesis(found.w_plus[1:], noise_mode="const")
    torch.testing.assert_close(drawn[1:], alone, rtol=1e-4, atol=1e-5)
    assert (drawn[:1] - generator.synthesis(found.w_plus[:1], noise_mode="const")).abs().max() > 1e-3


def test_gradients_of_the_weights_are_as_before(generator, lpips):
    generator.requires_grad_(True)
    project(generator, known(generator)[1].detach(), lpips, ProjectorHyperparameters(**{**QUICK, "steps": 2}))
    assert all(p.requires_grad and p.grad is None for p in generator.parameters())


@pytest.mark.parametrize("unit_variance", [True, False])
def test_autocorrelation_is_that_of_its_formula(unit_variance):
    maps = np.random.default_rng(0).standard_normal((3, 32, 32))
    expected = np.zeros(3)
    level = maps
    for side in (32, 16, 8):
        assert level.shape[1] == side
        for axis in (1, 2):
            expected += (level * np.roll(level, 1, axis)).mean(axis=(1, 2)) ** 2
        level = level.reshape(3, side // 2, 2, side // 2, 2).mean(axis=(2, 4)) * (2 if unit_variance else 1)
    found = noise_autocorrelation(torch.from_numpy(maps)[:, None], unit_variance)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-10)


def test_a_picture_in_the_noise_is_penalised():
    noise = torch.randn(1, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    picture = torch.linspace(-1.7, 1.7, 32).expand(1, 1, 32, 32)
    assert noise_autocorrelation(picture) > 10 * noise_autocorrelation(noise)
    assert noise_autocorrelation(torch.ones(1, 1, 4, 4)) == 2  # one level, two axes


def test_distances_are_mahalanobis_distances_from_the_codes_of_the_mapping(generator):
    distribution = w_distribution(generator, samples=5000)
    stream = torch.Generator().manual_seed(123)
    w = generator.mapping(torch.randn(5000, 8, generator=stream)).double().numpy()
    inverse = np.linalg.inv(np.cov(w.T, bias=True))
    codes = torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(2)) * 0.3
    offsets = codes.double().numpy() - w.mean(axis=0)
    expected = np.einsum("nld,de,nle->nl", offsets, inverse, offsets).mean(axis=1) / 8
    np.testing.assert_allclose(distribution.distance(codes).numpy(), expected, rtol=2e-3)
    own = distribution.distance(torch.from_numpy(w).float()[:, None])
    assert own.mean().item() == pytest.approx(1, rel=1e-3)
    assert distribution.spread == pytest.approx(np.sqrt(w.var(axis=0).sum()), rel=1e-4)


def test_directions_without_variance_have_a_finite_distance():
    def mapping(z, skip_w_avg_update):
        return torch.cat([z, torch.zeros(len(z), 1)], dim=1)

    flat = SimpleNamespace(config={"z_dim": 2}, w_avg=torch.zeros(3), mapping=mapping)
    distribution = w_distribution(flat, samples=2000)
    assert isinstance(distribution, WDistribution)
    assert distribution.distance(torch.ones(1, 4, 3)).isfinite().all()


def test_wrong_images_and_starts_are_one_error(generator, lpips):
    with pytest.raises(UserError, match=r"draws \[N, 3, 32, 32\]; resize them first"):
        project(generator, torch.zeros(1, 3, 64, 64), lpips)
    with pytest.raises(UserError, match="not finite"):
        project(generator, torch.full((1, 3, 32, 32), torch.inf), lpips)
    with pytest.raises(UserError, match=r"start: codes of shape \[1, 18, 8\]"):
        project(generator, torch.zeros(1, 3, 32, 32), lpips, start=torch.zeros(1, 18, 8))
    diverging = ProjectorHyperparameters(steps=4, lr=1e30, noise="none")
    with pytest.raises(UserError, match="try a lower lr"):
        project(generator, torch.zeros(1, 3, 32, 32), lpips, diverging)
