"""The host does not wait for the device in a step: what would let it wait is counted, on a CPU.

A tensor lies on the "device" when it is a weight or made from one; a number drawn on the host is
not. Counted is what reads a device's tensor into Python, and what copies a host's tensor to the
device without saying that it need not wait.
"""

import copy
import dataclasses
import math

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

from baselines.adversarial.batches import Batches
from baselines.adversarial.warm_starts import Start
from baselines.ojha import OjhaHyperparameters, OjhaTrainer, PatchHeads
from nada.latent_maps import LatentMapper
from nada.layers import LayerHyperparameters, Layers
from nada.mapper import OPTIMISERS, MapperHyperparameters, MapperLoss
from nada.objective import NadaLoss
from nada.run.errors import UserError
from nada.stylegan2 import adversarial
from nada.stylegan2.ada import AdaptiveAugment
from nada.stylegan2.adversarial import AdversarialTrainer
from nada.stylegan2.discriminator import Discriminator
from nada.stylegan2.generator import Generator
from nada.training import NadaHyperparameters, forward_backward

READS = {torch.Tensor.tolist, torch.Tensor.numpy, torch.Tensor.cpu}
COPIES = {torch.tensor, torch.as_tensor, torch.from_numpy}
SIZES_UNKNOWN = ("nonzero", "masked_select", "equal", "unique")  # the host must ask how many


class Waits:
    """Counts what lets the host wait, while it is entered: `waits.seen` says what."""

    def __init__(self, *modules):
        self.device = WeakIdKeyDictionary()
        self.seen: list[str] = []
        for module in modules:
            for tensor in [*module.parameters(), *module.buffers()]:
                self.device[tensor] = True
        self.modes = (_Calls(self), _Operations(self))

    def on_device(self, values) -> bool:
        return any(isinstance(x, torch.Tensor) and x in self.device for x in tree_leaves(values))

    def mark(self, values) -> None:
        for x in tree_leaves(values):
            if isinstance(x, torch.Tensor):
                self.device[x] = True

    def __enter__(self):
        for mode in self.modes:
            mode.__enter__()
        return self

    def __exit__(self, *error):
        for mode in reversed(self.modes):
            mode.__exit__(*error)


class _Calls(TorchFunctionMode):
    """Calls by name, as the code makes them: with the device that they ask for."""

    def __init__(self, waits):
        super().__init__()
        self.waits = waits

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        waits = self.waits
        named = [x for x in (*args[1:], kwargs.get("device")) if isinstance(x, torch.device)]
        if function in READS and waits.on_device(args):
            waits.seen.append(f"reads: {function.__name__}")
        if function in COPIES and named:
            waits.seen.append(f"copies: {function.__name__}")
        to_tensor = [x for x in args[1:] if isinstance(x, torch.Tensor) and x in waits.device]
        moved = function is torch.Tensor.to and (named or to_tensor)
        if moved and not waits.on_device(args[:1]) and not kwargs.get("non_blocking"):
            waits.seen.append("copies: to")
        result = function(*args, **kwargs)
        if named:  # made on the device, or moved there
            waits.mark(result)
        return result


class _Operations(TorchDispatchMode):
    """Operations as they are done: results of what lies on the device lie there too."""

    def __init__(self, waits):
        super().__init__()
        self.waits = waits

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = function.overloadpacket.__name__
        there = self.waits.on_device((args, kwargs))
        leaves = tree_leaves(args[1:])
        masked = name == "index" and any(getattr(x, "dtype", None) == torch.bool for x in leaves)
        if there and (masked or name in SIZES_UNKNOWN or name == "_local_scalar_dense"):
            self.waits.seen.append(f"reads: {name}")
        result = function(*args, **kwargs)
        if there:
            self.waits.mark(result)
        return result


# The counter itself -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "action",
    [
        lambda x: x.sum().item(),
        lambda x: bool(x.sum() > 0),
        lambda x: (x * 2).tolist(),
        lambda x: float(x.detach().mean()),
        lambda x: math.isfinite(x.detach().sum()),
        lambda x: x[x > 0],
        lambda x: (x + 1).cpu(),
        lambda x: torch.randn(2, device=x.device).sum().item(),
        lambda x: torch.tensor([1.0], device=x.device),
        lambda x: torch.rand(3).to(x.device),
    ],
)
def test_the_counter_sees_whatever_lets_the_host_wait(action):
    layer = torch.nn.Linear(3, 3)
    with Waits(layer) as waits:
        action(layer.weight)
    assert len(waits.seen) == 1


def test_the_counter_lets_the_host_s_own_numbers_pass():
    layer = torch.nn.Linear(3, 3)
    with Waits(layer) as waits:
        assert torch.rand(()).item() < 1
        torch.randint(5, (2,)).tolist()
        bool(torch.rand(()) < 0.5)
        torch.rand(3).to(layer.weight.device, non_blocking=True)
        (layer(torch.randn(2, 3, device=layer.weight.device)) ** 2).mean().backward()
    assert waits.seen == []


# NADA ---------------------------------------------------------------------------------------------


class FakeSteering:
    label, name, shots = "variant 'v'", "dog2cat/nada-v/seed0", 0

    def __init__(self, clip):
        self.clip = clip

    def clips(self, *_):
        return [self.clip]

    def texts(self):
        return "dog", "cat"

    def templates(self):
        return ["a {}"]


def nada_waits(generator, clip, steps=4, size=0, **hparams):
    """What lets the host wait in steps 2, 3, … of a run, one list for each."""
    hparams = NadaHyperparameters(batch=3, **hparams)
    frozen = generator.requires_grad_(False)
    trained = copy.deepcopy(frozen)
    loss = NadaLoss(FakeSteering(clip), hparams, frozen)
    layers = Layers(trained, hparams.layers, loss.of_images, "v")
    optimiser = torch.optim.Adam(layers.trainable().values(), lr=hparams.lr, betas=hparams.betas)
    seen = []
    for _ in range(steps):
        waits = Waits(frozen, trained, clip.model)
        waits.mark([clip.mean, clip.std, loss.targets, loss.directions])
        with waits:
            forward_backward(frozen, trained, layers, loss, hparams, size)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        seen.append(waits.seen)
    return seen[1:]


ADAPTIVE = {"policy": "adaptive", "k": 2}


@pytest.mark.parametrize(
    "hparams",
    [
        {},
        {"layers": LayerHyperparameters("adaptive", k=5)},  # all five
        {"augment": "shared", "augment_views": 2, "style_mixing": 0.5, "codes": "official"},
        {"noise": "shared", "guard": "epsilon"},
        {"loss": "global"},
        {"size": 2},
    ],
    ids=str,
)
def test_a_step_of_all_layers_never_waits(generator, clip, hparams):
    assert nada_waits(generator, clip, **hparams) == [[], [], []]


@pytest.mark.parametrize(
    "hparams",
    [
        {"layers": LayerHyperparameters(**ADAPTIVE, n_w=3)},
        {"layers": LayerHyperparameters(**ADAPTIVE, n_w=5)},
        {"layers": LayerHyperparameters(**ADAPTIVE, n_w=3, selection_codes="shared")},
        {"layers": LayerHyperparameters(**ADAPTIVE, n_w=5, selection_codes="shared")},
        {"layers": LayerHyperparameters(**ADAPTIVE, n_w=3, n_i=2)},
        {"layers": LayerHyperparameters(**ADAPTIVE, n_w=5, selection_codes="shared"), "size": 2},
        {"layers": LayerHyperparameters(**ADAPTIVE, n_w=3), "style_mixing": 0.5},
    ],
    ids=str,
)
def test_an_adaptive_step_waits_once_to_read_its_layers(generator, clip, hparams):
    assert nada_waits(generator, clip, **hparams) == [["reads: tolist"]] * 3


def test_the_public_guard_asks_once_more_where_both_images_may_be_one(generator, clip):
    waits = nada_waits(generator, clip, guard="official", noise="shared")
    assert waits == [["reads: tolist"]] * 3


@pytest.mark.parametrize("kind", OPTIMISERS)
def test_a_step_of_the_mapper_never_waits(generator, clip, kind):
    generator.requires_grad_(False)
    mapper = LatentMapper(generator.num_ws, 8)
    target = torch.nn.functional.normalize(torch.randn(16), dim=-1)
    objective = MapperLoss(generator, [clip], [target], MapperHyperparameters())
    optimiser = OPTIMISERS[kind](mapper.parameters(), lr=0.1, betas=(0.95, 0.999))
    for _ in range(7):  # Ranger looks ahead after the sixth
        waits = Waits(generator, mapper, clip.model)
        waits.mark([clip.mean, clip.std, target])
        with waits:
            codes = generator.broadcast(generator.mapping(torch.randn(2, 8))).detach()
            optimiser.zero_grad(set_to_none=True)
            objective(codes, mapper.map_w_plus(codes))["loss"].backward()
            optimiser.step()
        assert waits.seen == []


# Few-shot methods ---------------------------------------------------------------------------------


def start() -> Start:
    torch.manual_seed(0)
    size = {"channel_base": 128, "channel_max": 8}
    G = Generator(16, 8, 8, mapping_layers=2, **size)
    return Start(G, copy.deepcopy(G), Discriminator(16, mbstd_group_size=2, **size))


def on_a_gpu(trainer):
    """The trainer as on a GPU: no value is read earlier than necessary."""
    trainer.waits = False
    return trainer


def ojha():
    networks = start()
    heads = PatchHeads(networks.D)
    return OjhaTrainer(networks, OjhaHyperparameters(batch=4), torch.randn(3, 8), heads), heads


def plain():
    networks = start()
    return AdversarialTrainer(networks.G, networks.D, networks.G_ema), networks.D


def ada():
    networks = start()
    pipe = AdaptiveAugment(speed_kimg=1)
    pipe.p = 0.5
    trainer = AdversarialTrainer(networks.G, networks.D, networks.G_ema, augment=pipe)
    return trainer, networks.D


@pytest.mark.parametrize("method", [plain, ojha, ada])
def test_a_few_shot_step_never_waits(method):
    trainer, judge = method()
    on_a_gpu(trainer)
    lazy = {"r1_interval": 2, "path_length_interval": 2}
    trainer.hparams = dataclasses.replace(trainer.hparams, **lazy)
    images = torch.rand(3, 3, 16, 16) * 2 - 1
    batches = Batches(images, 4, 0.5)
    seen = []
    for step in range(5):  # Ojha's anchors in the first and the last
        waits = Waits(trainer.G, trainer.D, trainer.G_ema, judge)
        waits.mark([images, trainer.path_mean, getattr(trainer, "anchors", [])])
        with waits:
            report = trainer.step(batches.draw())
        seen += waits.seen if step else []
    assert seen == []
    assert {"r1", "path_length"} <= report.keys()
    assert all(isinstance(value, torch.Tensor) for value in report.values())


def test_ada_waits_once_in_an_interval_to_move_its_p():
    card = torch.nn.Linear(1, 1)
    pipe = AdaptiveAugment(speed_kimg=1, interval=4)
    waits = Waits(card)
    with waits:
        for _ in range(9):
            pipe.follow(card.weight.detach().mean().sign(), batch=4)
            pipe.state_dict()  # made at every step, kept at few
    assert waits.seen == ["reads: tolist"] * 2
    assert pipe.p in (0.0, 2 * 4 * 4 / 1000)


def test_reports_are_the_same_numbers_whether_they_are_read_at_once_or_later():
    reports = []
    for late in (False, True):
        trainer, _ = plain()
        trainer.waits = not late
        torch.manual_seed(1)
        reports.append([trainer.step(torch.rand(4, 3, 16, 16)) for _ in range(5)])
    now, later = reports
    assert [{k: v.item() for k, v in row.items()} for row in later] == now


def test_a_loss_that_is_not_finite_is_found_later_and_named_by_its_own_step(monkeypatch):
    monkeypatch.setattr(adversarial, "MAX_UNCHECKED", 12)  # at least two losses a step
    trainer, _ = plain()
    on_a_gpu(trainer)
    good, bad = torch.rand(4, 3, 16, 16), torch.full((4, 3, 16, 16), math.nan)
    trainer.step(good)
    trainer.step(bad)
    message = "training step 1: the discriminator loss is nan; lower the learning rate"
    with pytest.raises(UserError, match=message):
        for _ in range(6):
            trainer.step(good)
    assert trainer.steps < 6
    with pytest.raises(UserError, match=message):  # and whenever it is asked
        trainer.check()
