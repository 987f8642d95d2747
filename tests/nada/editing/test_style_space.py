"""StyleSpace: styles read, changed and given back to the generator."""

import copy

import pytest
import torch

from nada.editing.style_space import (
    add_to_edited,
    edited_channels,
    flatten_edited,
    read_styles,
    render_styles,
    style_layers,
)
from nada.run.errors import UserError
from nada.stylegan2.generator import Generator


@pytest.fixture
def w_plus(generator):
    torch.manual_seed(3)
    return torch.randn(3, generator.num_ws, 8)


def test_the_ffhq_generator_has_9088_styles_of_which_6048_are_edited():
    with torch.device("meta"):
        layers = style_layers(Generator(1024))
    assert len(layers) == 26 and sum(layer.channels for layer in layers) == 9088
    edited = [layer for layer in layers if layer.edited]
    assert len(edited) == 17 and sum(layer.channels for layer in edited) == 6048
    # StyleCLIP's indices without toRGB
    places = [i for i, layer in enumerate(layers) if not layer.edited]
    assert places == list(range(1, 26, 3))
    assert [layer.slot for layer in layers] == [0, 1, 1, 2, 3, 3, 4, 5, 5, 6, 7, 7, 8, 9, 9, 10, 11, 11, 12, 13, 13, 14, 15, 15, 16, 17]  # fmt: skip


def test_styles_that_are_read_draw_the_codes_own_images(generator, w_plus):
    with torch.no_grad():
        styles = read_styles(generator, w_plus)
        for mode in ("const", "none"):
            assert torch.equal(
                render_styles(generator, styles, mode), generator.synthesis(w_plus, mode)
            )
        streams = [torch.Generator().manual_seed(1) for _ in range(2)]
        drawn = render_styles(generator, styles, "random", streams[0])
        assert torch.equal(drawn, generator.synthesis(w_plus, "random", streams[1]))


def test_a_changed_style_draws_what_a_changed_bias_of_its_affine_map_draws(generator, w_plus):
    for place, layer in enumerate(style_layers(generator)):
        changed = copy.deepcopy(generator)
        with torch.no_grad():
            style_layers(changed)[place].affine.bias[2] += 0.7
            styles = read_styles(generator, w_plus)
            styles[place][:, 2] += 0.7
            image = render_styles(generator, styles)
        torch.testing.assert_close(image, changed.synthesis(w_plus, "const"), rtol=0, atol=1e-5)
        assert (image - generator.synthesis(w_plus, "const")).abs().max() > 1e-4, layer.name


def test_edited_channels_are_those_of_the_convolutions_in_order(generator, w_plus):
    styles, places = read_styles(generator, w_plus), edited_channels(generator)
    flat = flatten_edited(generator, styles)
    assert flat.shape == (3, len(places)) == (3, 5 * 8)
    for c, (layer, channel) in enumerate(places):
        assert torch.equal(flat[:, c], styles[layer][:, channel])
    step = torch.arange(len(places)).float()
    moved = add_to_edited(generator, styles, step)
    torch.testing.assert_close(flatten_edited(generator, moved), flat + step)
    unedited = [i for i, layer in enumerate(style_layers(generator)) if not layer.edited]
    assert unedited and all(torch.equal(moved[i], styles[i]) for i in unedited)


def test_gradients_reach_the_styles_and_the_generator_is_left_as_it_was(generator, w_plus):
    before = generator.synthesis(w_plus, "const")
    styles = [style.detach().requires_grad_(True) for style in read_styles(generator, w_plus)]
    render_styles(generator, styles).square().sum().backward()
    assert all(style.grad.abs().max() > 0 for style in styles)
    with pytest.raises(UserError, match="noise_mode"):
        render_styles(generator, styles, "loud")
    assert torch.equal(generator.synthesis(w_plus, "const"), before)


def test_styles_of_another_generator_are_one_sentence(generator, w_plus):
    styles = read_styles(generator, w_plus)
    with pytest.raises(UserError, match="7 vectors with .* but this generator takes 8"):
        render_styles(generator, styles[:-1])
    styles[0] = styles[0][:, :4]
    with pytest.raises(UserError, match="read them from a generator of the same size"):
        render_styles(generator, styles)
