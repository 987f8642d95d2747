"""The two networks that measure: shapes, sizes of input, files, errors."""

import pytest
import torch
from safetensors.torch import save_file

from eval.networks.referee import (
    NONE_OF_THESE,
    JudgeNet,
    PerceptualNet,
    fused,
    load_judge,
    load_perceptual,
    save_network,
)
from nada.run.errors import UserError

NAMES = (["dog", "cat"], ["photo", "sketch", "cartoon"], ["yaw", "fur_r"])


@pytest.fixture
def perceptual():
    torch.manual_seed(0)
    return PerceptualNet(*NAMES, widths=(4, 6, 8, 10)).eval()


@pytest.fixture
def judge():
    torch.manual_seed(1)
    return JudgeNet(*NAMES, widths=(4, 6, 8, 10), depths=(2, 1, 1)).eval()


@pytest.mark.parametrize("size", [32, 64])
def test_both_networks_take_any_power_of_two_size(perceptual, judge, size):
    x = torch.rand(2, 3, size, size) * 2 - 1
    shapes = [tuple(m.shape) for m in perceptual.stages(x)]
    assert shapes == [(2, w, size >> s, size >> s) for s, w in enumerate((4, 6, 8, 10))]
    assert perceptual.features(x).shape == (2, perceptual.feature_dim) == (2, 10)
    assert {k: tuple(v.shape) for k, v in perceptual(x).items()} == {
        "class_logits": (2, 2),
        "style_logits": (2, 3),
        "factors": (2, 2),
    }
    assert {k: tuple(v.shape) for k, v in judge(x).items()} == {
        "class_logits": (2, 3),
        "style_logits": (2, 3),
        "factors": (2, 2),
    }


def test_fid_features_are_the_spatial_mean_of_the_last_stage(perceptual):
    x = torch.rand(3, 3, 32, 32)
    assert torch.equal(perceptual.features(x), perceptual.stages(x)[3].mean(dim=(2, 3)))


def test_default_networks_have_128_features_and_about_half_a_million_parameters():
    perceptual, judge = PerceptualNet(*NAMES), JudgeNet(*NAMES)
    assert perceptual.feature_dim == 128
    for net in (perceptual, judge):
        assert 3e5 < sum(p.numel() for p in net.parameters()) < 8e5


def test_the_judge_adds_none_of_these_as_its_last_class(judge):
    assert judge.class_names == ["dog", "cat", NONE_OF_THESE]
    with pytest.raises(ValueError, match="none of these"):
        JudgeNet(["dog", NONE_OF_THESE], ["photo"], ["yaw"])


def test_a_saved_network_comes_back_with_names_recipe_and_fp16_rounded_weights(
    tmp_path, perceptual, judge
):
    x = torch.rand(4, 3, 32, 32) * 2 - 1
    for net, load in ((perceptual, load_perceptual), (judge, load_judge)):
        save_network(tmp_path / "net.safetensors", net, {"seed": 3, "figures": {"class": 0.99}})
        back = load(tmp_path / "net.safetensors")
        assert back.config == net.config and back.class_names == net.class_names
        again = tmp_path / "again.safetensors"
        save_network(again, net, {"seed": 3, "figures": {"class": 0.99}})
        assert again.read_bytes() == (tmp_path / "net.safetensors").read_bytes()
        assert back.metadata == {"seed": 3, "figures": {"class": 0.99}}
        assert not back.training and not any(p.requires_grad for p in back.parameters())
        for name, value in net.state_dict().items():
            wanted = value.half().float() if value.is_floating_point() else value
            assert torch.equal(back.state_dict()[name], wanted)
        with torch.no_grad():
            logits = net(x)["class_logits"]
        assert torch.allclose(back(x)["class_logits"], logits, atol=2e-2)


def test_a_weight_beyond_fp16_is_refused_before_anything_is_written(tmp_path, judge):
    with torch.no_grad():
        judge.stem.weight[0] = 1e6
    with pytest.raises(ValueError, match="stem.weight"):
        save_network(tmp_path / "judge.safetensors", judge)
    assert not list(tmp_path.iterdir())


def test_missing_truncated_and_swapped_files_are_one_sentence_errors(tmp_path, perceptual):
    path = tmp_path / "perceptual.safetensors"
    with pytest.raises(UserError, match="missing"):
        load_perceptual(path)
    save_network(path, perceptual)
    with pytest.raises(UserError, match="holds a perceptual network, a judge"):
        load_judge(path)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(UserError, match="truncated"):
        load_perceptual(path)


@pytest.mark.parametrize(
    ("about", "said"),
    [
        ("{", "holds no network of the referee"),
        ("[1]", "holds no network of the referee"),
        ("[" * 100_000, "holds no network of the referee"),
        ('{"kind": "judge"}', "do not match"),
        ('{"kind": "judge", "config": {"widths": [1]}, "metadata": {}}', "do not match"),
        ('{"kind": "judge", "config": 3, "metadata": {}}', "do not match"),
    ],
)
def test_metadata_that_describe_no_network_are_one_sentence(tmp_path, about, said):
    save_file({"x": torch.zeros(1)}, tmp_path / "judge.safetensors", metadata={"json": about})
    with pytest.raises(UserError, match=rf"judge\.safetensors: .*{said}") as caught:
        load_judge(tmp_path / "judge.safetensors")
    assert "\n" not in str(caught.value)


def test_images_of_a_wrong_shape_are_refused(perceptual):
    with pytest.raises(ValueError, match="images"):
        perceptual.stages(torch.zeros(2, 1, 32, 32))


def test_the_fused_network_measures_the_same_and_leaves_the_first_alone(perceptual):
    x = torch.rand(4, 3, 32, 32) * 2 - 1
    before = perceptual.features(x)
    for ours, wanted in zip(fused(perceptual).stages(x), perceptual.stages(x), strict=True):
        torch.testing.assert_close(ours, wanted, rtol=1e-5, atol=1e-5)
    assert torch.equal(perceptual.features(x), before)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in fused(perceptual).modules())
