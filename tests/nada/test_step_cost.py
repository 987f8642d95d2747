"""The step's price list: times where there is a device, bytes of the graph everywhere."""

import dataclasses

import pytest
import torch

from nada import step_cost
from nada.layers import LayerHyperparameters
from nada.step_cost import GIB, VITS, graph_bytes, make_clip, make_generator, measure
from nada.stylegan2.generator import Generator
from nada.training import NadaHyperparameters

ADAPTIVE = LayerHyperparameters("adaptive", k=4, n_w=5)


def small(device="cpu"):
    torch.manual_seed(0)
    with torch.device(device):
        return Generator(64, 16, 16, channel_base=512, channel_max=16, mapping_layers=2)


@pytest.mark.parametrize("hparams", [{}, {"layers": ADAPTIVE, "micro_batch": 1}], ids=str)
def test_a_step_is_timed_on_a_cpu_whose_peak_memory_is_not_known(clip, hparams):
    generator = small().eval().requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in generator.state_dict().items()}
    cost = measure(generator, [clip], NadaHyperparameters(batch=2, **hparams), steps=3)
    assert 0 < cost.fastest <= cost.typical <= cost.slowest
    assert cost.peak is None
    assert all(torch.equal(t, before[name]) for name, t in generator.state_dict().items())


def test_a_graph_s_bytes_are_what_autograd_keeps():
    """A layer of one factor: x·w keeps x and w for their gradients; w is a weight, not counted."""

    class Product(torch.nn.Module):
        num_ws, w_avg = 1, torch.zeros(1)

        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(7))
            self.synthesis = lambda codes: codes[:, 0, :1] * self.weight
            self.synthesis.style_dim = 7

    rendered, seen = step_cost._kept(Product(), [], 3, at_codes=True)
    assert (rendered, seen) == (3 * 7 * 4, 0)  # the codes' storage, float32


def test_counting_needs_no_device(clip):
    hparams = NadaHyperparameters(batch=2, layers=ADAPTIVE)
    there, here = small("meta"), small()
    for network in (there, here):
        network.requires_grad_(False)
    assert graph_bytes(there, [], hparams) == graph_bytes(here, [], hparams)


def test_half_precision_and_micro_batches_keep_less_and_images_add_up():
    generator = small("meta").requires_grad_(False)

    def kept(**hparams):
        found = graph_bytes(generator, [], NadaHyperparameters(layers=ADAPTIVE, **hparams))
        return found["generator"], sum(found.values())

    two, four = kept(batch=2)[0], kept(batch=4)[0]
    assert 1.8 < four / two < 2.05
    assert kept(batch=2, precision="mixed")[0] < 0.75 * two
    assert kept(batch=2, micro_batch=1)[1] < 0.6 * kept(batch=2)[1]
    for codes, key in (("drawn", "before it"), ("shared", "beside it")):
        layers = dataclasses.replace(ADAPTIVE, selection_codes=codes)
        found = graph_bytes(generator, [], NadaHyperparameters(batch=2, layers=layers))
        assert f"{key}, of codes drawn only for the choice," in found
    assert graph_bytes(generator, [], NadaHyperparameters(batch=2)).keys() == {"generator", "CLIPs"}


def test_the_command_counts_a_step_at_1024_px_on_any_machine(capsys):
    words = ["--device", "meta", "--k", "12", "--micro-batch", "2", "--clips", VITS[0]]
    assert step_cost.main([*words, "--shared-codes"]) == 0
    assert ", k = 12, n_w = 8 (shared), fp32" in capsys.readouterr().out
    assert step_cost.main(words) == 0
    title, kept = capsys.readouterr().out.splitlines()
    assert title.startswith(
        "step of NADA, 1024x1024, batch 2, k = 12, n_w = 8, fp32, micro_batch 2"
    )
    sizes = [float(word) for word in kept.split() if word[0].isdigit()]
    assert len(sizes) == 3 and 2 < sum(sizes) < 16  # GiB; the bar is a peak of 16 GB


def test_a_gpu_that_is_not_there_and_a_clip_that_is_none_are_one_sentence(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert step_cost.main([]) == 2
    assert "torch finds no GPU here; choose --device cpu" in capsys.readouterr().err
    assert step_cost.main(["--device", "meta", "--resolution", "16", "--clips", "ViT-B-23"]) == 2
    assert "open_clip knows no model 'ViT-B-23'; try ViT-B-32" in capsys.readouterr().err


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_a_step_at_1024_px_keeps_to_its_bars():
    """Of an H200-class card: all layers within 30 ms and 16 GB, k = 12 within 4 times that."""
    card = torch.device("cuda")
    clips = [make_clip(name, card) for name in VITS]
    fast = {"batch": 2, "precision": "mixed", "tf32": True, "deterministic": False}
    every = measure(make_generator(1024, card), clips, NadaHyperparameters(**fast), 20)
    layers = LayerHyperparameters("adaptive", k=12, n_w=8, selection_codes="shared")
    hparams = NadaHyperparameters(layers=layers, micro_batch=2, **fast)
    chosen = measure(make_generator(1024, card), clips, hparams, 20)
    print(every, chosen)
    assert every.typical <= 30 and chosen.typical <= 4 * every.typical
    assert max(every.peak, chosen.peak) <= 16e9 and max(every.peak, chosen.peak) > GIB
