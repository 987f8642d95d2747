"""clean-fid's Inception from local files against clean-fid's own path through a folder of PNGs."""

import hashlib
import json
import socket
import urllib.request
import warnings

import numpy as np
import pytest
import torch
from cleanfid import downloads_helper, inception_pytorch
from cleanfid.features import feature_extractor
from cleanfid.fid import fid_from_feats, get_folder_features
from cleanfid.inception_torchscript import InceptionV3W
from PIL import Image
from torch import nn

from eval.metrics.fid import fid, gaussian_statistic
from eval.networks.inception import Resizer, inception_features, load_inception, resize_images
from nada.run.errors import UserError

FILE = "inception-2015-12-05.pt"


class Layers(nn.Module):
    """The part of the published network that clean-fid calls: normalised images to 2048 numbers."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 32, 9, stride=8)
        self.out = nn.Linear(32 * 9, 2048)

    def forward(self, x):
        x = nn.functional.adaptive_avg_pool2d(torch.relu(self.conv(x)), 3)
        return 4 * self.out(x.flatten(1))


class Toy(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = Layers()

    def forward(self, x, return_features: bool = False):
        return self.layers((x - 128) / 128)


def save_script(module, path) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch: TorchScript is deprecated
        torch.jit.save(torch.jit.script(module), str(path))
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("inception")


@pytest.fixture(scope="module")
def script(folder):
    """(path, SHA-256) of a toy network in the published one's form."""
    torch.manual_seed(0)
    path = folder / FILE
    return path, save_script(Toy().eval(), path)


@pytest.fixture(scope="module")
def clean(script):
    return load_inception(script[0], "clean", sha256=script[1])


@pytest.fixture(scope="module")
def weights(folder):
    """(path, SHA-256, tensors) of random weights in pytorch-fid's form, made by clean-fid's class."""
    built = []
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchvision: the `pretrained` spelling clean-fid uses
        patch.setattr(inception_pytorch, "load_state_dict_from_url", lambda *_, **__: {})
        patch.setattr(
            "torchvision.models.Inception3.load_state_dict", lambda net, _: built.append(net)
        )
        inception_pytorch.fid_inception_v3()
    torch.manual_seed(1)
    for module in built[0].modules():
        if isinstance(module, nn.Conv2d):  # activations of one size through fifty layers
            nn.init.kaiming_normal_(module.weight)
    tensors = {
        k: t.half().float() for k, t in built[0].state_dict().items() if "num_batches" not in k
    }
    path = folder / "pt_inception-2015-12-05-6726825d.pth"
    torch.save(tensors, path, _use_new_zipfile_serialization=False)
    return path, hashlib.sha256(path.read_bytes()).hexdigest(), tensors


@pytest.fixture(scope="module")
def legacy(weights):
    return load_inception(weights[0], "legacy_pytorch", sha256=weights[1])


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (70, 12, 12, 3), dtype=np.uint8)
    noise = rng.integers(-20, 20, (70, 84, 84, 3))
    return (small.repeat(7, 1).repeat(7, 2) + noise).clip(0, 255).astype(np.uint8)


def by_the_folder(tmp_path, images, model, mode):
    for index, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{index:04d}.png")
    return get_folder_features(
        str(tmp_path),
        model=model,
        num_workers=0,
        batch_size=16,
        device=torch.device("cpu"),
        mode=mode,
        verbose=False,
    )


def test_clean_features_and_fid_equal_clean_fid_s_folder_path(tmp_path, script, clean, images):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch: TorchScript is deprecated
        theirs = InceptionV3W(str(script[0].parent), download=False)
    folder = by_the_folder(tmp_path, images, theirs, "clean")
    ours = inception_features(images, clean, Resizer(), batch=9)
    assert ours.shape == (70, 2048) and ours.dtype == np.float32 and folder.std(0).mean() > 0.05
    np.testing.assert_allclose(ours, folder, atol=1e-4)
    other = np.random.default_rng(2).normal(size=(80, 64)) * 0.3 + folder[:, :64].mean(0)
    distance = fid(gaussian_statistic(ours[:, :64]), gaussian_statistic(other))
    assert distance == pytest.approx(fid_from_feats(folder[:, :64], other), abs=1e-3)


def test_legacy_features_equal_clean_fid_s_folder_path(
    tmp_path, weights, legacy, images, monkeypatch
):
    monkeypatch.setattr(inception_pytorch, "load_state_dict_from_url", lambda *_, **__: weights[2])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchvision: the `pretrained` spelling clean-fid uses
        theirs = feature_extractor("pytorch_inception", torch.device("cpu"), use_dataparallel=False)
    folder = by_the_folder(tmp_path, images[:4], theirs, "legacy_pytorch")
    ours = inception_features(images[:4], legacy, Resizer())
    assert ours.shape == (4, 2048) and folder.std(0).mean() > 1e-2
    np.testing.assert_allclose(ours, folder, atol=1e-4, rtol=1e-4)


def test_the_two_modes_resize_differently(images):
    clean, legacy = (resize_images(images[:1], mode) for mode in ("clean", "legacy_pytorch"))
    assert clean.shape == legacy.shape == (1, 299, 299, 3)
    assert np.abs(clean - legacy).mean() > 1


@pytest.mark.parametrize("mode", ["clean", "legacy_pytorch"])
def test_batch_size_does_not_change_the_resized_images(mode, images):
    one, many = (
        np.concatenate(list(Resizer().resized(np.array_split(images[:10], n), mode)))
        for n in (10, 2)
    )
    assert np.array_equal(one, many)


def test_batch_size_does_not_change_the_features(clean, images):
    a, b = (inception_features(images, clean, Resizer(), batch=n) for n in (7, 64))
    np.testing.assert_allclose(a, b, atol=1e-5)


def test_worker_processes_give_the_same_images_in_the_same_order(images):
    batches = [images[:5], images[5:28], images[28:29], images[29:45]]
    with Resizer(workers=2) as resizer:
        for mode in ("clean", "legacy_pytorch"):
            inside = list(Resizer().resized(batches, mode))
            for ours, wanted in zip(resizer.resized(iter(batches), mode), inside, strict=True):
                assert ours.dtype == np.float32 and np.array_equal(ours, wanted)


def test_an_image_set_that_reads_slices_is_as_good_as_an_array(clean, images):
    class Lazy:
        def __len__(self):
            return 20

        def __getitem__(self, rows):
            assert rows.stop - rows.start <= 8  # never more than a batch
            return images[:20][rows]

    a, b = (inception_features(x, clean, Resizer(), batch=8) for x in (Lazy(), images[:20]))
    assert np.array_equal(a, b)


def test_nothing_is_fetched_and_clean_fid_s_downloads_stay_uncalled(
    script, weights, monkeypatch, images
):
    def refuse(*_args, **_options):
        raise AssertionError("a download began")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    monkeypatch.setattr(downloads_helper, "check_download_inception", refuse)
    monkeypatch.setattr("cleanfid.inception_torchscript.check_download_inception", refuse)
    monkeypatch.setattr(inception_pytorch, "load_state_dict_from_url", refuse)
    networks = [
        load_inception(script[0], "clean", sha256=script[1]),
        load_inception(weights[0], "legacy_pytorch", sha256=weights[1]),
    ]
    for network in networks:
        assert np.isfinite(inception_features(images[:1], network, Resizer())).all()
    assert inception_pytorch.load_state_dict_from_url is refuse  # put back after use


def test_a_script_that_nobody_vouches_for_is_not_opened(script, monkeypatch):
    def refuse(*_args, **_options):
        raise AssertionError("foreign code was loaded")

    monkeypatch.setattr(torch.jit, "load", refuse)
    with pytest.raises(
        UserError, match=r"inception-2015-12-05\.pt has SHA-256 .*published.*f58cb9"
    ):
        load_inception(script[0])
    with pytest.raises(UserError, match="published file has f58cb9"):
        load_inception(script[0], sha256="0" * 64)


def test_a_manifest_vouches_for_files_made_here_alone_and_notices_another(script, tmp_path):
    path = tmp_path / "mine.pt"
    path.write_bytes(script[0].read_bytes())
    manifest = tmp_path / "manifest.json"
    manifest.write_text(json.dumps({"files": {"mine.pt": {"sha256": script[1]}}}))
    with pytest.raises(UserError, match="published file has f58cb9"):
        load_inception(path)  # whoever hands on a folder can write a manifest
    found = load_inception(path, made_here=True).record()
    assert found == {"file": "mine.pt", "sha256": script[1], "mode": "clean"}
    manifest.write_text(json.dumps({"files": {"mine.pt": {"sha256": "0" * 64}}}))
    with pytest.raises(UserError, match=r"manifest\.json in its folder has"):
        load_inception(path, made_here=True)


def test_pytorch_fid_s_weights_need_their_published_hash_as_well(weights):
    with pytest.raises(UserError, match="mode 'legacy_pytorch'.*published file has 6726825d"):
        load_inception(weights[0], "legacy_pytorch")


def test_files_that_hold_something_else_are_an_error_that_names_them(tmp_path, weights):
    digest = save_script(Layers(), tmp_path / "layers.pt")
    with pytest.raises(UserError, match=r"layers\.pt is no TorchScript network with 'layers'"):
        load_inception(tmp_path / "layers.pt", sha256=digest)
    torch.save({"fc.bias": torch.zeros(3)}, tmp_path / "other.pth")
    digest = hashlib.sha256((tmp_path / "other.pth").read_bytes()).hexdigest()
    with pytest.raises(UserError, match=r"other\.pth does not fit clean-fid's network"):
        load_inception(tmp_path / "other.pth", "legacy_pytorch", sha256=digest)
    with pytest.raises(UserError, match=r"absent\.pt is missing"):
        load_inception(tmp_path / "absent.pt")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_an_error_that_names_one(tmp_path, weights, value):
    toy = Toy().eval()
    with torch.no_grad():
        toy.layers.out.bias[3] = value
    digest = save_script(toy, tmp_path / FILE)
    with pytest.raises(
        UserError, match=r"05\.pt: the tensor layers\.out\.bias has values that are"
    ):
        load_inception(tmp_path / FILE, sha256=digest)
    tensors = {**weights[2], "fc.bias": torch.full_like(weights[2]["fc.bias"], value)}
    torch.save(tensors, tmp_path / "bad.pth")
    digest = hashlib.sha256((tmp_path / "bad.pth").read_bytes()).hexdigest()
    with pytest.raises(UserError, match=r"bad\.pth: the tensor fc\.bias has values that are not"):
        load_inception(tmp_path / "bad.pth", "legacy_pytorch", sha256=digest)


def test_an_unknown_mode_no_image_and_images_of_another_size_are_errors(script, clean, images):
    with pytest.raises(UserError, match="mode is 'legacy_tensorflow'; it must be one of clean"):
        load_inception(script[0], "legacy_tensorflow")
    with pytest.raises(UserError, match="seed 3: no image"):
        inception_features(images[:0], clean, Resizer(), what="seed 3")
    with pytest.raises(ValueError, match=r"\[n,3,299,299\] expected, got \[2, 3, 64, 64\]"):
        clean(torch.zeros(2, 3, 64, 64))


def test_loading_moves_no_random_stream_and_autocast_no_feature(weights, clean, images):
    before = torch.get_rng_state()
    load_inception(weights[0], "legacy_pytorch", sha256=weights[1])
    assert torch.equal(torch.get_rng_state(), before)
    wanted = inception_features(images[:3], clean, Resizer())
    with torch.autocast("cpu", torch.bfloat16):
        assert np.array_equal(inception_features(images[:3], clean, Resizer()), wanted)


@pytest.mark.parametrize("mode", ["clean", "legacy_pytorch"])
def test_on_a_card_features_are_the_same(script, weights, card, monkeypatch, mode):
    path, digest = {"clean": script, "legacy_pytorch": weights[:2]}[mode]
    pictures = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), dtype=np.uint8)
    expected = inception_features(pictures, load_inception(path, mode, "cpu", digest), Resizer(0))
    load = torch.jit.load  # to a place that torch itself does not know; Module.to does
    monkeypatch.setattr(torch.jit, "load", lambda file, map_location: load(file).to(map_location))
    with card:  # a fake one, see tests/fake_card.py
        network = load_inception(path, mode, "cuda", digest)
        found = inception_features(pictures, network, Resizer(0), batch=2)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_a_network_that_is_replaced_after_its_hash_was_taken_is_not_run(tmp_path, monkeypatch):
    path = tmp_path / "inception-2015-12-05.pt"
    path.write_bytes(b"the other one")
    monkeypatch.setattr("eval.networks.inception.check_published", lambda *_: "00" * 32)
    with pytest.raises(UserError, match="changed while it was read"):
        load_inception(path, "clean")
