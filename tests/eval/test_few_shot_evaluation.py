"""From a few-shot artifact to its scores and figures: raw weights, memorisation, comparisons."""

import hashlib
import json

import numpy as np
import pandas as pd
import pytest

from eval import observe, score
from eval.figures import neighbours, pareto, training_curves
from eval.metrics import memorisation
from eval.metrics.sample import Sample
from eval.observation import Observation, load_observation
from eval.score import preference_rows, read_scores
from nada.images.arrays import load_images, save_images
from nada.run.artifact import AdaptedModel, load_artifact, save_artifact, write_snapshots
from nada.run.atomic import sha256
from nada.run.spec.group_spec import read_group_spec
from nada.stylegan2.source_model import load_source
from tests.eval.conftest import SHOTS, shifted

MODELS = ("nada-adaptive", "tgan-plain")


@pytest.fixture(scope="module")
def looked(tiny_world):
    """Paths of the observations and the group, with one few-shot run among them."""
    source = load_source(tiny_world.folder / "dog.safetensors").G_ema
    pixels = load_images(tiny_world.folder / "cat.npz")
    rows = list(range(SHOTS))
    digest = hashlib.sha256(pixels[rows].tobytes()).hexdigest()
    run = tiny_world.folder / "dog2cat/tgan-plain/seed0"
    run.mkdir(parents=True)
    model = AdaptedModel(shifted(source, 3, 0.3), raw=shifted(source, 4, 0.3))
    few_shot = {"indices": rows, "sha256": digest}
    save_artifact(run, model, {"step": 20, "few_shot": few_shot})
    middle = AdaptedModel(shifted(source, 5, 0.1), raw=shifted(source, 6, 0.1)).tensors()
    write_snapshots(run / "snapshots.safetensors", {10: middle}, model.tensors())
    spec = tiny_world.write("look_tgan.json", tiny_world.spec("plain", "tgan", shots=SHOTS))
    out = tiny_world.folder / "tgan-plain.npz"
    assert observe.main(["--spec", str(spec), "--out", str(out)]) == 0
    content = tiny_world.group(MODELS)
    content["rows"][1] |= {"shots": SHOTS, "training_images": str(tiny_world.folder / "cat.npz")}
    content["preference"] = {
        "method": "nada", "variant": "adaptive", "shots": 0, "warm_start": "source"
    }  # fmt: skip
    group = tiny_world.write("few_group.json", content)
    return {"look": spec, "observation": out, "group": group}


@pytest.fixture(scope="module")
def files(looked, scikit_learn_extra):
    """Those paths and that of the group's scores."""
    scores = looked["group"].with_name("few_scores.csv")
    assert score.main(["--spec", str(looked["group"]), "--out", str(scores)]) == 0
    return looked | {"scores": scores}


def values(files, method, weights="final", step="last") -> dict:
    table = read_scores(files["scores"], raw=True)
    part = table[(table.method == method) & (table.weights == weights) & (table.step == step)]
    return part.set_index("metric").value.astype(float).to_dict()


def test_raw_weights_are_looked_at_beside_their_average(files):
    seen = load_observation(files["observation"])
    assert not np.array_equal(seen["seed0/features"], seen["seed0/raw/features"])
    final, raw = values(files, "tgan"), values(files, "tgan", "raw")
    assert {"fid", "kid", "target_rate"} <= set(raw) and raw["fid"] != final["fid"]
    assert set(values(files, "tgan", "raw", "10")) >= {"kid", "target_rate"}
    assert not values(files, "nada", "raw")
    assert (read_scores(files["scores"]).weights == "final").all()


def test_training_images_are_found_again_mirrored_or_not(files, tiny_world):
    seen = load_observation(files["observation"])
    assert seen["seed0/training_rows"].tolist() == list(range(SHOTS))
    assert seen["seed0/training_lpips"].shape == (8, 2 * SHOTS)
    assert seen["seed0/fresh_lpips"].shape == (120 - SHOTS, 2 * SHOTS)
    found = values(files, "tgan")
    assert found["nearest_training_lpips"] > 0 and 0 <= found["memorised"] <= 1
    assert "memorised" not in values(files, "nada")


def test_a_replayed_training_set_is_memorised(tiny_world, tmp_path):
    run = tiny_world.folder / "dog2cat/replay-images/seed0"
    pixels = load_images(tiny_world.folder / "cat.npz")
    digest = hashlib.sha256(pixels[:SHOTS].tobytes()).hexdigest()
    from nada.run.artifact import load_artifact

    bank = load_artifact(run).generator
    other = tmp_path / "replay"
    record = {"step": 0, "few_shot": {"indices": list(range(SHOTS)), "sha256": digest}}
    save_artifact(other, AdaptedModel(bank), record)
    spec = tiny_world.spec("images", "replay", shots=SHOTS)
    spec["runs"][0]["folder"] = str(other)
    path = tmp_path / "look.json"
    path.write_text(json.dumps(spec))
    assert observe.main(["--spec", str(path), "--out", str(tmp_path / "r.npz")]) == 0
    seen = load_observation(tmp_path / "r.npz")
    assert seen["seed0/training_lpips"].min(axis=1).max() < 1e-5


def test_images_of_another_file_are_found_there_and_counted_where_the_references_hold_them(
    looked, tiny_world, tmp_path
):
    pixels = load_images(tiny_world.folder / "cat.npz")
    own = np.concatenate([pixels[:2], 255 - pixels[:3]])  # two of the references, three others
    save_images(tmp_path / "own.npz", own)
    run = tmp_path / "run"
    few_shot = {"indices": list(range(5)), "sha256": hashlib.sha256(own.tobytes()).hexdigest()}
    model = load_artifact(tiny_world.folder / "dog2cat/nada-adaptive/seed0")
    save_artifact(run, model, {"step": 0, "few_shot": few_shot})
    spec = tiny_world.spec("plain", "tgan", shots=5)
    spec["runs"][0]["folder"] = str(run)
    spec["training_images"] = str(tmp_path / "own.npz")
    path = tiny_world.write("own_look.json", spec)
    assert observe.main(["--spec", str(path), "--out", str(tmp_path / "o.npz")]) == 0
    seen = load_observation(tmp_path / "o.npz")
    assert seen["seed0/training_rows"].tolist() == list(range(5))
    assert seen["seed0/trained_references"].tolist() == [0, 1]
    assert seen["seed0/fresh_lpips"].shape == (118, 10)
    hashes = seen.meta["hashes"]
    assert hashes["training_images"] == sha256(tmp_path / "own.npz") != hashes["references"]

    del spec["references"]  # too few images are new to the run: nothing is compared with them
    path = tiny_world.write("alone_look.json", spec)
    assert observe.main(["--spec", str(path), "--out", str(tmp_path / "alone.npz")]) == 0
    alone = load_observation(tmp_path / "alone.npz")
    assert np.array_equal(alone["seed0/training_lpips"], seen["seed0/training_lpips"])
    assert "seed0/fresh_lpips" not in alone.arrays
    sample = Sample(alone, "seed0", "run", None, 4)
    assert [value.metric.name for value in memorisation.values(sample)] == ["nearest_training_lpips"]

    group = read_group_spec(looked["group"])
    files = {"observation": str(tmp_path / "o.npz"), "training_images": str(tmp_path / "own.npz")}
    row = group.rows[1].model_copy(update=files)
    table, pictures = neighbours.data(group.model_copy(update={"rows": (row,)}))
    assert len(table) == neighbours.SHOWN and set(table.reference) <= set(range(5))
    for (_, latent), (source, adapted, _) in pictures.items():  # the same code in each row
        assert np.array_equal(source, seen["seed0/source_images"][latent])
        assert np.array_equal(adapted, seen["seed0/images"][latent])
    shown = {image.tobytes() for *_, image in pictures.values()}
    assert shown <= {image.tobytes() for image in (*own, *own[:, :, ::-1])}

    real = load_observation(tiny_world.folder / "real.npz")
    run_of = ("tgan", "plain", 5, "source", 0)
    without = preference_rows({run_of: seen}, run_of[:4], real)
    arrays = {k: v for k, v in seen.arrays.items() if k != "seed0/trained_references"}
    arrays["seed0/training_rows"] = np.array([0, 1])
    same = preference_rows({run_of: Observation(seen.meta, arrays)}, run_of[:4], real)
    assert without == same


def test_copies_and_mirror_images_of_training_images_are_not_fresh(tiny_world, tmp_path):
    found = load_images(tiny_world.folder / "cat.npz")
    training = found[:SHOTS]
    references = np.concatenate([found, training[:3, :, ::-1], training[2:4]])
    save_images(tmp_path / "both.npz", references)
    run = tmp_path / "run"
    digest = hashlib.sha256(training.tobytes()).hexdigest()
    few_shot = {"indices": list(range(SHOTS)), "sha256": digest}
    model = load_artifact(tiny_world.folder / "dog2cat/nada-adaptive/seed0")
    save_artifact(run, model, {"step": 0, "few_shot": few_shot})
    spec = tiny_world.spec("plain", "tgan", shots=SHOTS)
    spec["runs"][0]["folder"] = str(run)
    spec["references"] = str(tmp_path / "both.npz")
    path = tiny_world.write("copies_look.json", spec)
    assert observe.main(["--spec", str(path), "--out", str(tmp_path / "o.npz")]) == 0
    seen = load_observation(tmp_path / "o.npz")
    copies = list(range(len(found), len(found) + 5))
    assert seen["seed0/trained_references"].tolist() == [*range(SHOTS), *copies]
    assert seen["seed0/fresh_lpips"].shape == (len(found) - SHOTS, 2 * SHOTS)


def test_another_reference_file_is_noticed(looked, tiny_world, tmp_path, capsys):
    from nada.images.arrays import save_images

    save_images(tmp_path / "other.npz", load_images(tiny_world.folder / "cat.npz")[::-1])
    spec = json.loads(looked["look"].read_text())
    spec["training_images"] = str(tmp_path / "other.npz")
    path = tmp_path / "look.json"
    path.write_text(json.dumps(spec))
    assert observe.main(["--spec", str(path), "--out", str(tmp_path / "o.npz")]) == 2
    assert "does not hold the images that the run trained on" in capsys.readouterr().err


def test_comparisons_are_won_or_lost_latent_by_latent(files):
    ours, theirs = values(files, "nada"), values(files, "tgan")
    assert "preference" not in ours and ours["realism"] > 0
    assert 0 <= theirs["preference"] <= 1


def test_the_pareto_plot_has_a_point_for_each_model(files, tmp_path):
    arguments = ["--spec", str(files["group"]), "--scores", str(files["scores"])]
    assert pareto.main([*arguments, "--out", str(tmp_path / "p")]) == 0
    table = pd.read_csv(tmp_path / "p.csv")
    assert table.method.tolist() == ["nada", "nada", "tgan", "tgan"]
    assert table.metric.tolist() == ["intra_cluster_lpips", "accepted_lpips"] * 2
    assert table.quality[0] == table.quality[1] == 0.5 and table.front.any()
    for method, of_method in table.set_index("metric").groupby("method"):
        scored = values(files, method)
        for metric, diversity in of_method.diversity.dropna().items():
            assert diversity == pytest.approx(scored[metric], abs=1e-5)
    assert b"<svg" in (tmp_path / "p.svg").read_bytes()


def test_raw_weights_are_drawn_over_training_up_to_the_last_step(files):
    group, scores = read_group_spec(files["group"]), read_scores(files["scores"], raw=True)
    rows = training_curves.from_snapshots(group, scores)
    rows = rows[(rows.method == "tgan") & (rows.quantity == "kid")]
    by_weights = {w: part.set_index("step").value for w, part in rows.groupby("weights")}
    assert by_weights["final"].index.tolist() == by_weights["raw"].index.tolist() == [10, 20]
    assert by_weights["raw"][20] == values(files, "tgan", "raw")["kid"]
    assert by_weights["raw"][10] == values(files, "tgan", "raw", "10")["kid"]


def test_neighbours_are_drawn_for_models_that_trained_on_images(files, tmp_path):
    arguments = ["--spec", str(files["group"]), "--scores", str(files["scores"])]
    assert neighbours.main([*arguments, "--out", str(tmp_path / "n")]) == 0
    table = pd.read_csv(tmp_path / "n.csv")
    assert set(table.method) == {"tgan"} and table.reference.between(0, SHOTS - 1).all()
    assert (tmp_path / "n.png").stat().st_size > 1000
