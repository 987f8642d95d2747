"""Micro-batches: a step in parts has the draws, the gradients and the layers of the whole."""

import copy

import pytest
import torch
from torch import nn

from nada.latent_maps import LatentMapper
from nada.layers import LayerHyperparameters, Layers
from nada.mapper import MapperHyperparameters, MapperLoss
from nada.mapper import forward_backward as mapper_step
from nada.objective import NadaLoss
from nada.run.errors import UserError
from nada.run.micro_batch import Draws, MicroBatches, Rows, asked_for, split
from nada.training import NadaHyperparameters, forward_backward, micro_batches

CPU = torch.device("cpu")
#: As torch words it.
NO_MEMORY = (
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.11 GiB of "
    "which 1.25 GiB is free. Including non-PyTorch memory, this process has 77 GiB memory in use."
)


class FakeJob:
    """What a run asks of its job and of what steers it."""

    label, name, shots, device = "variant 'v'", "dog2cat/nada-v/seed0", 0, CPU

    def __init__(self, clip):
        self.clip, self.lines = clip, []
        self.log = self.lines.append

    def clips(self, *_):
        return [self.clip]

    def texts(self):
        return "dog", "cat"

    def templates(self):
        return ["a {}", "photo of the {}"]


@pytest.fixture
def double(generator, clip):
    """The generator and a job around the CLIP, in float64."""
    clip.model.double()
    clip.mean, clip.std = clip.mean.double(), clip.std.double()
    torch.set_default_dtype(torch.float64)
    yield generator.double(), FakeJob(clip)
    torch.set_default_dtype(torch.float32)


class Step:
    """One step of a run, a little away from its start, which can be done again from one seed."""

    def __init__(self, generator, job, **hparams):
        self.hparams = hparams = NadaHyperparameters(**hparams)
        self.frozen = generator.requires_grad_(False)
        self.trained = copy.deepcopy(generator)
        torch.manual_seed(6)
        with torch.no_grad():
            for conv in self.trained.synthesis.convs:
                conv.weight += 0.1 * torch.randn_like(conv.weight)
        self.loss = NadaLoss(job, hparams, self.frozen)
        self.layers = Layers(self.trained, hparams.layers, self.loss.of_images, job.label)
        self.micro = micro_batches(job, hparams, self.layers)

    def __call__(self, size=0, seed=3):
        """(terms, chosen layers, gradients by name, the random stream's next number)."""
        self.trained.zero_grad(set_to_none=True)
        torch.manual_seed(seed)
        terms, chosen, _ = self.take(size)
        return terms, chosen, self.gradients(), torch.rand(()).item()

    def take(self, size):
        return forward_backward(
            self.frozen, self.trained, self.layers, self.loss, self.hparams, size
        )

    def gradients(self):
        named = self.trained.named_parameters()
        return {name: p.grad.clone() for name, p in named if p.grad is not None}


def same(found, expected, rtol=1e-12):
    terms, chosen, gradients, following = found
    other_terms, other_chosen, other_gradients, other_following = expected
    assert chosen == other_chosen and following == other_following
    assert terms.keys() == other_terms.keys() and gradients.keys() == other_gradients.keys()
    for name, term in terms.items():
        torch.testing.assert_close(term, other_terms[name], rtol=rtol, atol=0)
    for name, gradient in gradients.items():
        scale = other_gradients[name].abs().max().item()
        assert scale > 0, name
        torch.testing.assert_close(gradient, other_gradients[name], rtol=0, atol=rtol * scale)


ADAPTIVE = {"policy": "adaptive", "k": 2}
SHARED = {**ADAPTIVE, "selection_codes": "shared"}
CASES = {
    "all layers": {},
    "views": {"augment": "shared", "augment_views": 2},
    "global": {"loss": "global"},
    "one noise": {"noise": "shared"},
    "codes of their own": {"codes": "official", "style_mixing": 1.0},
    "mixed codes": {"style_mixing": 1.0, "layers": LayerHyperparameters(**ADAPTIVE, n_w=3)},
    "adaptive, all of the batch choose": {"layers": LayerHyperparameters(**SHARED, n_w=5)},
    "adaptive, some of the batch choose": {"layers": LayerHyperparameters(**SHARED, n_w=3)},
    "adaptive, more than the batch choose": {"layers": LayerHyperparameters(**SHARED, n_w=8)},
    "adaptive, with views": {
        "layers": LayerHyperparameters(**SHARED, n_w=8),
        "augment": "shared",
        "augment_views": 2,
    },
    "adaptive, codes apart": {
        "layers": LayerHyperparameters(**ADAPTIVE, n_w=4, n_i=2),
    },
}


@pytest.mark.parametrize("hparams", CASES.values(), ids=CASES)
def test_a_step_in_parts_is_the_whole_step_to_float64_s_rounding(double, hparams):
    step = Step(*double, batch=5, **hparams)
    whole = step()
    assert len(whole[2]) >= 3
    for size in (1, 2, 4):  # 2 and 4 leave a smaller last part
        same(step(size), whole)


@pytest.mark.parametrize("norm_loss", ["distance", "official"])
def test_a_step_of_the_mapper_in_parts_is_the_whole_step(double, norm_loss):
    generator, job = double
    generator.requires_grad_(False)
    torch.manual_seed(7)
    mapper = LatentMapper(generator.num_ws, 8)
    target = nn.functional.normalize(torch.randn(16), dim=-1)
    hparams = MapperHyperparameters(norm_loss=norm_loss)
    objective = MapperLoss(generator, job.clips(), [target], hparams)
    codes = generator.broadcast(generator.mapping(torch.randn(5, 8))).detach()

    def step(size):
        mapper.zero_grad(set_to_none=True)
        terms = mapper_step(objective, mapper, codes, size)
        gradients = {name: p.grad.clone() for name, p in mapper.named_parameters()}
        return terms, (), gradients, 0

    for size in (1, 2, 4):
        same(step(size), step(0))
    rendered = []
    generator.synthesis.register_forward_hook(lambda _, __, image: rendered.append(len(image)))
    step(2)
    assert rendered == [2, 2, 2, 2, 1, 1]  # of the codes, and of the mapped ones


def test_parts_differ_from_one_another_when_the_draws_do(double):
    """The comparison above can fail: another seed is another step."""
    step = Step(*double, batch=5)
    with pytest.raises(AssertionError):
        same(step(2, seed=4), step(0, seed=3))


def test_a_part_renders_no_more_images_than_asked(double):
    hparams = {"layers": LayerHyperparameters(**SHARED, n_w=8)}
    step = Step(*double, batch=5, **hparams)
    rendered = []
    for generator in (step.frozen, step.trained):
        generator.synthesis.register_forward_hook(lambda _, __, image: rendered.append(len(image)))
    step(2)
    assert max(rendered) == 2 and sum(rendered) == 2 * 5 + 3


@pytest.mark.parametrize(
    "own, given, most", [(0, 0, 8), (3, 0, 3), (0, 2, 2), (3, 2, 2), (2, 3, 2)]
)
def test_the_smaller_of_two_limits_holds_for_codes_drawn_apart(generator, own, given, most):
    seen = []

    def loss(images, rows=None):
        seen.append(len(images))
        return images.mean()

    layers = Layers(generator, LayerHyperparameters("adaptive", k=1, micro_batch=own), loss, "v")
    layers.choose(given)
    assert max(seen) == most and sum(seen) == 8


def test_rows_of_a_batch_in_parts_and_in_every_view():
    assert split(5, 0) == [Rows(0, 5, 5)] == split(5, 9)
    assert [(r.start, r.stop, r.share) for r in split(5, 2)] == [
        (0, 2, 0.4), (2, 4, 0.4), (4, 5, 0.2),
    ]  # fmt: skip
    views = torch.arange(10)  # view 1 of five images, then view 2
    assert Rows(1, 3, 5).of(views, views=2).tolist() == [1, 2, 6, 7]
    assert Rows(1, 3, 5).of(views[:5]).tolist() == [1, 2]
    assert Rows(0, 5, 5).of(views, views=2) is views


# Out of memory ------------------------------------------------------------------------------------


class Memory:
    """A device on which only so many images can be rendered at once."""

    def __init__(self, most: int):
        self.most, self.asked = most, []

    def __call__(self, _module, inputs):
        self.asked.append(len(inputs[0]))
        if len(inputs[0]) > self.most:
            raise torch.cuda.OutOfMemoryError(NO_MEMORY)

    def limits(self, step: Step) -> None:
        """Watch the last layer of the trained generator, so that the step fails half way."""
        step.trained.synthesis.convs[-1].register_forward_pre_hook(self)


def test_a_step_without_memory_is_done_again_in_parts_with_the_same_draws(generator, clip):
    hparams = {"batch": 4, "layers": LayerHyperparameters(**ADAPTIVE, n_w=6)}
    job = FakeJob(clip)
    step = Step(generator, job, **hparams)
    expected = step(1)  # what micro-batches of that size give
    Memory(1).limits(step)
    step.trained.zero_grad(set_to_none=True)
    torch.manual_seed(3)
    terms, chosen, _ = step.micro.attempt(step.take, step.trained.parameters())
    same((terms, chosen, step.gradients(), torch.rand(()).item()), expected, rtol=0)
    assert step.micro.size == 1


def test_the_smaller_size_stays_for_the_run_and_each_change_is_one_line(generator, clip):
    job = FakeJob(clip)
    step, memory = Step(generator, job, batch=4), Memory(2)
    memory.limits(step)
    for _ in range(2):
        step.micro.attempt(step.take, step.trained.parameters())
    assert memory.asked == [4, 2, 2, 2, 2]
    (line,) = job.lines
    assert line == (
        "  out of memory (2.00 GiB more were requested, 1.25 GiB of 79.11 GiB were free): the step is "
        "repeated; from here on 2 images are rendered at once. Results change only by rounding"
    )


def test_gradients_of_a_failed_attempt_are_dropped():
    parameter, sizes = nn.Parameter(torch.zeros(1)), []

    def step(size):
        assert parameter.grad is None
        sizes.append(size)
        parameter.sum().backward()
        if size > 1:
            raise torch.cuda.OutOfMemoryError(NO_MEMORY)
        return "done"

    micro = MicroBatches(8, 5, "v", lambda line: None, CPU)
    assert micro.attempt(step, [parameter]) == "done"
    assert sizes == [5, 2, 1] and parameter.grad.item() == 1


def test_one_image_that_does_not_fit_is_one_sentence_with_the_numbers():
    def step(_):
        raise torch.cuda.OutOfMemoryError(NO_MEMORY)

    micro = MicroBatches(1, 0, "variant 'v'", lambda line: None, CPU)
    with pytest.raises(UserError) as error:
        micro.attempt(step, [])
    assert str(error.value) == (
        "variant 'v': one image at a time does not fit this device's memory (2.00 GiB more were "
        "asked for, 1.25 GiB of 79.11 GiB were free); set precision to 'mixed', or use a device "
        "with more memory or a smaller model."
    )
    assert asked_for(torch.cuda.OutOfMemoryError("no more.")) == "no more"


def test_any_other_error_is_passed_on():
    def step(_):
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        MicroBatches(4, 0, "v", lambda line: None, CPU).attempt(step, [])


@pytest.mark.parametrize(
    "hparams, size",
    [
        ({"batch": 3}, 3),
        ({"batch": 3, "micro_batch": 2}, 2),
        ({"batch": 3, "micro_batch": 7}, 3),
        ({"batch": 3, "layers": LayerHyperparameters("adaptive", k=2, n_w=8)}, 8),
        ({"batch": 3, "layers": LayerHyperparameters("all", n_w=8)}, 3),
    ],
    ids=str,
)
def test_a_run_starts_with_the_whole_batch_and_all_codes_that_choose(
    generator, clip, hparams, size
):
    assert Step(generator, FakeJob(clip), **hparams).micro.size == size


def test_draws_are_repeated():
    draws = Draws(CPU)
    first = torch.rand(3)
    draws.restore()
    assert torch.equal(torch.rand(3), first)
