"""FID against closed forms, a second implementation and clean-fid's folder path."""

import warnings

import numpy as np
import pytest
import torch
from cleanfid.fid import fid_from_feats, frechet_distance, get_folder_features
from PIL import Image

from eval.metrics.fid import FeatureSet, GaussianStatistic, fid, gaussian_statistic
from eval.networks.features import CleanFidModel, batches, stream_features
from eval.networks.referee import PerceptualNet
from nada.run.errors import UserError


def cleanfid_s(a: GaussianStatistic, b: GaussianStatistic) -> float:
    """clean-fid's number: by scipy's root of the product of the covariances."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scipy: sqrtm's disp argument
        return frechet_distance(a.mean, a.covariance, b.mean, b.covariance)


def fid_of_samples(x: np.ndarray, y: np.ndarray) -> float:
    """FID without a covariance: tr(Σ_x Σ_y)^½ is the nuclear norm of X Yᵀ, both centred and scaled."""
    x_mean, y_mean = x.mean(axis=0), y.mean(axis=0)
    x, y = ((z - z.mean(axis=0)) / np.sqrt(len(z) - 1) for z in (x, y))
    cross = np.linalg.svd(x @ y.T, compute_uv=False).sum()
    return np.square(x_mean - y_mean).sum() + np.square(x).sum() + np.square(y).sum() - 2 * cross


@pytest.fixture(scope="module")
def perceptual():
    torch.manual_seed(0)
    return PerceptualNet(["dog"], ["photo"], ["yaw"], widths=(6, 8, 10, 12)).eval()


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (70, 32, 32, 3), dtype=np.uint8)


def test_fid_of_two_gaussians_equals_the_closed_form():
    scale_a, scale_b = np.array([1.0, 2.0, 0.5]), np.array([2.0, 2.0, 1.5])
    a = GaussianStatistic(np.zeros(3), np.diag(scale_a**2), 1000)
    b = GaussianStatistic(np.array([3.0, 0.0, -1.0]), np.diag(scale_b**2), 1000)
    assert fid(a, b) == pytest.approx(10.0 + np.square(scale_a - scale_b).sum(), rel=1e-9)


@pytest.mark.parametrize("count, width", [(300, 40), (1000, 128), (700, 300)])
def test_fid_is_clean_fid_s_number(count, width):
    rng = np.random.default_rng(1)
    mix = rng.normal(size=(width, width))
    a = gaussian_statistic(np.abs(rng.normal(size=(count, width)) @ mix))
    b = gaussian_statistic(np.abs(rng.normal(size=(2 * count, width)) @ mix.T + 0.3))
    assert fid(a, b) == pytest.approx(cleanfid_s(a, b), rel=1e-9)


def test_fid_of_a_set_with_itself_is_zero_and_is_symmetric():
    rng = np.random.default_rng(2)
    a = gaussian_statistic(rng.normal(size=(200, 16)))
    b = gaussian_statistic(rng.normal(size=(200, 16)) * 1.4)
    assert abs(fid(a, a)) < 1e-6
    assert fid(a, b) == pytest.approx(fid(b, a), rel=1e-8)


@pytest.mark.parametrize("collapsed", [np.zeros((200, 64)), np.full((200, 64), 0.7)])
def test_fid_of_a_collapsed_model_is_the_distance_of_a_point(collapsed):
    features = np.random.default_rng(3).normal(size=(300, 64))
    found = fid(gaussian_statistic(features), gaussian_statistic(collapsed))
    assert found == pytest.approx(fid_of_samples(features, collapsed), rel=1e-9)


def test_fid_with_fewer_images_than_features_needs_no_help():
    rng = np.random.default_rng(4)
    x, y = np.abs(rng.normal(size=(60, 128))), np.abs(rng.normal(size=(90, 128)))
    a, b = gaussian_statistic(x), gaussian_statistic(y)
    assert a.count < len(a.mean) and b.count < len(b.mean)
    assert fid(a, b) == pytest.approx(fid_of_samples(x, y), rel=1e-6)
    assert fid(b, a) == pytest.approx(fid_of_samples(x, y), rel=1e-6)


def test_a_reference_set_s_gaussian_and_its_root_are_made_once(monkeypatch):
    references = FeatureSet(np.random.default_rng(6).normal(size=(100, 8)))
    assert references.statistic is references.statistic
    root = references.statistic.root
    np.testing.assert_allclose(root @ root, references.statistic.covariance, atol=1e-12)
    monkeypatch.setattr(np.linalg, "eigh", None)
    assert references.statistic.root is root


def test_too_few_images_are_an_error_that_names_the_set_and_the_floor():
    with pytest.raises(UserError, match="reference set has 12 images; FID needs at least 50"):
        gaussian_statistic(np.zeros((12, 4)), "reference set")


def test_features_that_are_not_finite_are_an_error_that_names_the_image():
    features = np.zeros((60, 4))
    features[17, 2] = np.nan
    with pytest.raises(UserError, match="image 17"):
        gaussian_statistic(features)


def test_streamed_features_equal_clean_fids_folder_of_pngs(tmp_path, perceptual, images):
    for index, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{index:04d}.png")
    model = CleanFidModel(perceptual)
    folder = get_folder_features(
        str(tmp_path),
        model=model,
        num_workers=0,
        batch_size=16,
        device=torch.device("cpu"),
        custom_fn_resize=lambda image: image,
        verbose=False,
    )
    # a generator's floats that round to those PNGs, some of them beyond [-1, 1]
    noise = np.random.default_rng(6).uniform(-0.45, 0.45, images.shape)
    noise[(images == 0) | (images == 255)] *= 0
    noise[images == 255] += 30
    floats = torch.from_numpy((images + noise) / 127.5 - 1).permute(0, 3, 1, 2).float()
    streamed = stream_features(floats.split(16), model)
    np.testing.assert_allclose(streamed, folder, atol=1e-5)
    other = np.random.default_rng(7).normal(1.0, 1.0, (80, 12)) * folder.std(0) + folder.mean(0)
    ours = fid(gaussian_statistic(streamed), gaussian_statistic(other))
    assert ours == pytest.approx(fid_from_feats(folder, other), abs=1e-3)


def test_batch_size_does_not_change_features_or_fid(perceptual, images):
    model = CleanFidModel(perceptual)
    one, many = (stream_features(batches(images, n), model) for n in (7, 64))
    np.testing.assert_allclose(one, many, atol=1e-6)
    other = gaussian_statistic(np.random.default_rng(8).normal(size=(60, 12)))
    a, b = (fid(gaussian_statistic(f), other) for f in (one, many))
    assert a == pytest.approx(b, rel=1e-6)


def test_an_image_with_nan_is_an_error_that_names_it(perceptual):
    images = torch.zeros(6, 3, 32, 32)
    images[5, 1, 2, 3] = torch.nan
    with pytest.raises(UserError, match="seed 3: image 5 holds NaN"):
        stream_features(images.split(2), CleanFidModel(perceptual), what="seed 3")
