"""LPIPS of pairs against its formula and the lpips package; its gradient."""

import numpy as np
import pytest
import torch
from torch import nn

from eval.networks.lpips_matrix import lpips_matrix, lpips_model
from eval.networks.referee import PerceptualNet
from nada.perceptual_distance import perceptual_distance


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


@pytest.mark.parametrize("weighted", [True, False])
def test_lpips_agrees_with_its_formula_in_float64(weighted):
    eyes = Eyes(weighted).double()
    if weighted:
        eyes.layer_weights = [w.double() for w in eyes.layer_weights]
    a, b = torch.rand(2, 2, 3, 8, 8).double()
    expected = np.zeros(2)
    for stage, (x, y) in enumerate(zip(eyes.stages(a), eyes.stages(b), strict=True)):
        x, y = (v.detach().numpy() for v in (x, y))
        x, y = (v / (np.sqrt((v**2).sum(axis=1, keepdims=True)) + 1e-10) for v in (x, y))
        weight = eyes.layer_weights[stage].numpy() if weighted else np.ones(x.shape[1])
        expected += ((x - y) ** 2 * weight[:, None, None]).sum(axis=1).mean(axis=(1, 2))
    np.testing.assert_allclose(perceptual_distance(eyes, a, b).detach().numpy(), expected, rtol=1e-9)


def test_lpips_has_a_finite_gradient_where_all_features_are_zero():
    eyes = Eyes(True).requires_grad_(False)
    eyes.first.bias.fill_(-10)  # every feature of the first stage is cut off
    image = torch.zeros(1, 3, 8, 8, requires_grad=True)
    perceptual_distance(eyes, image, torch.zeros(1, 3, 8, 8)).sum().backward()
    assert image.grad.isfinite().all()


def test_lpips_of_pairs_agrees_with_the_package_on_the_same_trunk():
    torch.manual_seed(0)
    trunk = PerceptualNet(["dog"], ["photo"], ["yaw"], widths=(4, 4, 6, 6)).eval()
    a, b = (torch.rand(2, 3, 3, 32, 32) * 2 - 1).unbind()
    with torch.no_grad():
        expected = lpips_model(trunk)(a, b).flatten()
        torch.testing.assert_close(perceptual_distance(trunk, a, b), expected, rtol=1e-4, atol=1e-6)


def test_negative_weights_count_as_0_as_in_the_matrix_of_distances():
    eyes = Eyes(True).requires_grad_(False)
    eyes.layer_weights[0][1] = -0.5
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    a, b = (torch.from_numpy(images[i : i + 1]).permute(0, 3, 1, 2) / 127.5 - 1 for i in range(2))
    expected = lpips_matrix(eyes, images)[0, 1]
    assert perceptual_distance(eyes, a, b).item() == pytest.approx(expected, rel=1e-4)
