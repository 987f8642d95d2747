"""The shipped networks are what their manifest says, small enough, and past the bars."""

import json

import pytest
import torch

from eval.networks.referee import load_judge, load_perceptual
from nada.clip.encoder import load_clip
from nada.images.arrays import load_images
from nada.images.tensors import to_tensor
from nada.run.manifest import verify_weights
from nada.stylegan2.source_model import load_source
from workflow.worlds.mini.junk_set import JUNK_SET
from workflow.worlds.mini.parent import FAMILIES
from workflow.worlds.mini.pretrain_clip import embed
from workflow.worlds.mini.promote import (
    CLIPS,
    NETWORKS,
    SIZE_LIMIT,
    SOURCES,
    WEIGHTS,
    failures,
    judged_as,
)
from workflow.worlds.mini.references import reference_images

MANIFEST = json.loads((WEIGHTS / "manifest.json").read_text())


def test_every_file_has_its_hash_and_every_network_its_record():
    listed = set(MANIFEST["files"])
    assert listed == {path.name for path in WEIGHTS.iterdir()} - {"manifest.json"}
    for name in listed:
        assert verify_weights(WEIGHTS / name) == MANIFEST["files"][name]["sha256"]
    for name in NETWORKS:
        entry = MANIFEST["files"][f"{name}.safetensors"]
        assert {"recipe", "seed", "figures", "seconds", "device"} <= set(entry)
    assert sum(path.stat().st_size for path in WEIGHTS.iterdir()) <= SIZE_LIMIT


def test_the_recorded_measurements_meet_the_requirements_and_a_missed_one_is_named():
    files = MANIFEST["files"]
    flat = {
        f"{n}.{k}": v for n in NETWORKS for k, v in files[f"{n}.safetensors"]["figures"].items()
    }
    assert failures(flat) == []
    assert failures({**flat, "judge.species": 0.5}) == [
        "judge.species is 0.500, the bar is at least 0.97"
    ]


@pytest.fixture(scope="module")
def pictures():
    """100 dogs and 100 cats of the reference sets, [-1, 1]."""
    return {s: to_tensor(reference_images(s, s, "photo", 100, 32)) for s in ("dog", "cat")}


def test_the_judge_tells_dogs_from_cats_and_both_from_noise(pictures):
    judge = load_judge(WEIGHTS / "judge.safetensors")
    for species, images in pictures.items():
        called = judge(images)["class_logits"].argmax(1)
        assert (called == judge.class_names.index(species)).float().mean() >= 0.97
    noise = torch.randn(100, 3, 32, 32, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
    assert (
        judge(noise)["class_logits"].argmax(1) == len(judge.class_names) - 1
    ).float().mean() > 0.9


@pytest.mark.parametrize("name", CLIPS)
def test_each_clip_names_dogs_and_cats_without_having_seen_these(name, pictures):
    spec = {
        "name": name,
        "config": str(WEIGHTS / f"clip_{name}.json"),
        "weights": str(WEIGHTS / f"clip_{name}.safetensors"),
    }
    clip = load_clip({**spec, "weight": 1.0}, torch.device("cpu"))
    texts = clip.encode_texts(["a dog", "a cat"])
    for i, species in enumerate(("dog", "cat")):
        with torch.no_grad():
            called = (clip.encode_images(pictures[species]) @ texts.T).argmax(1)
        assert (called == i).float().mean() >= 0.95


@pytest.mark.parametrize("domain", SOURCES)
def test_each_source_generator_draws_its_domain_and_its_discriminator_has_learnt(domain):
    species = FAMILIES[domain].species
    source = load_source(WEIGHTS / f"{domain}.safetensors")
    judge = load_judge(WEIGHTS / "judge.safetensors")
    G, D = source.G_ema.eval(), source.D.eval()
    z = torch.randn(200, G.config["z_dim"], generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        images = G.synthesis(G.broadcast(G.mapping(z)), noise_mode="const")
        called = judge(images)["class_logits"].argmax(1)
        assert (called == judge.class_names.index(species)).float().mean() >= 0.95
        real = to_tensor(reference_images(species, species, "photo", 200, 32))
        assert D(real).mean() > D(images).mean()


def test_the_judge_classifies_the_committed_junk_as_none_of_these():
    judge = load_judge(WEIGHTS / "judge.safetensors")
    assert judged_as(judge, to_tensor(load_images(JUNK_SET)), None) >= 0.90


def test_the_perceptual_network_finds_halves_of_dogs_nearer_than_cats(pictures):
    perceptual = load_perceptual(WEIGHTS / "perceptual.safetensors")
    dogs, cats = (perceptual.features(pictures[s]) for s in ("dog", "cat"))
    within = (dogs[:50].mean(0) - dogs[50:].mean(0)).norm()
    assert within < 0.25 * (dogs.mean(0) - cats.mean(0)).norm()


@pytest.mark.parametrize("name", CLIPS)
def test_an_adaptation_shows_clip_what_its_training_did(name, pictures):
    spec = {"name": name, "config": str(WEIGHTS / f"clip_{name}.json"), "weight": 1.0,
            "weights": str(WEIGHTS / f"clip_{name}.safetensors")}  # fmt: skip
    clip, images = load_clip(spec, torch.device("cpu")), pictures["dog"][:8]
    with torch.no_grad():
        torch.testing.assert_close(
            embed(clip.model, images), clip.encode_images(images), rtol=0, atol=1e-5
        )
