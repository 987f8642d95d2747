"""LPIPS on VGG16 with a trunk from a local file against the lpips package, pair by pair."""

import hashlib
import json
import socket
import warnings

import lpips
import numpy as np
import pytest
import torch
from PIL import Image

from eval.networks import lpips_vgg as module
from eval.networks.lpips_matrix import CHUNK, lpips_features, lpips_matrix
from eval.networks.lpips_vgg import LpipsVgg, load_lpips_vgg
from nada.images.tensors import to_tensor
from nada.run.errors import UserError

#: torchvision's convolutions: place in `features`, channels in, channels out.
CONVOLUTIONS = (
    (0, 3, 64), (2, 64, 64), (5, 64, 128), (7, 128, 128), (10, 128, 256), (12, 256, 256),
    (14, 256, 256), (17, 256, 512), (19, 512, 512), (21, 512, 512), (24, 512, 512),
    (26, 512, 512), (28, 512, 512),
)  # fmt: skip
SIZE = 48


@pytest.fixture(scope="module")
def tensors():
    """A random trunk under torchvision's names, with a part of the classifier behind it."""
    stream = torch.Generator().manual_seed(0)
    tensors = {"classifier.6.bias": torch.zeros(1000)}
    for place, before, after in CONVOLUTIONS:
        scale = (2 / (9 * before)) ** 0.5
        weight = torch.randn(after, before, 3, 3, generator=stream) * scale
        tensors[f"features.{place}.weight"] = weight
        tensors[f"features.{place}.bias"] = 0.1 * torch.randn(after, generator=stream)
    return tensors


@pytest.fixture(scope="module")
def trunk(tmp_path_factory, tensors):
    """(path, SHA-256) of the trunk as torchvision's file keeps it: torch.save before 1.6."""
    path = tmp_path_factory.mktemp("vgg") / "vgg16-397923af.pth"
    torch.save(tensors, path, _use_new_zipfile_serialization=False)
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def network(trunk):
    return load_lpips_vgg(trunk[0], size=None, sha256=trunk[1])


@pytest.fixture(scope="module")
def package(tensors):
    """The package by itself, the trunk put in layer by layer."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = lpips.LPIPS(net="vgg", pnet_rand=True, verbose=False)
    for name, layer in model.net.named_modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.weight.data = tensors[f"features.{name.split('.')[1]}.weight"]
            layer.bias.data = tensors[f"features.{name.split('.')[1]}.bias"]
    return model


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (6, SIZE, SIZE, 3), dtype=np.uint8)
    images[3] = images[1]  # a duplicate
    images[4] = images[2]
    images[4, 5, 5] ^= 1  # nearly one: the last bit of one pixel
    return images


@pytest.fixture(scope="module")
def by_the_package(package, images):
    x = to_tensor(images)
    with torch.no_grad():
        return np.array(
            [package(x[i : i + 1].expand_as(x), x).flatten().tolist() for i in range(6)]
        )


@pytest.fixture(scope="module")
def matrix(network, images):
    return lpips_matrix(network, images, batch=4)


def test_the_matrix_equals_the_lpips_package_with_a_duplicate_pair(matrix, by_the_package):
    np.testing.assert_allclose(matrix, by_the_package, rtol=1e-4, atol=1e-6)
    assert matrix[1, 3] < 1e-9 and 0 < matrix[2, 4] < 1e-2 < matrix[0, 1]
    assert np.array_equal(matrix, matrix.T)


def test_the_slow_path_is_the_package_to_the_bit(network, package, images):
    x, y = to_tensor(images[:2]), to_tensor(images[2:4])
    with torch.no_grad():
        assert torch.equal(network(x, y), package(x, y))


def test_the_stages_weights_are_the_package_s_heads_and_none_is_negative(network, package):
    for ours, head in zip(network.layer_weights, package.lins, strict=True):
        assert torch.equal(ours, head.model[1].weight[0, :, 0, 0])
        assert (ours >= 0).all() and ours.max() > 0  # their roots scale the features
    assert [len(w) for w in network.layer_weights] == [64, 128, 256, 512, 512]


def test_a_network_s_own_weights_are_the_matrix_s_default(network, images):
    x = to_tensor(images[:1])
    own, given, uniform = (
        lpips_features(network, x, weights)
        for weights in (
            None,
            network.layer_weights,
            [torch.ones(n) for n in (64, 128, 256, 512, 512)],
        )
    )
    assert torch.equal(own, given) and not torch.allclose(own, uniform)


def test_blocks_that_bound_the_memory_recompute_features_and_not_the_matrix(
    network, images, matrix, monkeypatch
):
    length = lpips_features(network, to_tensor(images[:1])).shape[1]
    memory = 2 * (8 * length + 24 * CHUNK)  # two images a block
    seen, stages = [], network.stages

    def counted(x):
        seen.append(len(x))
        return stages(x)

    monkeypatch.setattr(network, "stages", counted)
    bounded = lpips_matrix(network, images, memory_bytes=memory)
    np.testing.assert_allclose(bounded, matrix, rtol=1e-5, atol=1e-9)
    n, s = 6, 2
    assert max(seen) == s and sum(seen) - 1 == n * (n / s + 1) / 2  # one is the probe


def test_images_are_brought_to_the_protocol_s_size_as_pillow_does(network, images):
    network = LpipsVgg(network.package)
    large = Image.fromarray(images[0]).resize((400, 400), Image.Resampling.LANCZOS)
    for image in (large, Image.fromarray(images[0])):
        ours = network.resized(to_tensor(np.array(image)[None]))[0]
        pillow = np.asarray(image.resize((256, 256), Image.Resampling.BILINEAR))
        levels = (ours.permute(1, 2, 0).numpy() + 1) * 127.5
        assert np.abs(levels - pillow).max() < 1.01  # Pillow rounds after each of two passes
    right = to_tensor(np.array(large.resize((256, 256)))[None])
    assert network.resized(right) is right
    shapes = [tuple(m.shape[1:]) for m in network.stages(to_tensor(images[:1]))]
    assert shapes == [(64, 256, 256), (128, 128, 128), (256, 64, 64), (512, 32, 32), (512, 16, 16)]


def test_a_trunk_that_nobody_vouches_for_is_refused_unless_it_was_made_here(trunk, tmp_path):
    with pytest.raises(UserError, match=r"VGG16 trunk of LPIPS .*published file has 397923af"):
        load_lpips_vgg(trunk[0])
    (tmp_path / "mine.pth").write_bytes(trunk[0].read_bytes())
    manifest = {"files": {"mine.pth": {"sha256": trunk[1]}}}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match="published file has 397923af"):
        load_lpips_vgg(tmp_path / "mine.pth")
    network = load_lpips_vgg(tmp_path / "mine.pth", made_here=True)
    assert network.record() == {
        "file": "mine.pth",
        "sha256": trunk[1],
        "heads_sha256": module.HEADS_SHA256,
        "version": "0.1",
        "size": 256,
    }


def test_other_heads_than_those_of_the_release_are_refused(trunk, monkeypatch):
    monkeypatch.setattr(module, "HEADS_SHA256", "0" * 64)
    with pytest.raises(UserError, match="VGG heads of the lpips package"):
        load_lpips_vgg(trunk[0], sha256=trunk[1])


@pytest.mark.parametrize(
    "change, message",
    [
        ({"features.28.bias": None}, r"lacks features\.28\.bias"),
        ({"features.30.weight": torch.zeros(1)}, r"has features\.30\.weight"),
        ({"features.0.bias": torch.zeros(65)}, "size mismatch"),
        (
            {"features.0.bias": torch.full((64,), torch.nan)},
            r"features\.0\.bias has values that are",
        ),
    ],
)
def test_tensors_that_are_no_vgg16_are_an_error_that_names_one(
    package, tensors, tmp_path, change, message
):
    changed = {k: t for k, t in {**tensors, **change}.items() if t is not None}
    with pytest.raises(UserError, match=message):
        module._put_trunk(package.net, changed, tmp_path / "other.pth")


def test_nothing_is_fetched_and_no_random_stream_moves(trunk, monkeypatch):
    def refuse(*_args, **_options):
        raise AssertionError("a download began")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refuse)
    before = torch.get_rng_state()
    load_lpips_vgg(trunk[0], sha256=trunk[1])
    assert torch.equal(torch.get_rng_state(), before)


def test_on_a_card_distances_are_the_same(trunk, network, images, card):
    with card:  # a fake one, see tests/fake_card.py
        there = load_lpips_vgg(trunk[0], "cuda", size=None, sha256=trunk[1])
        found = lpips_matrix(there, images, batch=2, memory_bytes=1 << 22)
    expected = lpips_matrix(network, images, batch=2)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
