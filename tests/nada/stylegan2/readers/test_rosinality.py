"""Checkpoints in rosinality's layout are read exactly; an independent forward pass agrees."""

import math
from collections import OrderedDict

import pytest
import torch

from nada.run.errors import UserError
from nada.stylegan2.convert import read_model
from nada.stylegan2.readers import rosinality
from nada.stylegan2.readers.layouts import widths
from nada.stylegan2.source_model import save_source
from tests.nada.stylegan2.readers.rosinality_files import (
    W,
    close,
    drawn,
    generator_state,
    images_of,
    mapped,
)

# In -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [{}, {"_use_new_zipfile_serialization": False}])
def test_a_file_draws_what_its_tensors_say_by_an_independent_forward_pass(
    content, write, reference, form
):
    source = read_model(write(content, **form))
    z = torch.randn(2, W)
    for G, state in ((source.G, content["g"]), (source.G_ema, content["g_ema"])):
        w = content["latent_avg"] + 0.7 * (mapped(state, z) - content["latent_avg"])
        assert close(images_of(G, z, psi=0.7), drawn(state, w, reference))
    assert source.metadata["imported"]["format"] == "rosinality .pt"
    assert not source.G_ema.training


def test_the_discriminator_gives_the_logits_of_an_independent_forward_pass(
    content, write, reference
):
    d = content["d"]
    renamed = {
        "from_rgb.weight": d["convs.0.0.weight"],
        "from_rgb.bias": d["convs.0.1.bias"],
        "conv.weight": d["final_conv.0.weight"],
        "conv.bias": d["final_conv.1.bias"],
    }
    for block in range(3):
        for ours, theirs in (("conv0", "conv1.0"), ("conv1", "conv2.1"), ("skip", "skip.1")):
            renamed[f"blocks.{block}.{ours}.weight"] = d[f"convs.{block + 1}.{theirs}.weight"]
        for ours, theirs in (("conv0", "conv1.1"), ("conv1", "conv2.2")):
            renamed[f"blocks.{block}.{ours}.bias"] = d[f"convs.{block + 1}.{theirs}.bias"]
    for ours, theirs in (("fc", "final_linear.0"), ("out", "final_linear.1")):
        for leaf in ("weight", "bias"):
            renamed[f"{ours}.{leaf}"] = d[f"{theirs}.{leaf}"]
    batch = torch.randn(8, 3, 32, 32)
    expected = reference.discriminator(
        {k: v.double() for k, v in renamed.items()}, batch.double(), 4
    )
    source = read_model(write(content))
    assert source.D.config["mbstd_group_size"] == 4
    with torch.no_grad():
        assert close(source.D(batch), expected.float())


@pytest.mark.parametrize("resolution", [16, 64, 128, 256, 512, 1024])
@pytest.mark.parametrize("base", [512, 1024])
def test_resolution_widths_and_depth_are_read_from_shapes(write, resolution, base):
    count = {2**i: max(1, min(base >> i, 8)) for i in range(2, resolution.bit_length())}
    torch.manual_seed(0)
    source = read_model(write({"g_ema": generator_state(count, 3)}))
    config = source.G_ema.config
    assert (config["resolution"], config["mapping_layers"], config["style_dim"]) == (
        resolution,
        3,
        W,
    )
    found = [conv.weight.shape[0] for conv in source.G_ema.synthesis.convs[::2]]
    assert found == list(count.values())


def test_the_public_widths_are_found_as_their_bases():
    for base in (16384, 32768):
        for resolution in (256, 512, 1024):
            count = {2**i: min(base >> i, 512) for i in range(2, resolution.bit_length())}
            assert widths(count, "x") == {"channel_base": base, "channel_max": 512}


def test_widths_that_no_base_gives_are_refused():
    with pytest.raises(UserError, match="dog.pt: its widths"):
        widths({4: 8, 8: 8, 16: 6, 32: 5}, "dog.pt")
    with pytest.raises(UserError, match="blocks of the sides"):
        widths({4: 8, 16: 6}, "dog.pt")


def test_prefixes_of_data_parallel_training_are_dropped(content, write):
    plain = read_model(write(content))
    for key in ("g", "g_ema", "d"):
        content[key] = OrderedDict((f"module.{k}", v) for k, v in content[key].items())
    prefixed = read_model(write(content))
    for name in ("G", "G_ema", "D"):
        states = getattr(plain, name).state_dict(), getattr(prefixed, name).state_dict()
        assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_a_file_of_nada_with_g_ema_alone_gives_no_discriminator(content, write):
    path = write({"g_ema": content["g_ema"], "g_optim": content["g_optim"]})
    source = read_model(path)
    assert source.D is None
    assert torch.equal(source.G.synthesis.const, source.G_ema.synthesis.const)
    assert source.G is not source.G_ema
    assert "a copy" in source.metadata["imported"]["G"]
    with pytest.raises(
        UserError, match=r"FreezeD needs a discriminator, but the file .*dog.pt has"
    ):
        source.discriminator_for("FreezeD")


def test_a_model_without_discriminator_is_kept_as_such(content, write, tmp_path):
    source = read_model(write({"g_ema": content["g_ema"]}))
    for name in ("again.safetensors", "again.pt"):
        if name.endswith(".pt"):
            networks = {"G": source.G, "G_ema": source.G_ema, "D": None}
            rosinality.write(tmp_path / name, networks)
        else:
            save_source(tmp_path / name, source, torch.float32)
        again = read_model(tmp_path / name)
        assert again.D is None
        assert torch.equal(again.G_ema.w_avg, source.G_ema.w_avg)


def test_a_bare_state_dict_is_read_as_g_ema(content, write):
    source = read_model(write(content["g_ema"]))
    assert torch.equal(source.G_ema.synthesis.const, content["g_ema"]["input.input"][0])


def test_a_missing_mean_w_is_estimated_from_a_fixed_seed_and_said(content, write):
    del content["latent_avg"]
    source, again = read_model(write(content)), read_model(write(content))
    assert torch.equal(source.G_ema.w_avg, again.G_ema.w_avg)
    w = mapped(content["g_ema"], torch.randn(50_000, W))
    assert (source.G_ema.w_avg - w.mean(0)).abs().max() < 0.1 * w.std()
    assert "4096 mapped z" in source.metadata["imported"]["w_avg"]


def test_noise_that_old_files_lack_is_drawn_from_a_fixed_seed_and_said(content, write):
    for key in ("g", "g_ema"):
        for name in [name for name in content[key] if name.startswith("noises.")]:
            del content[key][name]
    source, again = read_model(write(content)), read_model(write(content))
    convs = source.G_ema.synthesis.convs
    assert all(conv.noise_const.std() > 0.5 for conv in convs)
    assert not torch.equal(convs[1].noise_const, convs[2].noise_const)
    assert torch.equal(convs[2].noise_const, again.G_ema.synthesis.convs[2].noise_const)
    assert source.metadata["imported"]["noise_const"].startswith("drawn")


def test_loading_draws_no_random_numbers(content, write):
    del content["latent_avg"]
    path = write(content)
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    read_model(path)
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda c: c["g_ema"].pop("convs.1.conv.weight"), "g_ema: has no convs.1.conv.weight"),
        (lambda c: c["g"].pop("noises.noise_2"), "g: has no noises.noise_2"),
        (lambda c: c["g_ema"].update({"extra.weight": torch.zeros(1)}), "g_ema: has extra.weight"),
        (lambda c: c["d"].update({"final_conv.1.bias": torch.zeros(7)}), r"shape \[7\]"),
        (lambda c: c["d"]["convs.1.skip.0.kernel"].mul_(3), "the filter convs.1.skip.0.kernel"),
        (lambda c: c.update(latent_avg=torch.zeros(5)), "latent_avg has 5 numbers"),
        (lambda c: c.update(latent_avg="x"), "latent_avg is not a tensor"),
        (lambda c: c["latent_avg"].fill_(math.inf), "dog.pt: the tensor latent_avg has values"),
        (lambda c: c["g"]["style.1.bias"].fill_(math.nan), "g: the tensor style.1.bias has values"),
        (lambda c: c["g_ema"].update({"input.input": 3}), "g_ema: not a state dict"),
        (
            lambda c: c["g_ema"].update({"conv1.noise.weight": torch.zeros(1).int()}),
            "floats expected",
        ),
        (lambda c: c.update(mbstd_group_size=0), "its mbstd_group_size is 0"),
        (lambda c: c.pop("g_ema"), "no source model"),
    ],
)
def test_what_does_not_fit_is_named_in_one_sentence(content, write, change, expected):
    change(content)
    with pytest.raises(UserError, match=expected) as caught:
        read_model(write(content))
    assert "dog.pt" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_widths_that_a_few_tensors_declare_make_nothing_large(content, write):
    wide = torch.zeros(8, 4000)  # its square, four times, is no memory for a file of this size
    content["g_ema"]["conv1.conv.modulation.weight"] = wide
    with pytest.raises(UserError, match="the widths found need 64,"):
        read_model(write(content))


# Hostile files ------------------------------------------------------------------------------------


def test_a_tensor_under_many_names_is_not_counted_as_many(content, write):
    state, shared = generator_state({4: 1, 8: 1, 16: 1}, 1), torch.zeros(1_000_000)
    state |= {f"x{i}": shared for i in range(100)}
    for name in ("conv1", "convs.1", "convs.3"):
        state[f"{name}.conv.weight"] = torch.zeros(1, 2000, 1, 1, 1)
    with pytest.raises(UserError, match="the widths found need"):
        read_model(write({"g_ema": state}))


@pytest.mark.parametrize("name", ["style.{}.weight", "to_rgbs.{}.conv.weight"])
def test_more_layers_than_any_network_has_make_none(content, write, name):
    state, one = content["g_ema"], torch.zeros(1, 1, 1, 1, 1)
    for i in range(1, 100):
        state[name.format(i)] = state[f"convs.{2 * i + 1}.conv.weight"] = one
    with pytest.raises(UserError, match="no StyleGAN2 is that deep") as caught:
        read_model(write(content))
    assert len(str(caught.value)) < 400


def test_a_generator_without_mapping_layers_is_refused(content, write):
    state = content["g_ema"]
    content["g_ema"] = {k: v for k, v in state.items() if not k.startswith("style.")}
    with pytest.raises(UserError, match="g_ema: its mapping_layers is 0"):
        read_model(write(content))


def test_maps_too_large_to_draw_are_refused_before_they_are_drawn(write):
    one = torch.zeros(1, 40, 1, 1, 1)
    state = {
        "style.1.weight": torch.zeros(2, 2),
        "conv1.conv.modulation.weight": torch.zeros(40, 2),
    }
    state |= {"input.input": torch.zeros(1), "conv1.conv.weight": one}
    for i in range(9):
        state |= {f"to_rgbs.{i}.conv.weight": one, f"convs.{2 * i + 1}.conv.weight": one}
    with pytest.raises(UserError, match="has 40 features at 2048x2048"):
        read_model(write({"g_ema": state}))


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.5, "0.5"),
        (4.7, "4.7"),
        (True, "True"),
        (["x" * 100_000] * 20_000, "a list"),
        ("\x1b[31m", "'.31m'"),
    ],
)
def test_a_value_that_is_not_a_count_is_named_in_a_few_words(content, write, value, shown):
    content["mbstd_group_size"] = value
    with pytest.raises(UserError, match=f"mbstd_group_size is {shown}; it must be a whole number") as caught:
        read_model(write(content))
    assert len(str(caught.value)) < 300


def test_a_count_of_thousands_of_digits_is_named_by_its_bits(content, write):
    content["mbstd_group_size"] = 10**5000
    with pytest.raises(UserError, match="mbstd_group_size is a number of 16610 bits"):
        read_model(write(content))


def test_a_filter_that_is_not_a_number_is_refused(content, write):
    content["g_ema"]["convs.0.conv.blur.kernel"] = torch.full((4, 4), math.nan)
    with pytest.raises(UserError, match="the filter convs.0.conv.blur.kernel"):
        read_model(write(content))
