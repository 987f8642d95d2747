"""Looking at artifacts: what is in the file, that it repeats itself, and how it fails."""

import json

import numpy as np
import pytest
import torch

from eval import observe
from eval.networks.features import CleanFidModel, batches, stream_features
from eval.networks.lpips_matrix import lpips_matrix
from eval.networks.referee import load_judge, load_perceptual
from eval.observation import Observation, load_observation, save_observation
from eval.observe_runs import latents
from nada.images.arrays import load_images, save_images
from nada.images.tensors import to_tensor, to_uint8
from nada.run.artifact import AdaptedModel, load_artifact, save_artifact
from nada.run.errors import UserError
from nada.run.spec.observation_spec import read_observation_spec
from tests.eval.agreement import (
    assert_numbers_agree,
    assert_observations_agree,
    assert_pictures_agree,
)


def spec(world, tmp_path, capsys, name="out.npz", **changes):
    """Run the command on a changed observation spec; return (exit code, file, stderr)."""
    spec = tmp_path / "look.json"
    spec.write_text(json.dumps(world.spec(**changes)))
    code = observe.main(["--spec", str(spec), "--out", str(tmp_path / name)])
    return code, tmp_path / name, capsys.readouterr().err


def test_an_observation_holds_what_the_artifact_draws_from_the_shared_latents(tiny_world):
    seen = load_observation(tiny_world.folder / "nada-global.npz")
    model = load_artifact(tiny_world.folder / "dog2cat/nada-global/seed1")
    images = to_uint8(model.sample(latents(101, 60, 8)))
    assert_pictures_agree(seen["seed1/images"], images[:8])
    truncated = to_uint8(model.sample(latents(101, 8, 8), 0.7))
    assert_pictures_agree(seen["seed1/gallery"], truncated)
    perceptual = load_perceptual(tiny_world.folder / "perceptual.safetensors")
    features = stream_features(batches(images, 60), CleanFidModel(perceptual))
    assert_numbers_agree(seen["seed1/features"], features)
    assert_numbers_agree(seen["seed1/lpips"], lpips_matrix(perceptual, images[:24]))
    judge = load_judge(tiny_world.folder / "judge.safetensors")
    assert_numbers_agree(seen["seed1/class_logits"], judge(to_tensor(images))["class_logits"])
    assert seen.meta["class_names"] == judge.class_names
    assert seen["seed1/source_lpips"].shape == (8, 8)


def test_all_methods_are_shown_the_same_latents(tiny_world):
    a, b = (
        load_observation(tiny_world.folder / f"{name}.npz")
        for name in ("nada-global", "nada-adaptive")
    )
    for name in ("source_images", "source_gallery", "source_factors"):
        assert np.array_equal(a[f"seed0/{name}"], b[f"seed0/{name}"])
    assert not np.array_equal(a["seed0/source_images"], a["seed1/source_images"])


def test_the_source_control_shows_the_frozen_images(tiny_world):
    seen = load_observation(tiny_world.folder / "source-unchanged.npz")
    assert np.array_equal(seen["seed0/images"], seen["seed0/source_images"])
    assert np.array_equal(seen["seed0/gallery"], seen["seed0/source_gallery"])


def test_a_model_without_w_plus_is_measured_but_belongs_to_no_source_image(
    tiny_world, tmp_path, capsys
):
    code, path, _ = spec(tiny_world, tmp_path, capsys, method="replay", variant="images", shots=5)
    assert code == 0
    seen = load_observation(path)
    assert "seed0/source_lpips" not in seen.arrays
    few = load_images(tiny_world.folder / "cat.npz")[:5]
    known = {image.tobytes() for image in (*few, *few[:, :, ::-1])}
    assert {image.tobytes() for image in seen["seed0/images"]} <= known
    assert np.array_equal(seen["seed0/images"], seen["seed0/gallery"])  # nothing to truncate
    assert seen["seed0/features"].shape == (60, 12)


def test_fewer_latents_are_the_first_of_more():
    assert torch.equal(latents(5, 40, 8)[:7], latents(5, 7, 8))
    assert not torch.equal(latents(5, 7, 8), latents(6, 7, 8))


def test_snapshots_are_looked_at_step_by_step(tiny_world):
    seen = load_observation(tiny_world.folder / "nada-global.npz")
    assert seen.snapshots(0) == [10, 20]
    assert seen["seed0/snapshot10/lpips"].shape == (8, 8)
    assert np.array_equal(
        seen["seed0/snapshot20/class_logits"].argmax(1), seen["seed0/class_logits"][:8].argmax(1)
    )
    assert not np.array_equal(seen["seed0/snapshot10/lpips"], seen["seed0/snapshot20/lpips"])
    middle = load_artifact(tiny_world.folder / "dog2cat/nada-global/seed0", step=10)
    images = to_uint8(middle.sample(latents(100, 8, 8)))
    perceptual = load_perceptual(tiny_world.folder / "perceptual.safetensors")
    for name, wanted in (
        ("features", stream_features(batches(images, 8), CleanFidModel(perceptual))),
        ("lpips", lpips_matrix(perceptual, images)),
    ):
        assert_numbers_agree(seen[f"seed0/snapshot10/{name}"], wanted, name)


def test_the_same_observation_gives_the_same_bytes(tiny_world, tmp_path, capsys):
    for name, changes in (("nada-global", {"seeds": (0, 1)}), ("real", {"method": "real"})):
        if name == "real":
            changes |= {"seeds": (), "variant": ""}
        code, path, _ = spec(tiny_world, tmp_path, capsys, **changes)
        assert code == 0
        assert path.read_bytes() == (tiny_world.folder / f"{name}.npz").read_bytes()


def test_batch_size_changes_no_number(tiny_world, tmp_path, capsys):
    counts = tiny_world.spec()["counts"] | {"batch": 7}
    code, path, _ = spec(tiny_world, tmp_path, capsys, variant="adaptive", counts=counts)
    assert code == 0
    expected = load_observation(tiny_world.folder / "nada-adaptive.npz")
    assert_observations_agree(load_observation(path).arrays, expected.arrays)


def test_the_halves_of_the_references_share_no_image_and_lose_none(tiny_world, tmp_path, capsys):
    counts = tiny_world.spec()["counts"] | {"gallery_images": 60}
    code, path, _ = spec(tiny_world, tmp_path, capsys, method="real", seeds=(), counts=counts)
    assert code == 0
    halves = [load_observation(path)[f"half{half}/images"] for half in (0, 1)]
    found = sorted(image.tobytes() for half in halves for image in half)
    images = load_images(tiny_world.folder / "cat.npz")
    assert found == sorted(image.tobytes() for image in images)


def test_too_few_reference_images_are_an_error_that_says_how_many(tiny_world, tmp_path, capsys):
    save_images(tmp_path / "few.npz", load_images(tiny_world.folder / "cat.npz")[:12])
    references = str(tmp_path / "few.npz")
    code, path, said = spec(
        tiny_world, tmp_path, capsys, method="real", seeds=(), references=references
    )
    assert code == 2 and "the reference set has 12 images; FID needs at least 50" in said
    assert not path.exists()


def test_a_diverged_model_is_an_error_that_names_the_run_and_keeps_the_earlier_file(
    tiny_world, tmp_path, capsys
):
    model = load_artifact(tiny_world.folder / "dog2cat/nada-global/seed0")
    with torch.no_grad():
        for conv in model.generator.synthesis.convs:  # finite, but for what is drawn with them
            conv.noise_strength.fill_(torch.finfo(torch.float32).max)
    save_artifact(tmp_path / "run", AdaptedModel(model.generator), {})
    runs = [{"id": "broken", "seed": 0, "latent_seed": 1, "folder": str(tmp_path / "run")}]
    save_observation(tmp_path / "out.npz", Observation({"of": "an earlier run"}, {}))
    earlier = (tmp_path / "out.npz").read_bytes()
    code, path, said = spec(tiny_world, tmp_path, capsys, runs=runs)
    assert code == 2 and "broken: image 0 holds NaN" in said
    assert path.read_bytes() == earlier
    with torch.no_grad():
        model.generator.synthesis.to_rgbs[0].bias.fill_(torch.nan)
    save_artifact(tmp_path / "run", AdaptedModel(model.generator), {})
    code, path, said = spec(tiny_world, tmp_path, capsys, runs=runs)
    assert code == 2 and "the tensor generator.synthesis.to_rgbs.0.bias has values that are" in said
    assert path.read_bytes() == earlier


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"target": ["class", "bear"]}, "judge knows only dog, cat, none of these"),
        ({"counts": {"fid_image": 60}}, "unknown key 'counts.fid_image'"),
        ({"counts": {"fid_images": 10}}, "more than the 10 images of fid_images"),
        ({"counts": {"k_medoids": 999}}, "unknown key 'counts.k_medoids'"),  # scores alone use it
        ({"counts": {"batch": 0}}, "counts.batch is 0; it must be greater than or equal to 1"),
        ({"source": None}, "the key 'source' is missing"),
        ({"method": "real", "seeds": (), "source": "dog.safetensors"}, "'real' has neither 'source' nor"),
        ({"seeds": (0, 0)}, "'runs' names a seed twice"),
        ({"seeds": ()}, "only 'real' has no runs"),
        ({"referee": {"perceptual": "nowhere.safetensors"}}, "nowhere.safetensors is missing"),
    ],
)
def test_a_mistake_in_the_observation_spec_is_one_sentence(
    tiny_world, tmp_path, capsys, changes, sentence
):
    code, _, said = spec(tiny_world, tmp_path, capsys, **changes)
    assert code == 2 and sentence in said and said.count("\n") == 1


def test_only_the_arrays_that_are_asked_for_are_read(tiny_world):
    whole = load_observation(tiny_world.folder / "nada-global.npz")
    part = load_observation(tiny_world.folder / "nada-global.npz", only=("gallery",))
    assert part.meta == whole.meta and sorted(part.arrays) == ["seed0/gallery", "seed1/gallery"]
    assert np.array_equal(part["seed1/gallery"], whole["seed1/gallery"])


def test_missing_truncated_and_foreign_observations_are_refused(tiny_world, tmp_path):
    with pytest.raises(UserError, match="no such observation"):
        load_observation(tmp_path / "nowhere.npz")
    whole = (tiny_world.folder / "nada-adaptive.npz").read_bytes()
    for length in (0, 1000, len(whole) // 2, len(whole) - 1):
        (tmp_path / "cut.npz").write_bytes(whole[:length])
        with pytest.raises(UserError, match="truncated or not an observation"):
            load_observation(tmp_path / "cut.npz")
    middle = bytearray(whole)
    middle[len(whole) // 2] ^= 255  # a flipped bit on disk
    (tmp_path / "cut.npz").write_bytes(middle)
    with pytest.raises(UserError, match="truncated or not an observation"):
        load_observation(tmp_path / "cut.npz")
    np.savez(tmp_path / "other.npz", images=np.zeros(3))
    with pytest.raises(UserError, match="not an observation"):
        load_observation(tmp_path / "other.npz")


def test_the_bytes_of_an_observation_do_not_depend_on_the_clock(tmp_path, monkeypatch):
    import time

    content = Observation({"b": 1, "a": [2]}, {"y": np.arange(5), "x": np.ones(3)})
    save_observation(tmp_path / "a.npz", content)
    later = time.localtime(time.time() + 400_000_000)
    monkeypatch.setattr(time, "localtime", lambda *_: later)
    save_observation(tmp_path / "b.npz", content)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


# On a GPU: a fake one (tests/fake_card.py) -----------------------------------------------------------


@pytest.mark.parametrize("method, variant, seeds", [("nada", "global", (0, 1)), ("real", "", ())])
def test_an_observation_on_a_card_equals_that_of_the_cpu(
    tiny_world, tmp_path, card, method, variant, seeds
):
    spec, out = tmp_path / "look.json", tmp_path / "card.npz"
    content = tiny_world.spec(variant, method, seeds, device="cuda")
    spec.write_text(json.dumps(content))
    with card:
        assert observe.main(["--spec", str(spec), "--out", str(out)]) == 0
    name = f"{method}-{variant}".strip("-")
    seen, expected = load_observation(out), load_observation(tiny_world.folder / f"{name}.npz")
    assert seen.meta["device"] == "cuda"
    assert_observations_agree(seen.arrays, expected.arrays)


def test_an_observation_that_runs_out_of_memory_goes_on_with_smaller_batches(
    tiny_world, tmp_path, card, monkeypatch, capsys
):
    sample, rendered = AdaptedModel.sample, []

    def limited(model, z, *rest):
        rendered.append(len(z))
        if len(z) > 5:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return sample(model, z, *rest)

    monkeypatch.setattr(AdaptedModel, "sample", limited)
    spec, out = tmp_path / "look.json", tmp_path / "card.npz"
    spec.write_text(json.dumps(tiny_world.spec("global", "nada", (0,), device="cuda")))
    with card:
        assert observe.main(["--spec", str(spec), "--out", str(out)]) == 0
    assert rendered[:4] == [8, 8, 4, 4]  # eight of the gallery, in parts of 16, 8 and 4
    assert capsys.readouterr().out.count("out of memory") == 2
    seen, expected = (load_observation(f) for f in (out, tiny_world.folder / "nada-global.npz"))
    first = {key: array for key, array in expected.arrays.items() if key.startswith("seed0/")}
    assert_observations_agree(seen.arrays, first)


def test_a_card_too_small_for_one_image_is_one_sentence(tiny_world, tmp_path, card, monkeypatch):
    def fail(*_):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(AdaptedModel, "sample", fail)
    observation_spec = read_observation_spec(tiny_world.write("small.json", tiny_world.spec(device="cuda")))
    message = r"^dog2cat, nada: one image at a time does not fit .*; use a device with more memory"
    with card, pytest.raises(UserError, match=message):
        observe.observe(observation_spec)
