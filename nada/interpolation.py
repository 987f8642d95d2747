"""Interpolation between the weights of models that were adapted from one parent (Gal et al. 2021, App. F).

        θ(a) = (1 − a) θ_A + a θ_B

Codes and noise are kept, so an image changes from one domain into the other. This needs models whose weights
correspond: one parent, one mapping network, one architecture.
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nada.run.artifact import AdaptedModel, load_artifact, read_provenance
from nada.run.errors import UserError
from nada.stylegan2.generator import Generator
from nada.stylegan2.source_model import SourceModel


@dataclass(frozen=True)
class Relative:
    """A model of a family: its name in messages, its generator, and the SHA-256 of the source it came from.

    parent: "" where nothing records it; then only the tensors can show that two models are related.
    """

    name: str
    generator: Generator
    parent: str = ""


def relative_of_run(folder, name: str, device="cpu") -> Relative:
    """The adapted model in a run's folder. UserError: no artifact, a latent map, or no StyleGAN2 generator."""
    model = load_artifact(folder, device=device)
    return relative_of_model(model, name, parent_of(read_provenance(folder)))


def relative_of_source(source: SourceModel, name: str, sha256: str = "") -> Relative:
    """The source's averaged generator, from which NADA starts; sha256: of its file."""
    return Relative(name, source.G_ema, sha256)


def relative_of_model(model: AdaptedModel, name: str, parent: str = "") -> Relative:
    """An adapted model. UserError: it has a latent map, or its generator is no StyleGAN2."""
    if model.latent_map is not None:
        raise UserError(
            f"{name}: has a latent map ({model.latent_map.kind}), which weights of a generator do not "
            f"hold; interpolate the generator that it maps codes of."
        )
    if not isinstance(model.generator, Generator):
        raise UserError(f"{name}: only the weights of StyleGAN2 generators are interpolated.")
    return Relative(name, model.generator, parent)


def parent_of(provenance: dict) -> str:
    """The SHA-256 of the source model in a run's provenance, "" if it has none."""
    entry = (provenance.get("inputs") or {}).get("source")
    return entry.get("sha256", "") if isinstance(entry, dict) else ""


def check_family(relatives: Sequence[Relative]) -> None:
    """Raise one UserError unless all models have one parent, one mapping network and one architecture.

    Compared with the first: the source's hash, where both are recorded; the architecture; all tensors of
    the mapping network, mean w included; the stored noise, which adaptation leaves as it is.
    """
    if len(relatives) < 2:
        raise UserError("interpolation of weights: two or more models are needed, from one parent.")
    first = relatives[0]
    for other in relatives[1:]:
        reason = _difference(first, other)
        if reason:
            raise UserError(
                f"'{first.name}' and '{other.name}' cannot be interpolated: {reason}; choose models that "
                f"were adapted from one source with its mapping network frozen."
            )


def _difference(first: Relative, other: Relative) -> str | None:
    """Why two models cannot be interpolated, or None."""
    a, b = first.generator, other.generator
    if a.config != b.config:
        keys = [key for key in a.config if a.config[key] != b.config.get(key)]
        listed = ", ".join(f"{key} {a.config[key]} and {b.config.get(key)}" for key in keys)
        return f"their architectures differ ({listed})"
    if first.parent and other.parent and first.parent != other.parent:
        return f"their parents differ (SHA-256 {first.parent[:12]}… and {other.parent[:12]}…)"
    theirs = b.mapping.state_dict()
    if any(not _equal(value, theirs[name]) for name, value in a.mapping.state_dict().items()):
        return "their mapping networks differ"
    theirs = dict(b.synthesis.named_buffers())
    if any(not _equal(value, theirs[name]) for name, value in a.synthesis.named_buffers()):
        return "their stored noise differs, so they do not descend from one parent"
    return None


def _equal(a: Tensor, b: Tensor) -> bool:
    return torch.equal(a.cpu(), b.cpu())


class WeightPath:
    """The path through the weights of a family, in equal segments from its first model to its last.

    One generator is kept, whose weights are overwritten: what `at` returned before changes with it.
    Raises UserError as `check_family` does.
    """

    def __init__(self, relatives: Sequence[Relative]):
        check_family(relatives)
        self.names = [relative.name for relative in relatives]
        self.corners = [dict(relative.generator.named_parameters()) for relative in relatives]
        self.generator = copy.deepcopy(relatives[0].generator).eval().requires_grad_(False)

    @property
    def segments(self) -> int:
        """Number of segments, one less than models."""
        return len(self.corners) - 1

    @torch.no_grad()
    def at(self, position: float) -> Generator:
        """The generator at a position in [0, segments]: whole numbers are the models themselves, bit for bit.

        UserError: another position.
        """
        if not 0 <= position <= self.segments:
            raise UserError(
                f"interpolation of weights: position {position} given; it must be in 0..{self.segments}."
            )
        start = min(int(position), self.segments - 1)
        amount = position - start
        for name, weight in self.generator.named_parameters():
            ends = (corner[name].to(weight) for corner in self.corners[start : start + 2])
            weight.copy_(torch.lerp(*ends, amount))
        return self.generator


def positions(segments: int, frames: int, hold: int = 0, back: bool = False) -> list[float]:
    """Positions of a film: `frames` steps in each segment, both ends included.

    hold: frames that repeat the last one. back: return to the start afterwards. The public script has 20
    steps forward, 20 frames of the end, and 20 steps back. UserError: no frame.
    """
    if segments < 1 or frames < 1 or hold < 0:
        raise UserError(
            f"film: {segments} segments of {frames} frames and {hold} held given; at least 1, 1 and 0 "
            f"are needed."
        )
    forward = [i / frames for i in range(segments * frames + 1)]
    return [*forward, *[forward[-1]] * hold, *(reversed(forward[:-1]) if back else ())]


def weight_frames(
    path: WeightPath, w_plus: Tensor, where: Sequence[float]
) -> Iterator[Tensor]:
    """Images [N,3,R,R] of the codes w_plus [N,num_ws,style_dim] at each position; the noise is constant."""
    for position in where:
        with torch.no_grad():
            yield path.at(position).synthesis(w_plus, noise_mode="const")


def latent_frames(
    generator: Generator, start: Tensor, end: Tensor, where: Sequence[float]
) -> Iterator[Tensor]:
    """Images [N,3,R,R] of one generator between codes start and end [N,num_ws,style_dim]; constant noise.

    where: positions in [0,1] of the straight line in W+.
    """
    for position in where:
        with torch.no_grad():
            yield generator.synthesis(torch.lerp(start, end, position), noise_mode="const")
