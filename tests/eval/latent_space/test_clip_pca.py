"""CLIP-space PCA: the plane against scikit-learn, fitted on the reals alone; collapse on planted spreads."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from eval.latent_space.clip_pca import (
    collapse,
    draw,
    early_and_late,
    embed_images,
    embed_run,
    embed_texts,
    fit_plane,
    spread,
)
from nada.images.tensors import to_uint8
from nada.run.artifact import AdaptedModel, load_artifact, save_artifact, write_snapshots
from nada.run.errors import UserError
from nada.stylegan2.generator import Generator


def cloud(n, scale=1.0, seed=0, dimensions=12):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, dimensions)) * np.linspace(2, 0.1, dimensions) * scale + 3


def test_the_plane_and_its_projection_agree_with_scikit_learn():
    reals, others = cloud(60), cloud(7, seed=1)
    theirs = PCA(n_components=2, svd_solver="full").fit(reals)
    ours = fit_plane(reals)
    signs = np.sign((theirs.components_ * ours.components).sum(axis=1))  # a component has no sign
    np.testing.assert_allclose(ours.components, theirs.components_ * signs[:, None], atol=1e-10)
    np.testing.assert_allclose(ours.explained, theirs.explained_variance_ratio_, rtol=1e-10)
    np.testing.assert_allclose(ours.project(others), theirs.transform(others) * signs, atol=1e-10)


def test_a_component_s_entry_of_largest_size_is_positive_whatever_the_order_of_the_images():
    reals = cloud(40)
    for shuffled in (reals, reals[::-1]):
        components = fit_plane(shuffled).components
        assert (components[np.arange(2), np.abs(components).argmax(axis=1)] > 0).all()
    np.testing.assert_allclose(fit_plane(reals).components, fit_plane(reals[::-1]).components, atol=1e-8)


def test_texts_and_generated_images_do_not_move_the_plane():
    reals = {"dog": cloud(30), "cat": cloud(20, seed=2)}
    far = {"texts": cloud(2, scale=50, seed=3), "global, late": cloud(9, scale=30, seed=4)}
    alone, drawn = draw(reals, {}), draw(reals, far)
    np.testing.assert_array_equal(alone.plane.components, drawn.plane.components)
    np.testing.assert_array_equal(alone.clouds["dog"], drawn.clouds["dog"])
    fitted = PCA(n_components=2).fit(np.concatenate(list(reals.values())))
    np.testing.assert_allclose(np.abs(drawn.clouds["texts"]), np.abs(fitted.transform(far["texts"])), atol=1e-8)
    rows = drawn.rows()
    assert len(rows) == 30 + 20 + 2 + 9
    assert rows[-1] == {
        "cloud": "global, late", "index": 8, "x": drawn.clouds["global, late"][8, 0],
        "y": drawn.clouds["global, late"][8, 1],
    }  # fmt: skip


def test_a_cloud_named_twice_and_reals_without_a_plane_are_refused():
    with pytest.raises(UserError, match="'dog' names reals and another cloud"):
        draw({"dog": cloud(5)}, {"dog": cloud(5)})
    line = np.outer(np.arange(6), np.ones(4))
    with pytest.raises(UserError, match="span no plane"):
        fit_plane(line)
    with pytest.raises(ValueError, match="n>=3"):
        fit_plane(cloud(2))
    with pytest.raises(ValueError, match="12 numbers each expected, got 5"):
        fit_plane(cloud(9)).project(np.zeros((1, 5)))


# --- collapse


def test_spread_is_the_trace_of_the_covariance():
    x = cloud(25)
    assert spread(x) == pytest.approx(np.trace(np.cov(x.T)), rel=1e-12)


@pytest.mark.parametrize("kept", [0.04, 0.5, 1.0])
def test_the_statistic_finds_a_planted_share_of_the_spread_wherever_the_cloud_lies(kept):
    reference, adapted = cloud(400), cloud(400, scale=kept**0.5, seed=5) - 20
    found = collapse(adapted, reference)
    assert found.low < kept < found.high
    assert found.low < found.value < found.high and found.n == 400
    assert found.high - found.low < 0.5 * kept


def test_equal_images_have_collapsed_and_a_copy_of_the_reference_has_not():
    reference = cloud(50)
    point = collapse(np.ones((50, 12)), reference)
    assert (point.value, point.low, point.high) == (0, 0, 0)
    same = collapse(reference, reference, paired=True)
    assert (same.value, same.low, same.high) == pytest.approx((1, 1, 1))


def test_the_interval_covers_the_true_share_about_as_often_as_it_says():
    # closed form: tr Cov = Σ scales², so the true ratio is 0.25 for half the scale
    hits = 0
    for trial in range(100):
        adapted, reference = cloud(40, scale=0.5, seed=2 * trial), cloud(40, seed=2 * trial + 1)
        found = collapse(adapted, reference, resamples=300, seed=trial)
        hits += found.low <= 0.25 <= found.high
    assert 84 <= hits <= 99


def test_the_interval_is_that_of_images_drawn_again_one_by_one():
    adapted, reference = cloud(4, scale=0.7), cloud(30, seed=1)
    rng, ratios = np.random.default_rng(7), []
    drawn = [rng.integers(n, size=(100, n)) for n in (4, 30)]  # as scipy draws 100 resamples
    for few, many in zip(*drawn, strict=True):
        a, b = adapted[few], reference[many]
        ratios.append((spread(a) * 4 / 3) / (spread(b) * 30 / 29))
    found = collapse(adapted, reference, seed=7, resamples=100)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(ratios, [0.025, 0.975])), rel=1e-9)
    assert found.value == pytest.approx(spread(adapted) / spread(reference))


def test_codes_resampled_together_give_a_narrower_interval_than_apart():
    source = cloud(80)
    adapted = source * 0.5 + np.random.default_rng(3).normal(scale=0.02, size=source.shape)
    together, apart = (collapse(adapted, source, paired=paired) for paired in (True, False))
    assert together.value == apart.value == pytest.approx(0.25, abs=0.01)
    assert (together.high - together.low) < 0.3 * (apart.high - apart.low)


def test_the_interval_is_reproducible_and_bad_input_is_refused():
    a, b = cloud(20), cloud(30, seed=1)
    assert collapse(a, b, seed=4) == collapse(a, b, seed=4) != collapse(a, b, seed=5)
    with pytest.raises(UserError, match="all embeddings of the reference are equal"):
        collapse(a, np.ones((4, 12)))
    with pytest.raises(ValueError, match="do not belong together"):
        collapse(a, b, paired=True)
    with pytest.raises(ValueError, match="n>=2"):
        collapse(a[:1], b)


# --- embeddings


def test_images_and_bare_texts_are_embedded_as_unit_vectors_whatever_the_batch(clip):
    images = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), dtype=np.uint8)
    whole, parts = embed_images(clip, images), embed_images(clip, images, batch=2)
    np.testing.assert_allclose(whole, parts, atol=1e-5)
    texts = embed_texts(clip, ["dog", "cat"])
    assert texts.shape == (2, 16)
    np.testing.assert_allclose(np.linalg.norm(np.concatenate([whole, texts]), axis=1), 1, atol=1e-5)
    expected = clip.encode_texts(["cat"])[0].numpy()
    np.testing.assert_allclose(texts[1], expected, atol=1e-6)


@pytest.fixture
def run(tmp_path):
    """A run's folder with snapshots of the steps 0, 2 and 4 and a last model of step 6, which move away."""
    torch.manual_seed(0)
    generator = Generator(16, z_dim=8, style_dim=8, channel_base=128, channel_max=8, mapping_layers=2).eval()
    model, snapshots = AdaptedModel(generator), {}
    for step in (0, 2, 4, 6):
        with torch.no_grad():
            generator.synthesis.to_rgbs[-1].bias.fill_(0.1 * step)
        snapshots[step] = {k: v.clone() for k, v in model.tensors().items()}
    save_artifact(tmp_path, model, {"step": 6})
    write_snapshots(tmp_path / "snapshots.safetensors", {s: snapshots[s] for s in (0, 2, 4)}, snapshots[6])
    return tmp_path


def test_early_is_the_first_kept_step_after_the_start_and_late_the_last(run, clip):
    assert early_and_late(run) == (2, 6)
    z = torch.randn(5, 8)
    early, late = (embed_run(clip, run, step, z, batch=2) for step in early_and_late(run))
    for step, found in ((2, early), (None, late)):
        model = load_artifact(run, step=step)
        np.testing.assert_allclose(found, embed_images(clip, to_uint8(model.sample(z))), atol=1e-4)
    assert np.abs(early - late).max() > 1e-3


def test_a_run_without_an_early_snapshot_is_refused(run):
    (run / "snapshots.safetensors").unlink()
    with pytest.raises(UserError, match="the run kept only step 6; set its snapshots to 2 or more"):
        early_and_late(run)
