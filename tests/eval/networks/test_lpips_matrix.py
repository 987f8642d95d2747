"""The matrix of LPIPS distances against the lpips package, pair by pair."""

import numpy as np
import pytest
import torch

from eval.networks import lpips_matrix as module
from eval.networks.lpips_matrix import lpips_features, lpips_matrix, lpips_model
from eval.networks.referee import PerceptualNet
from nada.images.tensors import to_tensor
from nada.run.errors import UserError


@pytest.fixture(scope="module")
def perceptual():
    torch.manual_seed(0)
    return PerceptualNet(["dog"], ["photo"], ["yaw"], widths=(8, 12, 16, 20)).eval()


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (9, 32, 32, 3), dtype=np.uint8)
    images[4] = images[1]  # a duplicate
    images[6] = images[2]
    images[6, 5, 5] ^= 1  # nearly one: the last bit of one pixel
    return images


def by_the_package(perceptual, images, others):
    model = lpips_model(perceptual)
    with torch.no_grad():
        return np.array(
            [[model(to_tensor(a[None]), to_tensor(b[None])).item() for b in others] for a in images]
        )


def assert_lpips_equal(ours, package):
    np.testing.assert_allclose(ours, package, rtol=1e-4, atol=1e-6)


def test_the_matrix_equals_the_lpips_package_with_a_duplicate_pair(perceptual, images):
    ours = lpips_matrix(perceptual, images, batch=4)
    assert_lpips_equal(ours, by_the_package(perceptual, images, images))
    assert ours[1, 4] < 1e-9 and 0 < ours[2, 6] < 1e-2


def test_the_matrix_is_symmetric_and_zero_on_its_diagonal(perceptual, images):
    ours = lpips_matrix(perceptual, images)
    assert np.array_equal(ours, ours.T) and np.array_equal(np.diag(ours), np.zeros(9))


def test_the_matrix_between_two_sets_equals_the_lpips_package(perceptual, images):
    others = images[[1, 7, 2, 8, 0]] ^ np.uint8(3)
    ours = lpips_matrix(perceptual, images[:4], others)
    assert ours.shape == (4, 5)
    assert_lpips_equal(ours, by_the_package(perceptual, images[:4], others))


@pytest.mark.parametrize("memory_bytes", [1, 600_000])
def test_blocks_that_bound_the_memory_do_not_change_the_matrix(perceptual, images, memory_bytes):
    whole = lpips_matrix(perceptual, images)
    np.testing.assert_allclose(
        lpips_matrix(perceptual, images, memory_bytes=memory_bytes), whole, rtol=1e-5, atol=1e-9
    )
    across = lpips_matrix(perceptual, images[:5], images, memory_bytes=memory_bytes)
    np.testing.assert_allclose(across, whole[:5], rtol=1e-5, atol=1e-9)


def test_batch_size_does_not_change_the_matrix(perceptual, images):
    a, b = (lpips_matrix(perceptual, images, batch=n) for n in (2, 32))
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-9)


def test_every_image_passes_through_the_trunk_once(perceptual, images, monkeypatch):
    seen = []
    stages = perceptual.stages

    def counted(x):
        seen.append(len(x))
        return stages(x)

    monkeypatch.setattr(perceptual, "stages", counted)
    lpips_matrix(perceptual, images, batch=4)
    assert seen == [1, 4, 4, 1]  # one probe for the length of a vector, then nine images


def test_few_others_pass_through_the_trunk_once_however_many_blocks_the_images_take(
    perceptual, images, monkeypatch
):
    whole = lpips_matrix(perceptual, images, images[:2])
    passed = []
    monkeypatch.setattr(
        module, "lpips_features",
        lambda p, x, w: passed.append(len(x)) or lpips_features(p, x, w),
    )  # fmt: skip
    across = lpips_matrix(perceptual, images, images[:2], memory_bytes=1_500_000)
    np.testing.assert_allclose(across, whole, rtol=1e-5, atol=1e-9)
    assert max(passed) < len(images)  # in blocks
    assert sum(passed) == 1 + len(images) + 2  # the probe, every image, and each of the others


def test_layer_weights_equal_the_packages_linear_layers(perceptual, images):
    torch.manual_seed(1)
    weights = [torch.rand(w) for w in perceptual.widths]
    ours = lpips_matrix(perceptual, images[:3], layer_weights=weights)
    model = lpips_model(perceptual)
    model.lpips = True
    model.lins = torch.nn.ModuleList()
    for weight in weights:
        layer = torch.nn.Conv2d(len(weight), 1, 1, bias=False)
        layer.weight.data = weight.view(1, -1, 1, 1)
        model.lins.append(layer)
    with torch.no_grad():
        package = model(to_tensor(images[:1]), to_tensor(images[1:2])).item()
    assert ours[0, 1] == pytest.approx(package, rel=1e-4)


def test_far_away_from_the_origin_float64_and_centring_keep_the_distances():
    # features of a collapsed model: all nearly equal, compared with a float64 reference
    torch.manual_seed(2)
    a = torch.randn(1, 5000).repeat(6, 1) + 1e-4 * torch.randn(6, 5000)
    reference = torch.cdist(a.double(), a.double(), compute_mode="donot_use_mm_for_euclid_dist")
    ours = module._block_distances(a - a.mean(0), a - a.mean(0))
    off = ~torch.eye(6, dtype=bool)
    torch.testing.assert_close(ours[off], reference[off].square(), rtol=1e-3, atol=0)


def test_the_vectors_of_one_image_have_the_length_of_its_unit_stages(images):
    class Positive(torch.nn.Module):
        def stages(self, x):
            return [x + 2, torch.nn.functional.avg_pool2d(x + 2, 4)]

    vectors = lpips_features(Positive(), to_tensor(images[:3]))
    # each position is a unit vector, each of the two stages is averaged over its positions
    torch.testing.assert_close(vectors.square().sum(1), torch.full((3,), 2.0))


def test_an_image_whose_features_are_not_finite_is_named(images):
    class Broken(torch.nn.Module):
        def stages(self, x):
            return [torch.where((x.mean(dim=(1, 2, 3), keepdim=True) > 0.9), torch.nan, x)]

    white = images.copy()
    white[3] = 255
    with pytest.raises(UserError, match="image 3"):
        lpips_matrix(Broken(), white)
