"""CLIP from every published file format: the same embeddings, QuickGELU where it belongs, float32."""

import copy
import hashlib
import json
import socket
import warnings
import zipfile
from pathlib import Path

import open_clip
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from nada.clip.clip_config import read_json
from nada.clip.clip_weights import _published, check_pixels, read_tensors
from nada.clip.encoder import OPENAI_MEAN, OPENAI_STD, load_clip, text_direction
from nada.run.clip_files import clip_files
from nada.run.errors import UserError
from nada.stylegan2.readers.unpickle import read_state_dict
from tests.nada.clip.openai_archive import CONFIG, CONTEXT, EMBED, SIZE, VOCABULARY, OpenAi, halves

#: SHA-256 of OpenAI's ViT-B/32, as published.
VIT_B_32 = "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af"


@pytest.fixture(scope="module")
def model():
    """The reference in float32, its weights rounded to what the archive keeps."""
    torch.manual_seed(0)
    model = OpenAi().eval().requires_grad_(False)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            parameter.normal_(std=0.2)
        if "ln_" in name and name.endswith("weight"):
            parameter.add_(0.2 * torch.randn_like(parameter))
        if halves(name):
            parameter.copy_(parameter.half())
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory, model):
    """All formats of the same weights, and their configurations with and without QuickGELU."""
    folder = tmp_path_factory.mktemp("published")
    state = {
        name: tensor.half() if halves(name) and tensor.is_floating_point() else tensor.clone()
        for name, tensor in model.state_dict().items()
    }
    kept = {
        name: tensor
        for name, tensor in state.items()
        if name.rpartition(".")[2]
        not in ("input_resolution", "context_length", "vocab_size", "attn_mask")
    }
    inputs = {
        "encode_image": torch.randn(1, 3, SIZE, SIZE),
        "encode_text": torch.ones(1, CONTEXT, dtype=torch.long),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch: tracing is deprecated; OpenAI's files stay
        archive = torch.jit.trace_module(copy.deepcopy(model), inputs, check_trace=False)
        for name, parameter in archive.named_parameters():
            parameter.data = state[name]
        torch.jit.save(archive, str(folder / "openai.pt"))
    torch.save(state, folder / "openai_state.pt")
    torch.save(kept, folder / "state.bin")
    training = {
        "epoch": 3,
        "name": "run",
        "state_dict": {f"module.{k}": v for k, v in kept.items()},
    }
    torch.save(training, folder / "training.pt")
    torch.save(kept, folder / "legacy.pt", _use_new_zipfile_serialization=False)
    save_file(kept, folder / "weights.safetensors")
    (folder / "quick.json").write_text(json.dumps(CONFIG))
    (folder / "gelu.json").write_text(json.dumps({**CONFIG, "quick_gelu": False}))
    return folder


def spec(folder, weights, config="quick.json"):
    return {"name": "a", "weights": str(folder / weights), "config": str(folder / config)}


def hub(folder, cache, repository="org/repo", quick=True, commit="c0ffee", **preprocess):
    """A snapshot in the hub's cache, as its client lays it out; returns `models--org--repo`."""
    home = cache / f"models--{repository.replace('/', '--')}"
    snapshot = home / "snapshots" / commit
    (home / "blobs").mkdir(parents=True, exist_ok=True)
    snapshot.mkdir(parents=True)
    blob = home / "blobs" / "0123abcd"
    blob.write_bytes((folder / "weights.safetensors").read_bytes())
    (snapshot / "open_clip_model.safetensors").symlink_to(blob)
    model = {key: value for key, value in CONFIG.items() if key != "quick_gelu"}
    model |= {"quick_gelu": True} if quick else {}
    about = {"model_cfg": model, "preprocess_cfg": {"mean": [0.5, 0.4, 0.3], **preprocess}}
    (snapshot / "open_clip_config.json").write_text(json.dumps(about))
    return home


def images(count=3):
    return torch.rand(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_an_openai_archive_embeds_as_the_network_written_from_the_paper(folder, model):
    clip = load_clip(spec(folder, "openai.pt"))
    normalised = ((images() + 1) / 2 - clip.mean) / clip.std
    torch.testing.assert_close(clip.embed_images(images()), model.encode_image(normalised))
    ids = clip.tokenizer(["a photo of a dog", "a sketch"])
    assert ids.shape == (2, CONTEXT) and ids[0, 0] == VOCABULARY - 2
    wanted = nn.functional.normalize(model.encode_text(ids), dim=-1)
    torch.testing.assert_close(clip.encode_texts(["a photo of a dog", "a sketch"]), wanted)


def test_the_archive_s_bookkeeping_is_dropped_by_name_and_nothing_else(folder):
    stored = set(read_state_dict(folder / "openai.pt"))
    weights, openai = read_tensors(folder / "openai.pt")
    assert openai and stored - set(weights) == {
        "input_resolution",
        "context_length",
        "vocab_size",
        "transformer.resblocks.0.attn_mask",
    }


@pytest.mark.parametrize(
    "weights",
    ["openai_state.pt", "state.bin", "training.pt", "legacy.pt", "weights.safetensors"],
)
def test_every_format_gives_the_archive_s_embeddings_to_the_bit(folder, weights):
    wanted = load_clip(spec(folder, "openai.pt"))
    clip = load_clip(spec(folder, weights))
    assert torch.equal(clip.embed_images(images()), wanted.embed_images(images()))
    assert torch.equal(clip.encode_texts(["a dog"]), wanted.encode_texts(["a dog"]))
    assert all(p.dtype == torch.float32 for p in clip.model.parameters())


@pytest.mark.parametrize("weights", ["openai_state.pt", "state.bin", "legacy.pt", "x.safetensors"])
def test_a_weight_that_is_not_finite_is_refused_by_file_and_tensor(folder, tmp_path, weights):
    state = read_state_dict(folder / weights.replace("x.", "weights."))
    state["visual.proj"] = torch.full_like(state["visual.proj"], float("nan"))
    path = tmp_path / weights
    save_file(state, path) if path.suffix == ".safetensors" else torch.save(state, path)
    with pytest.raises(UserError, match=f"{weights}: the tensor visual.proj has values that are"):
        load_clip({**spec(folder, weights), "weights": str(path)})


def test_a_mask_of_minus_infinity_is_no_weight_in_any_format(folder, tmp_path):
    state = read_state_dict(folder / "openai_state.pt")
    assert state["transformer.resblocks.0.attn_mask"].isinf().any()
    save_file(state, tmp_path / "openai.safetensors")
    clip = load_clip({**spec(folder, "x"), "weights": str(tmp_path / "openai.safetensors")})
    assert torch.equal(
        clip.embed_images(images()), load_clip(spec(folder, "openai.pt")).embed_images(images())
    )


def test_the_wrong_activation_would_embed_elsewhere_without_a_word(folder):
    quick, plain = (load_clip(spec(folder, "state.bin", c)) for c in ("quick.json", "gelu.json"))
    assert (quick.activation, plain.activation) == ("quickgelu", "gelu")
    apart = (quick.encode_images(images()) - plain.encode_images(images())).norm(dim=-1)
    assert (apart > 1e-3).all()


@pytest.mark.parametrize("weights", ["openai.pt", "openai_state.pt"])
def test_a_config_with_gelu_is_refused_for_what_has_the_form_of_openai_s_archives(folder, weights):
    with pytest.raises(UserError, match=r"archive of OpenAI's, trained with QuickGELU.*gelu\.json"):
        load_clip(spec(folder, weights, "gelu.json"))


def test_a_name_without_quickgelu_is_refused_for_an_openai_archive(folder):
    with pytest.raises(UserError, match="config ViT-B-32 builds GELU; name a config that ends in"):
        load_clip({**spec(folder, "openai.pt"), "config": "ViT-B-32"})


@pytest.mark.parametrize("quick", [True, False])
def test_published_hashes_decide_the_activation_in_both_directions(folder, monkeypatch, quick):
    digest = hashlib.sha256((folder / "state.bin").read_bytes()).hexdigest()
    about = {"url": f"https://example.org/v0/model-{digest[:8]}.pt", "quick_gelu": quick}
    monkeypatch.setattr(open_clip, "list_pretrained", lambda: [("ViT-X", "tag")])
    monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda *_: about)
    right, wrong = ("quick.json", "gelu.json")[:: 1 if quick else -1]
    assert load_clip(spec(folder, "state.bin", right)).activation == right.replace(
        "quick.json", "quickgelu"
    ).replace("gelu.json", "gelu")
    with pytest.raises(UserError, match="the published weights ViT-X 'tag', trained with"):
        load_clip(spec(folder, "state.bin", wrong))


@pytest.mark.parametrize(
    ("trained", "said"),
    [
        (
            {"mean": (0.5, 0.5, 0.5)},
            r"of mean \[0\.5, 0\.5, 0\.5\], .* image_mean: \[0\.5, 0\.5, 0\.5\]",
        ),
        (
            {"std": (1.0, 1.0, 1.0)},
            r"of std \[1\.0, 1\.0, 1\.0\], but with this config it is \[0\.268",
        ),
        ({"interpolation": "bilinear"}, "resized with bilinear"),
    ],
)
def test_published_weights_are_refused_where_images_would_be_made_otherwise_than_in_training(
    folder, tmp_path, monkeypatch, trained, said
):
    digest = hashlib.sha256((folder / "state.bin").read_bytes()).hexdigest()
    about = {"url": f"https://example.org/{digest[:8]}.pt", "quick_gelu": True, **trained}
    monkeypatch.setattr(open_clip, "list_pretrained", lambda: [("ViT-X", "tag")])
    monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda *_: about)
    with pytest.raises(UserError, match=f"the published weights ViT-X 'tag', trained .*{said}"):
        load_clip(spec(folder, "state.bin"))
    if "interpolation" not in trained:
        own = {f"image_{key}": list(numbers) for key, numbers in trained.items()}
        config = json.loads((folder / "quick.json").read_text()) | own
        (tmp_path / "own.json").write_text(json.dumps(config))
        clip = load_clip({**spec(folder, "state.bin"), "config": str(tmp_path / "own.json")})
        assert [getattr(clip, k).flatten().tolist() for k in trained] == [list(*trained.values())]


def test_laion_s_vit_l_14_was_trained_with_other_statistics_than_openai_s():
    cached = Path("models--laion--CLIP-ViT-L-14-laion2B-s32B-b82K/snapshots/0/x.safetensors")
    with pytest.raises(UserError, match=r"laion2b_s32b_b82k'.* of mean \[0\.5, 0\.5, 0\.5\]"):
        check_pixels({"name": "a"}, cached, "0" * 64, OPENAI_MEAN, OPENAI_STD)
    check_pixels({"name": "a"}, cached, "0" * 64, [0.5] * 3, [0.5] * 3)
    check_pixels({"name": "a"}, Path("ViT-B-32.pt"), VIT_B_32, OPENAI_MEAN, OPENAI_STD)
    check_pixels({"name": "a"}, Path("mine.pt"), "0" * 64, [0.1] * 3, [0.1] * 3)


def test_open_clip_s_list_knows_openai_and_laion_by_hash_and_by_repository():
    nowhere = Path("file.pt")
    assert _published(nowhere, VIT_B_32) == ("the published weights ViT-B-32 'openai'", True)
    assert _published(nowhere, "af8dbd0c" + "0" * 56)[1] is False  # LAION-2B, epoch 16
    assert _published(nowhere, "0" * 64) is None
    cached = "models--{}/snapshots/0/open_clip_model.safetensors"
    openai = Path(cached.format("timm--vit_base_patch16_clip_224.openai"))
    laion = Path(cached.format("laion--CLIP-ViT-B-32-laion2B-s34B-b79K"))
    assert _published(openai, "0" * 64) == ("the published weights ViT-B-16 'openai'", True)
    assert _published(laion, "0" * 64)[1] is False


@pytest.mark.parametrize("inside", ["", "snapshots/c0ffee"])
def test_a_folder_of_the_hub_s_cache_brings_its_own_config(folder, tmp_path, inside):
    home = hub(folder, tmp_path)
    clip = load_clip({"name": "a", "weights": str(home / inside)})
    assert clip.activation == "quickgelu" and clip.weights_file == "open_clip_model.safetensors"
    assert clip.mean.flatten().tolist() == pytest.approx([0.5, 0.4, 0.3])
    state = load_clip(spec(folder, "state.bin"))
    clip.mean = state.mean
    assert torch.equal(clip.encode_images(images()), state.encode_images(images()))


def test_the_hub_s_main_reference_names_the_snapshot(folder, tmp_path):
    home = hub(folder, tmp_path)
    hub(folder, tmp_path, quick=False, commit="newer")
    with pytest.raises(UserError, match="holds 2 snapshots; name one folder"):
        clip_files({"name": "a", "weights": str(home)})
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text("newer")
    weights, config = clip_files({"name": "a", "weights": str(home)})
    assert weights.parent == config.parent == home / "snapshots" / "newer"
    assert load_clip({"name": "a", "weights": str(home)}).activation == "gelu"


def test_another_config_must_have_the_activation_that_stands_beside_the_hub_s_weights(
    folder, tmp_path
):
    home = hub(folder, tmp_path)
    config = str(folder / "gelu.json")
    with pytest.raises(
        UserError, match=r"open_clip_config\.json beside it, trained with QuickGELU"
    ):
        load_clip({"name": "a", "weights": str(home), "config": config})


def test_the_repository_s_name_outweighs_a_config_without_quick_gelu(folder, tmp_path):
    home = hub(folder, tmp_path, "timm/vit_base_patch32_clip_224.openai", quick=False)
    with pytest.raises(UserError, match="ViT-B-32 'openai', trained with QuickGELU"):
        load_clip({"name": "a", "weights": str(home)})


def test_images_resized_in_another_way_in_training_are_refused(folder, tmp_path):
    home = hub(folder, tmp_path, resize_mode="squash")
    with pytest.raises(UserError, match="resize_mode 'squash'"):
        load_clip({"name": "a", "weights": str(home)})


def test_a_folder_without_weights_or_config_is_an_error_that_says_what_to_put_there(tmp_path):
    with pytest.raises(UserError, match=r"holds no weights; put one of open_clip_model"):
        load_clip({"name": "a", "weights": str(tmp_path)})
    (tmp_path / "open_clip_model.safetensors").touch()
    with pytest.raises(UserError, match=r"open_clip_config\.json is missing"):
        load_clip({"name": "a", "weights": str(tmp_path)})


def test_weights_without_a_config_are_an_error(folder):
    with pytest.raises(UserError, match=r"state\.bin need a config"):
        load_clip({"name": "a", "weights": str(folder / "state.bin")})


def test_a_tensor_that_the_network_has_not_is_refused_by_name(folder, tmp_path):
    state = torch.load(folder / "state.bin", weights_only=True)
    torch.save({**state, "visual.surplus": torch.zeros(2)}, tmp_path / "surplus.pt")
    with pytest.raises(UserError, match=r"surplus\.pt.*visual\.surplus"):
        load_clip({**spec(folder, "state.bin"), "weights": str(tmp_path / "surplus.pt")})
    state.pop("logit_scale")
    torch.save(state, tmp_path / "lacking.pt")
    with pytest.raises(UserError, match=r"lacking\.pt.*logit_scale"):
        load_clip({**spec(folder, "state.bin"), "weights": str(tmp_path / "lacking.pt")})


def test_the_record_names_file_hash_and_activation(folder, clip):
    found = load_clip(spec(folder, "openai.pt")).record()
    digest = hashlib.sha256((folder / "openai.pt").read_bytes()).hexdigest()
    assert found == {"file": "openai.pt", "sha256": digest, "activation": "quickgelu"}
    assert clip.record()["activation"] == "gelu"  # the tests' own small CLIP asks for none


def test_embeddings_are_float32_under_autocast_too(folder):
    clip = load_clip(spec(folder, "openai.pt"))
    wanted, words = clip.encode_images(images()), clip.encode_texts(["a dog"])
    with torch.autocast("cpu", torch.bfloat16):
        assert (images() @ images()).dtype == torch.bfloat16
        assert torch.equal(clip.encode_images(images()), wanted)
        assert torch.equal(clip.encode_texts(["a dog"]), words)
    half = clip.encode_images(images().bfloat16())
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, wanted, atol=2e-2, rtol=0)


def test_a_forgotten_text_tower_frees_its_weights_and_changes_no_image(folder):
    clip = load_clip(spec(folder, "openai.pt"))
    direction, wanted = text_direction(clip, "dog", "cat", ["a {}"]), clip.encode_images(images())
    clip.forget_text()
    assert torch.equal(clip.encode_images(images()), wanted)
    kept = {name.split(".")[0] for name, _ in clip.model.named_parameters()}
    assert kept == {"visual", "logit_scale"} and direction.shape == (EMBED,)
    with pytest.raises(RuntimeError, match="forgot its text tower"):
        clip.encode_texts(["dog"])


def test_nothing_is_fetched(folder, monkeypatch):
    def refuse(*_args, **_options):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    load_clip(spec(folder, "openai.pt"))
    with pytest.raises(UserError, match="neither a file nor a model"):
        load_clip({**spec(folder, "state.bin"), "config": "hf-hub:org/repo"})
    text = {**CONFIG["text_cfg"], "hf_tokenizer_name": "org/tokenizer"}
    remote = folder / "remote.json"
    remote.write_text(json.dumps({**CONFIG, "text_cfg": text}))
    with pytest.raises(UserError, match="hf_tokenizer_name, which would be fetched"):
        load_clip(spec(folder, "state.bin", "remote.json"))


def test_one_tensor_under_many_names_is_made_float_once(tmp_path):
    half = torch.zeros(1000).half()
    torch.save({f"a{i}": half for i in range(1000)}, tmp_path / "many.pt")
    weights, _ = read_tensors(tmp_path / "many.pt")
    assert len(weights) == 1000
    assert len({tensor.data_ptr() for tensor in weights.values()}) == 1
    assert weights["a0"].dtype == torch.float32


def test_the_end_of_a_zip_behind_an_older_file_is_ignored(tmp_path):
    path = tmp_path / "old.pt"
    torch.save({"a": torch.zeros(1)}, path, _use_new_zipfile_serialization=False)
    end = b"PK\x05\x06" + bytes(4) + b"\5\0\5\0" + b"\x90\1\0\0" + b"\x64\0\0\0" + bytes(2)
    path.write_bytes(path.read_bytes() + end)
    assert zipfile.is_zipfile(path)
    assert list(read_tensors(path)[0]) == ["a"]


@pytest.mark.parametrize("text", ['{"model_cfg": 5}', '{"preprocess_cfg": [1]}', "[" * 100_000])
def test_a_config_of_other_kinds_is_one_sentence(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UserError, match="is no valid JSON"):
        read_json(tmp_path / "config.json")
