"""Latent codes and noise of a step, rendered by both generators (Gal et al. 2021, §4, Fig. 2).

Every `hparams` is a NadaHyperparameters (nada/training.py, which imports this module).
"""

from typing import NamedTuple

import torch
from torch import Tensor

from nada.run.micro_batch import NoiseRows, Rows
from nada.stylegan2.generator import Generator

CHUNK = 16  # images rendered or encoded at once without a graph; bounds memory


class Codes(NamedTuple):
    """W+ codes [N,num_ws,style_dim] of one batch. mixed: each code combines two w."""

    frozen: Tensor
    trained: Tensor
    mixed: bool


@torch.no_grad()
def draw_codes(generator: Generator, hparams) -> Codes:
    """Draw a batch of codes for the frozen and the trained generator.

    With probability `style_mixing` the batch mixes two w at a crossover in 1..num_ws-1. Both
    generators share the crossover, or with codes: 'official' each has its own.
    """
    first, second = (
        generator.broadcast(
            generator.mapping(
                torch.randn(
                    hparams.batch, generator.config["z_dim"], device=generator.w_avg.device
                )
            )
        )
        for _ in range(2)
    )
    mixes = bool(torch.rand(()) < hparams.style_mixing)
    crossovers = torch.randint(1, generator.num_ws, (2,)).tolist()
    if not mixes:
        return Codes(first, first, mixed=False)
    codes = [torch.cat([first[:, :c], second[:, c:]], dim=1) for c in crossovers]
    return Codes(codes[0], codes[0 if hparams.codes == "shared" else 1], mixed=True)


def noise_seeds() -> list[int]:
    """Draw two seeds of a step's noise; the trained generator uses the second if noise is 'drawn'."""
    return torch.randint(2**62, (2,)).tolist()


def render_pair(
    frozen: Generator,
    trained: Generator,
    codes: Codes,
    hparams,
    seeds: list[int] | None = None,
    rows: Rows | None = None,
):
    """Render (frozen, trained) images [N,3,R,R] of one batch of codes; only the second has a graph.

    The frozen images are None for the global loss, which does not use them. seeds: of the noise;
    drawn here by default. rows: render only these codes, with their rows of the batch's noise.
    """
    stream = torch.Generator(frozen.w_avg.device)
    seeds = seeds or noise_seeds()
    second = seeds[0] if hparams.noise == "shared" else seeds[1]

    def render(generator: Generator, w_plus: Tensor, seed: int) -> Tensor:
        noise = stream.manual_seed(seed)
        if rows is None or rows.whole:
            return generator.synthesis(w_plus, "random", noise)
        return generator.synthesis(rows.of(w_plus), "random", NoiseRows(noise, rows))

    frozen_images = None
    if hparams.loss == "directional":
        with torch.no_grad():
            frozen_images = render(frozen, codes.frozen, seeds[0])
    return frozen_images, render(trained, codes.trained, second)


@torch.no_grad()
def source_images(source: Generator, count: int, seed: int) -> Tensor:
    """Images [count,3,R,R] of the source generator: new codes, no truncation, random noise."""
    stream = torch.Generator(source.w_avg.device).manual_seed(seed)
    images = []
    for size in chunks(count):
        z = torch.randn(size, source.config["z_dim"], generator=stream, device=source.w_avg.device)
        codes = source.broadcast(source.mapping(z))
        images.append(source.synthesis(codes, "random", stream))
    return torch.cat(images)


def chunks(count: int) -> list[int]:
    """`count` split into parts of CHUNK and a remainder."""
    return [min(CHUNK, count - start) for start in range(0, count, CHUNK)]
