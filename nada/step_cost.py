"""Measure time and memory of a step of NADA on a device: python -m nada.step_cost --k 12.

The networks have the published sizes and random weights; nothing is downloaded. Prints the time of a
step and the peak memory, after a warm-up. On the device 'meta' nothing is computed: only the bytes that
a step's graph keeps are counted, for any size and on any machine.
"""

import argparse
import copy
import sys
import time
from dataclasses import dataclass
from statistics import median

from nada.run.errors import UserError, command

GIB = 2**30
NOISE = 0.1  # strength of the noise in the untrained networks
WARM_UP = 5  # steps in which kernels are chosen and memory is allocated
TEXTS = ("dog", "cat")
VITS = ("ViT-B-32-quickgelu", "ViT-B-16-quickgelu")  # the paper's CLIPs


@command
def main(argv=None) -> None:
    """Measure, and print two or three lines."""
    parser = argparse.ArgumentParser(prog="python -m nada.step_cost", description=__doc__)
    parser.add_argument("--resolution", type=int, default=1024, help="image side (1024)")
    parser.add_argument("--batch", type=int, default=2, help="codes a step (2)")
    parser.add_argument(
        "--k", type=int, help="layers chosen at each step; left out: all are trained"
    )
    parser.add_argument("--n-w", type=int, default=8, help="codes that choose them (8)")
    parser.add_argument(
        "--shared-codes", action="store_true", help="the step's own codes choose first (ours)"
    )
    parser.add_argument("--micro-batch", type=int, default=0, help="images at once; 0: all (0)")
    parser.add_argument("--precision", choices=("fp32", "mixed"), default="fp32")
    parser.add_argument("--tf32", action="store_true", help="let float32 products round to 10 bits")
    parser.add_argument(
        "--fast", action="store_true", help="kernels that need not repeat themselves"
    )
    parser.add_argument("--clips", nargs="+", default=VITS, help="open_clip's names (both ViT-B)")
    parser.add_argument("--steps", type=int, default=20, help="steps measured (20)")
    parser.add_argument("--device", choices=("cuda", "cpu", "meta"), default="cuda")
    arguments = parser.parse_args(argv)

    import torch

    if arguments.device == "cuda" and not torch.cuda.is_available():
        raise UserError("torch finds no GPU here; choose --device cpu, or --device meta to count.")
    device = torch.device(arguments.device)
    hparams = make_hyperparameters(arguments)
    generator = make_generator(arguments.resolution, device)
    clips = [make_clip(name, device) for name in arguments.clips]
    print(title(arguments, device))
    if arguments.device == "meta":
        kept = graph_bytes(generator, clips, hparams)
        shown = ", ".join(f"{name} {size / GIB:.2f} GiB" for name, size in kept.items())
        print(f"  kept for the backward pass: {shown}")
        return
    cost = measure(generator, clips, hparams, arguments.steps)
    spread = f"{cost.fastest:.1f} to {cost.slowest:.1f}"
    print(f"  {cost.typical:.1f} ms a step, median of {arguments.steps} ({spread})")
    print(
        "  peak memory: "
        + ("not known on a CPU" if cost.peak is None else f"{cost.peak / GIB:.2f} GiB")
    )


def make_hyperparameters(arguments):
    """The NadaHyperparameters that the command line asks for."""
    from nada.layers import LayerHyperparameters
    from nada.training import NadaHyperparameters

    layers = LayerHyperparameters()
    if arguments.k is not None:
        codes = "shared" if arguments.shared_codes else "drawn"
        layers = LayerHyperparameters(
            "adaptive", k=arguments.k, n_w=arguments.n_w, selection_codes=codes
        )
    return NadaHyperparameters(
        batch=arguments.batch, layers=layers, precision=arguments.precision, tf32=arguments.tf32,
        deterministic=not arguments.fast, micro_batch=arguments.micro_batch,
    )  # fmt: skip


def make_generator(resolution: int, device):
    """A generator of configuration F with random weights."""
    import torch

    from nada.stylegan2.generator import Generator

    torch.manual_seed(0)
    with device:
        generator = Generator(resolution).eval().requires_grad_(False)
    for conv in generator.synthesis.convs:  # noise has an effect, as in a trained generator
        conv.noise_strength.fill_(NOISE)
    return generator


def make_clip(name: str, device):
    """A CLIP of a size that open_clip knows, with random weights."""
    import open_clip
    import torch

    from nada.clip.encoder import OPENAI_MEAN, OPENAI_STD, Clip

    config = open_clip.get_model_config(name)
    if config is None:
        raise UserError(f"open_clip knows no model '{name}'; try {' or '.join(VITS)}.")
    torch.backends.mha.set_fastpath_enabled(False)
    with device:
        model = open_clip.model.CLIP(**config).eval().requires_grad_(False)
        mean, std = (torch.tensor(x).view(3, 1, 1) for x in (OPENAI_MEAN, OPENAI_STD))
    return Clip(name, model, open_clip.get_tokenizer(name), mean, std)


@dataclass
class Cost:
    """Milliseconds per step (median, least, most) and the device's peak memory in bytes (None on a CPU)."""

    typical: float
    fastest: float
    slowest: float
    peak: int | None


class Steered:
    """The part of nada.clip.steering.Steering that a step uses."""

    label = name = "step_cost"
    shots = 0

    def __init__(self, clips):
        self._clips = clips

    def clips(self, *_):
        return self._clips

    def texts(self):
        return TEXTS

    def templates(self):
        return ["a {}"]


def measure(generator, clips, hparams, steps: int) -> Cost:
    """Train `steps` complete steps after a warm-up; the host waits for the device after each."""
    import torch

    from nada.layers import Layers
    from nada.objective import NadaLoss
    from nada.run.precision import set_numerics, set_precision
    from nada.training import forward_backward

    device = generator.w_avg.device
    set_numerics(device, hparams.tf32, hparams.deterministic)
    trained = copy.deepcopy(generator)
    trained.mapping = generator.mapping
    loss = NadaLoss(Steered(clips), hparams, generator)
    layers = Layers(trained, hparams.layers, loss.of_images, Steered.label)
    for network in (generator, trained):
        set_precision(network, hparams.precision)
    optimiser = torch.optim.Adam(layers.trainable().values(), lr=hparams.lr, betas=hparams.betas)
    on_gpu, times = device.type == "cuda", []
    for turn in range(WARM_UP + steps):
        if on_gpu and turn == WARM_UP:
            torch.cuda.reset_peak_memory_stats()
        start = time.perf_counter()
        forward_backward(generator, trained, layers, loss, hparams, hparams.micro_batch)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        if on_gpu:
            torch.cuda.synchronize()
        times.append(1000 * (time.perf_counter() - start))
    times = times[WARM_UP:]
    peak = torch.cuda.max_memory_allocated() if on_gpu else None
    return Cost(median(times), min(times), max(times), peak)


def graph_bytes(generator, clips, hparams) -> dict[str, int]:
    """Bytes that the graph of one step keeps: for its batch, and for separately drawn codes.

    If the batch's own codes choose too, both graphs are kept at the same time. Otherwise the codes
    come first, and the peak is the larger of the two. Weights and temporary tensors are not counted.
    With micro_batch, a graph is that of one part.
    """
    from nada.layers import Layers
    from nada.run.micro_batch import split
    from nada.run.precision import set_precision

    set_precision(generator, hparams.precision)
    layers = Layers(generator, hparams.layers, None, Steered.label)
    batch = split(hparams.batch, hparams.micro_batch)[0].count
    layers.unfreeze(layers.candidates)
    kept = {}
    kept["generator"], kept["CLIPs"] = _kept(generator, clips, batch, layers.shares)
    apart = layers.images_drawn(hparams.batch, layers.shares)
    if apart:
        layers.unfreeze(())
        parts = _kept(generator, clips, split(apart, hparams.micro_batch)[0].count, True)
        when = "with it" if layers.shares else "before it"
        kept[f"{when}, of codes drawn only for the choice,"] = sum(parts)
    return kept


def _kept(generator, clips, count: int, at_codes: bool) -> tuple[int, int]:
    """(generator's, CLIPs') bytes kept for the gradient of `count` images; at_codes: at their codes too."""
    import torch

    weights = [generator, *(clip.model for clip in clips)]
    known = {t.untyped_storage()._cdata for m in weights for t in (*m.parameters(), *m.buffers())}
    kept: list[torch.Tensor] = []

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage._cdata not in known:
            known.add(storage._cdata)
            kept.append(tensor)  # kept alive, so that its address is not reused
        return tensor

    def total() -> int:
        return sum(tensor.untyped_storage().nbytes() for tensor in kept)

    size, device = generator.synthesis.style_dim, generator.w_avg.device
    codes = torch.zeros(count, generator.num_ws, size, device=device, requires_grad=at_codes)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        images = generator.synthesis(codes)
        rendered = total()
        for clip in clips:
            clip.model.encode_image(clip.preprocess(images))  # autocast knows no meta device
    return rendered, total() - rendered


def title(arguments, device) -> str:
    """One line that names the measurement."""
    import torch

    where = torch.cuda.get_device_name() if device.type == "cuda" else f"device {device.type}"
    side = arguments.resolution
    layers = "all layers" if arguments.k is None else f"k = {arguments.k}, n_w = {arguments.n_w}"
    layers += " (shared)" if arguments.shared_codes and arguments.k is not None else ""
    parts = [f"{side}x{side}", f"batch {arguments.batch}", layers, arguments.precision]
    parts += [f"micro_batch {arguments.micro_batch}"] if arguments.micro_batch else []
    if device.type == "cuda":
        parts += ["TF32" if arguments.tf32 else "no TF32"]
        parts += ["not repeatable" if arguments.fast else "repeatable"]
    return f"step of NADA, {', '.join(parts)}, {' + '.join(arguments.clips)}: {where}"


if __name__ == "__main__":
    sys.exit(main())
