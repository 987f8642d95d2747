"""The two-generator step: one forward pass for selection and loss, the texts of Eq. 1, image targets."""

import copy

import numpy as np
import pytest
import torch

from nada.codes import draw_codes, render_pair, source_images
from nada.layers import LayerHyperparameters, Layers
from nada.objective import NadaLoss, target_embeddings
from nada.run.errors import UserError
from nada.run.precision import set_precision
from nada.run.streams import stream_seed
from nada.training import NadaHyperparameters, forward_backward

# --- one forward pass for layer choice and loss


class FakeSteering:
    """What NadaLoss asks of what steers a run: one CLIP, two texts, and few-shot images where there are any."""

    label, name = "variant 'v'", "dog2cat/nada-v/seed0"

    def __init__(self, clip, images=None):
        self.clip, self.images = clip, images
        self.shots = 0 if images is None else len(images)

    def clips(self, resize, names=None):
        self.clip.resize = resize
        return [self.clip]

    def texts(self):
        return "dog", "cat"

    def templates(self):
        return ["a {}", "photo of the {}"]

    def few_shot_images(self):
        return self.images


@pytest.fixture
def double(generator, clip):
    """The generator and what steers it around the CLIP, in float64."""
    clip.model.double()
    clip.mean, clip.std = clip.mean.double(), clip.std.double()
    torch.set_default_dtype(torch.float64)
    yield generator.double(), FakeSteering(clip)
    torch.set_default_dtype(torch.float32)


def twin(generator):
    """A trained generator a little away from the frozen one, as after some steps."""
    trained = copy.deepcopy(generator)
    torch.manual_seed(6)
    with torch.no_grad():
        for conv in trained.synthesis.convs:
            conv.weight += 0.1 * torch.randn_like(conv.weight)
    return trained


def step(generator, steering, seed=3, **hparams):
    """(trained generator, chosen layers, images rendered) after one step's gradients."""
    hparams = NadaHyperparameters(**hparams)
    frozen, trained = generator.requires_grad_(False), twin(generator)
    loss = NadaLoss(steering, hparams, frozen)
    layers = Layers(trained, hparams.layers, loss.of_images, "v")
    torch.manual_seed(seed)
    _, chosen, images = forward_backward(frozen, trained, layers, loss, hparams)
    return trained, chosen, images


@pytest.mark.parametrize("loss", ["directional", "global"])
@pytest.mark.parametrize("n_w", [2, 4])
def test_a_shared_forward_gives_the_gradient_of_one_made_for_the_choice_alone(double, n_w, loss):
    generator, steering = double
    hparams = NadaHyperparameters(batch=4, loss=loss)
    objective = NadaLoss(steering, hparams, generator)
    trained = twin(generator)
    layers = Layers(trained, LayerHyperparameters("adaptive", n_w=n_w), objective.of_images, "v")
    codes = draw_codes(generator, hparams)
    leaf = codes.trained.clone().requires_grad_()

    layers.unfreeze(layers.candidates)
    torch.manual_seed(8)
    images = render_pair(generator, trained, codes._replace(trained=leaf), hparams)
    seen = objective.see(images[1], images[0])
    few = seen.of_first(n_w, 4)
    gradient = layers.code_gradient(leaf, objective.choice_term(few), layers.shared(len(leaf)))
    shared = layers.shared_scores(gradient)

    layers.unfreeze(())
    again = codes.trained.clone().requires_grad_()
    torch.manual_seed(8)  # the same noise
    images = render_pair(generator, trained, codes._replace(trained=again), hparams)
    objective.of_images(images[1][:n_w]).backward()
    expected = 0.01 * again.grad[:n_w].abs().mean(dim=(0, 2))
    torch.testing.assert_close(shared, expected, rtol=1e-10, atol=0)
    assert expected.min() > 0


def test_codes_beyond_the_batch_are_drawn_apart_and_weigh_the_same(double, monkeypatch):
    generator, steering = double
    for conv in generator.synthesis.convs:  # noise differs by rendering: take it out
        conv.noise_strength.data.zero_()
    hparams = NadaHyperparameters(batch=2)
    objective = NadaLoss(steering, hparams, generator)
    trained = twin(generator)
    layers = Layers(trained, LayerHyperparameters("adaptive", n_w=5), objective.of_images, "v")
    codes = draw_codes(generator, NadaHyperparameters(batch=5)).trained.contiguous()
    monkeypatch.setattr(layers, "_draw", lambda count: codes[5 - count :])
    leaf = codes[:2].clone().requires_grad_()
    loss = objective.of_images(trained.synthesis(leaf))
    gradient = layers.code_gradient(leaf, loss, layers.shared(len(leaf)))
    shared = layers.shared_scores(gradient)
    torch.testing.assert_close(shared, layers.scores(), rtol=1e-10, atol=0)


@pytest.mark.parametrize("n_w", [3, 4, 6])
def test_a_shared_step_trains_the_chosen_layers_as_if_they_had_been_named(double, n_w):
    generator, steering = double
    adaptive = LayerHyperparameters("adaptive", k=2, n_w=n_w, selection_codes="shared")
    trained, chosen, _ = step(generator, steering, batch=4, layers=adaptive)
    named, _, _ = step(generator, steering, batch=4, layers=LayerHyperparameters("manual", list(chosen)))
    reached = Layers(trained, adaptive, None, "v").names(chosen)
    for (name, mine), other in zip(trained.named_parameters(), named.parameters(), strict=True):
        assert (mine.grad is not None) == (name in reached)
        if mine.grad is not None:
            torch.testing.assert_close(mine.grad, other.grad, rtol=1e-10, atol=1e-16)


@pytest.mark.parametrize(
    "hparams, images",
    [
        ({"n_w": 3, "selection_codes": "shared"}, 8),
        ({"n_w": 6, "selection_codes": "shared"}, 8 + 2),
        ({"n_w": 6}, 8 + 6),
        ({"n_w": 6, "selection_codes": "shared", "n_i": 2}, 8 + 12),
        ({"n_w": 6, "selection_codes": "shared", "score": "official"}, 8 + 6),
    ],
    ids=str,
)
def test_work_is_shared_only_where_one_gradient_of_the_step_s_codes_is_all_it_takes(
    generator, clip, hparams, images
):
    layers = LayerHyperparameters("adaptive", k=2, **hparams)
    assert step(generator, FakeSteering(clip), batch=4, layers=layers)[2] == images


def test_a_step_that_mixes_two_w_chooses_by_codes_drawn_apart(generator, clip):
    steps = [
        step(
            generator,
            FakeSteering(clip),
            batch=4,
            style_mixing=1.0,
            layers=LayerHyperparameters("adaptive", k=2, n_w=3, selection_codes=codes),
        )
        for codes in ("shared", "drawn")
    ]
    (shared, *mine), (drawn, *other) = steps
    assert mine == other and mine[1] == 8 + 3
    for a, b in zip(shared.parameters(), drawn.parameters(), strict=True):
        assert (a.grad is None) == (b.grad is None)
        assert a.grad is None or torch.equal(a.grad, b.grad)


def test_the_global_loss_renders_and_encodes_no_frozen_image(generator, clip):
    steering = FakeSteering(clip)
    before = clip.calls
    assert step(generator, steering, batch=3, loss="global")[2] == 3
    assert clip.calls - before == 4 + 1  # four texts of a new NadaLoss, one batch of images


# --- the texts of Eq. 1


def test_eq_1_reads_the_public_code_s_texts_as_a_loss_in_the_layer_choice_and_in_the_mapper(
    generator, clip
):
    expected = {use: clip.encode_texts([text])[0] for use, text in
                {"loss": "a cat", "choice": "cat", "mapper": "cat"}.items()}  # fmt: skip
    loss = NadaLoss(FakeSteering(clip), NadaHyperparameters(), generator)
    assert torch.equal(loss.targets[0], expected["loss"])
    assert torch.equal(loss.choice_targets[0], expected["choice"])
    (found,) = target_embeddings(FakeSteering(clip), [clip], NadaHyperparameters(), "mapper")
    assert torch.equal(found, expected["mapper"])


def test_in_the_prompt_templates_eq_1_reads_one_text_everywhere(generator, clip):
    hparams = NadaHyperparameters(global_prompt="templates")
    loss = NadaLoss(FakeSteering(clip), hparams, generator)
    mean = clip.encode_texts(["a cat", "photo of the cat"]).mean(dim=0)
    torch.testing.assert_close(loss.targets[0], torch.nn.functional.normalize(mean, dim=0))
    assert torch.equal(loss.targets[0], loss.choice_targets[0])
    (mapper,) = target_embeddings(FakeSteering(clip), [clip], hparams, "mapper")
    assert torch.equal(mapper, loss.targets[0])


@pytest.mark.parametrize("codes", ["drawn", "shared"])
def test_layers_are_chosen_by_the_bare_text_while_the_global_loss_reads_a_target(
    double, monkeypatch, codes
):
    generator, steering = double
    adaptive = LayerHyperparameters("adaptive", k=2, n_w=4, selection_codes=codes)
    hparams = NadaHyperparameters(batch=4, loss="global", layers=adaptive)
    loss = NadaLoss(steering, hparams, generator)
    trained = twin(generator)
    layers = Layers(trained, adaptive, loss.of_images, "v")
    asked = []
    whole = loss._global_term
    monkeypatch.setattr(loss, "_global_term", lambda e, t: asked.append(t) or whole(e, t))
    forward_backward(generator.requires_grad_(False), trained, layers, loss, hparams)
    assert [t is loss.targets for t in asked] == [False, True]
    assert asked[0] is loss.choice_targets


# --- the start: ΔI = 0


def start(generator, steering, steps=3, **hparams):
    """(trained generator, loss of each step) of a run's first steps."""
    hparams = NadaHyperparameters(batch=3, **hparams)
    frozen = generator.requires_grad_(False)
    trained = copy.deepcopy(frozen)
    loss = NadaLoss(steering, hparams, frozen)
    for network in (frozen, trained):
        set_precision(network, hparams.precision)
    layers = Layers(trained, hparams.layers, loss.of_images, "v")
    optimiser = torch.optim.Adam(layers.trainable().values(), lr=hparams.lr, betas=hparams.betas)
    torch.manual_seed(4)
    losses = []
    for _ in range(steps):
        terms, _, _ = forward_backward(frozen, trained, layers, loss, hparams)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        losses.append(terms["loss"].item())
    return trained, losses


@pytest.mark.parametrize("precision", ["fp32", "mixed"])
@pytest.mark.parametrize("noise", ["drawn", "shared"])
@pytest.mark.parametrize("policy", ["all", "adaptive"])
def test_a_run_with_the_public_guard_starts_with_numbers_and_moves(
    generator, clip, precision, noise, policy
):
    layers = LayerHyperparameters(policy, k=2, n_w=3)
    trained, losses = start(
        generator, FakeSteering(clip), precision=precision, noise=noise, layers=layers
    )
    assert np.isfinite(losses).all()
    assert all(p.isfinite().all() for p in trained.parameters())
    pairs = zip(generator.parameters(), trained.parameters(), strict=True)
    assert any(not torch.equal(before, after) for before, after in pairs)


def test_the_public_guard_looks_again_at_images_shifted_by_a_millionth(generator, clip):
    loss = NadaLoss(FakeSteering(clip), NadaHyperparameters(noise="shared"), generator)
    hparams = NadaHyperparameters(batch=2, noise="shared")
    codes = draw_codes(generator, hparams)
    images = render_pair(generator, copy.deepcopy(generator), codes, hparams)[0]
    seen = loss.see(images, images)
    expected = clip.encode_images(images + 1e-6)
    assert torch.equal(seen.trained[0], expected) and not torch.equal(expected, seen.frozen[0])
    other = images.clone()
    other[0] += 0.1  # one image that moved: the batch is not shifted, nor is the other a NaN
    seen = loss.see(other, images)
    assert torch.equal(seen.trained[0][1], seen.frozen[0][1])
    assert loss(seen)["loss"].isfinite()


def test_noise_drawn_twice_makes_two_images_so_that_the_guard_asks_nothing(generator, clip):
    def may_coincide(**hparams):
        return NadaLoss(FakeSteering(clip), NadaHyperparameters(**hparams), generator).may_coincide

    assert not may_coincide()
    assert may_coincide(noise="shared")
    assert not may_coincide(noise="shared", guard="epsilon")
    for conv in generator.synthesis.convs:
        conv.noise_strength.data.zero_()
    assert may_coincide()


# --- image targets (Eq. 3)


@pytest.fixture
def images():
    torch.manual_seed(9)
    return torch.rand(5, 3, 16, 16) * 2 - 1


def units(clip, images):
    """Unit embeddings [N,E] of images as numpy float64, one by one."""
    with torch.no_grad():
        raw = np.concatenate([clip.embed_images(image[None]).numpy() for image in images])
    raw = raw.astype(np.float64)
    return raw / np.linalg.norm(raw, axis=1, keepdims=True)


def test_an_image_direction_goes_from_n_s_source_images_to_the_few_shot_images(
    generator, clip, images
):
    hparams = NadaHyperparameters(direction="image", source_images=20)
    loss = NadaLoss(FakeSteering(clip, images), hparams, generator)
    drawn = source_images(generator, 20, stream_seed("source images", FakeSteering.name))
    assert len({image.sum().item() for image in drawn}) == 20
    expected = units(clip, images).mean(axis=0) - units(clip, drawn).mean(axis=0)
    expected /= np.linalg.norm(expected)
    np.testing.assert_allclose(loss.directions[0].numpy(), expected, atol=1e-5)


def test_eq_1_and_the_layer_choice_aim_at_the_target_images_or_officially_at_the_text(
    generator, clip, images
):
    def targets(steering, **hparams):
        loss = NadaLoss(steering, NadaHyperparameters(**hparams), generator)
        return loss.targets[0].numpy(), loss.choice_targets[0].numpy()

    mean = units(clip, images).mean(axis=0)
    for found in targets(FakeSteering(clip, images), direction="image"):
        np.testing.assert_allclose(found, mean / np.linalg.norm(mean), atol=1e-6)
    texts = targets(FakeSteering(clip))
    official = targets(FakeSteering(clip, images), direction="image", global_target="text")
    np.testing.assert_array_equal(official, texts)


def test_target_images_are_antialiased_also_where_the_official_resize_is_not(generator, clip):
    large = torch.rand(2, 3, 48, 48) * 2 - 1
    expected = units(clip, large).mean(axis=0)
    hparams = NadaHyperparameters(direction="image", clip_resize="official")
    before = clip.calls
    loss = NadaLoss(FakeSteering(clip, large), hparams, generator)
    assert clip.calls - before == 2 + 1  # target and direction, source images: all are counted
    assert loss.clips[0].resize == "official"
    found = loss.targets[0].numpy()
    np.testing.assert_allclose(found, expected / np.linalg.norm(expected), atol=1e-6)


def test_source_images_depend_on_their_seed_alone_and_move_no_random_stream(generator):
    before = torch.get_rng_state()
    first, again, other = (source_images(generator, 3, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_an_image_direction_without_target_images_is_an_error(generator, clip):
    message = r"variant 'v': hyperparameters.direction is 'image', but .*shots is 0\); set shots to 1"
    with pytest.raises(UserError, match=message):
        NadaLoss(FakeSteering(clip), NadaHyperparameters(direction="image"), generator)
