"""StyleCLIP's global directions: one step in StyleSpace for a pair of texts (Patashnik et al. 2021, §6).

Before any text, the effect of each style channel c on CLIP's image embedding is measured:

    Δi_c = normalise(mean_s normalise(e_I(G(s + kσ_c)) − e_I(G(s − kσ_c))))        `channel_effects`

A text direction Δt then gives the step, the same for all codes:

    r_c = Δi_c · Δt;  0 where |r_c| < β;  r ← r / max|r|;  s'_c = s_c + α σ_c r_c   `GlobalDirections`

β keeps few channels (a disentangled edit) or many; α is the strength.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from nada.clip.encoder import NO_DIRECTION, Clip, text_embedding
from nada.codes import CHUNK, chunks
from nada.editing.style_space import (
    add_to_edited,
    edited_channels,
    flatten_edited,
    read_styles,
    render_styles,
)
from nada.run.atomic import atomic_path, canonical_json
from nada.run.errors import UserError
from nada.run.finite import check_finite
from nada.run.manifest import METADATA_KEY, described, read_weights
from nada.stylegan2.generator import Generator

STATISTICS_CODES = 100_000  # StyleCLIP's code
STATISTICS_PSI = 0.7  # truncation of these codes (StyleCLIP's code)
PAIRS = 100  # images of each channel with more and with less of it (paper, §6)
AMOUNT = 5.0  # k, in standard deviations of the channel (paper, §6)
NO_EFFECT = 1e-6  # length of a difference of unit embeddings in float32 that is rounding alone

KIND = "global directions"  # in the file's metadata

Setting = Literal["own", "mean", "official"]


@dataclass(frozen=True)
class StyleStatistics:
    """Mean μ and standard deviation σ of the edited style channels over codes, [C] each."""

    mean: Tensor
    std: Tensor


@torch.no_grad()
def style_statistics(
    generator: Generator,
    seed: int,
    count: int = STATISTICS_CODES,
    truncation_psi: float = STATISTICS_PSI,
) -> StyleStatistics:
    """μ and σ (of the population) over `count` codes of the mapping network, in one pass.

    Moments are summed in float64 around the channel's value at the mean code.
    """
    device = generator.w_avg.device
    centre = flatten_edited(generator, read_styles(generator, generator.broadcast(generator.w_avg[None])))
    stream = torch.Generator().manual_seed(seed)
    total = torch.zeros(centre.shape[1], dtype=torch.float64, device=device)
    squares = torch.zeros_like(total)
    for start in range(0, count, 64 * CHUNK):
        size = min(64 * CHUNK, count - start)
        z = torch.randn(size, generator.config["z_dim"], generator=stream).to(generator.w_avg)
        w_plus = generator.broadcast(generator.truncate(generator.mapping(z, skip_w_avg_update=True), truncation_psi))
        offset = (flatten_edited(generator, read_styles(generator, w_plus)) - centre).double()
        total += offset.sum(dim=0)
        squares += offset.square().sum(dim=0)
    offset = total / count
    std = (squares / count - offset.square()).clamp(min=0).sqrt()
    return StyleStatistics((centre[0] + offset).to(centre), std.to(centre))


@torch.no_grad()
def channel_effects(
    generator: Generator,
    clips: list[Clip],
    w_plus: Tensor,
    statistics: StyleStatistics,
    amount: float = AMOUNT,
    setting: Setting = "own",
    channels: range | None = None,
    on_channel: Callable[[int], None] | None = None,
) -> list[Tensor]:
    """Δi_c of every edited channel: for each CLIP unit rows [C,E]; 0 for a channel without effect.

    w_plus: codes [N,num_ws,style_dim] (paper: 100). amount: k. channels: measure only these; the other
    rows are 0. on_channel: called with the number of each channel that was measured. One channel costs
    2N images and, for each CLIP, as many encoded images.
    setting: the channel's value to which ±kσ_c is added. 'own': the code's own, as in the paper;
    'mean': μ_c; 'official': μ_c, and the channel stays there while later channels are measured, since
    the public code changes shared arrays.
    """
    base = read_styles(generator, w_plus)
    places = edited_channels(generator)
    effects = [[] for _ in clips]
    measured = range(len(places)) if channels is None else channels
    for c in measured:
        layer, channel = places[c]
        styles = list(base)
        step = amount * statistics.std[c]
        middle = base[layer][:, channel] if setting == "own" else statistics.mean[c]
        if setting == "official":
            base[layer][:, channel] = middle
        embeddings = []  # of more and of less, for each CLIP
        for sign in (1, -1):
            styles[layer] = base[layer].clone()
            styles[layer][:, channel] = middle + sign * step
            embeddings.append(_embed(generator, clips, styles))
        for rows, more, less in zip(effects, *embeddings, strict=True):
            rows.append(_direction(more - less))
        if on_channel:
            on_channel(c)
    return [_rows(rows, measured, len(places)) for rows in effects]


def text_difference(clip: Clip, neutral: str, target: str, templates: list[str]) -> Tensor:
    """Δt = normalise(t(target) − t(neutral)) [E], t the normalised mean over the prompts (paper, §6.1).

    NADA's ΔT (`nada.clip.encoder.text_direction`) does not normalise each text's mean first. Raises
    UserError where both texts have one embedding.
    """
    difference = text_embedding(clip, target, templates) - text_embedding(clip, neutral, templates)
    if difference.norm() < NO_DIRECTION:
        raise UserError(
            f"the texts '{neutral}' and '{target}' have the same embedding in CLIP '{clip.name}', "
            "so there is no direction from one to the other; choose two different texts."
        )
    return F.normalize(difference, dim=-1)


@dataclass(frozen=True)
class GlobalDirections:
    """What was measured once for a generator, and the edits that follow from it.

    statistics: of its styles. effects: Δi_c [C,E] of each CLIP. weights: the CLIPs' shares; StyleCLIP
    has one CLIP, the weighted mean of several is ours.
    """

    statistics: StyleStatistics
    effects: list[Tensor]
    weights: list[float]

    def relevance(self, text_differences: list[Tensor]) -> Tensor:
        """r_c = Δi_c · Δt before β [C], in [-1,1]; text_differences: Δt [E] of each CLIP."""
        pairs = zip(self.weights, self.effects, text_differences, strict=True)
        return sum(weight * rows @ delta for weight, rows, delta in pairs) / sum(self.weights)

    def step(self, text_differences: list[Tensor], beta: float) -> Tensor:
        """The step of strength 1 in the edited channels, [C] in units of the styles: σ_c r_c.

        beta: β in [0,1). r is divided by its largest magnitude, so that the most relevant channel moves by its σ.
        Raises UserError where β leaves no channel.
        """
        relevance = self.relevance(text_differences)
        largest = relevance.abs().max().item()
        kept = relevance.abs() >= beta
        if not kept.any() or largest == 0:
            raise UserError(
                f"global direction: no channel has a relevance of beta = {beta:g} or more, the largest is "
                f"{largest:.3g}; set beta below it."
            )
        return self.statistics.std * torch.where(kept, relevance / largest, 0)


def save_directions(path, directions: GlobalDirections, clips: list[str]) -> None:
    """Write what was measured as safetensors in float32, atomically. clips: names of the CLIPs, in order."""
    tensors = {"mean": directions.statistics.mean, "std": directions.statistics.std}
    tensors |= {f"effects.{name}": rows for name, rows in zip(clips, directions.effects, strict=True)}
    check_finite(path, tensors, "measure the channels again")
    tensors = {name: tensor.float().cpu().contiguous() for name, tensor in tensors.items()}
    about = {"kind": KIND, "clips": clips, "weights": directions.weights}
    with atomic_path(path) as temporary:
        save_file(tensors, str(temporary), metadata={METADATA_KEY: canonical_json(about)})


def load_directions(path, generator: Generator) -> tuple[GlobalDirections, list[str]]:
    """Read (directions, names of their CLIPs) for a generator of the size that they were measured on.

    Raises UserError for another kind of file, and for directions of a generator of another size.
    """
    tensors, metadata = read_weights(path)
    about = described(metadata)
    try:
        clips, weights = list(about["clips"]), [float(weight) for weight in about["weights"]]
        effects = [tensors[f"effects.{name}"] for name in clips]
        statistics = StyleStatistics(tensors["mean"], tensors["std"])
        fits = about["kind"] == KIND and len(weights) == len(clips) > 0
    except (LookupError, TypeError, ValueError):
        fits = False
    if not fits:
        raise UserError(f"{path}: holds no global directions of StyleCLIP; measure them again.")
    channels, found = len(edited_channels(generator)), {len(statistics.mean), len(statistics.std)}
    if found | {len(rows) for rows in effects} != {channels}:
        raise UserError(
            f"{path}: has directions for {len(statistics.std)} style channels, but this generator has "
            f"{channels}; measure them on a generator of its size."
        )
    device = generator.w_avg.device
    statistics = StyleStatistics(statistics.mean.to(device), statistics.std.to(device))
    return GlobalDirections(statistics, [rows.to(device) for rows in effects], weights), clips


def move_styles(
    generator: Generator, w_plus: Tensor, step: Tensor, alpha: float | Tensor
) -> list[Tensor]:
    """The styles s + α · step of W+ codes [N,num_ws,style_dim], for `render_styles`.

    step: [C], of `GlobalDirections.step`, also of another generator of the same size: an adapted model
    uses the source's. alpha: a number or one per code [N].
    """
    alpha = torch.as_tensor(alpha, dtype=step.dtype, device=step.device)
    return add_to_edited(generator, read_styles(generator, w_plus), alpha[..., None] * step)


def _embed(generator: Generator, clips: list[Clip], styles: list[Tensor]) -> list[Tensor]:
    """Unit embeddings [N,E] under each CLIP of the images of styles, in parts."""
    found, start = [], 0
    for size in chunks(len(styles[0])):
        images = render_styles(generator, [style[start : start + size] for style in styles])
        found.append([clip.encode_images(images) for clip in clips])
        start += size
    return [torch.cat(parts) for parts in zip(*found, strict=True)]


def _direction(differences: Tensor) -> Tensor:
    """normalise(mean of unit differences [N,E]); images that did not change count as 0."""
    lengths = differences.norm(dim=-1, keepdim=True)
    units = torch.where(lengths > NO_EFFECT, differences / lengths.clamp(min=NO_EFFECT), 0)
    return F.normalize(units.mean(dim=0), dim=-1, eps=NO_EFFECT)


def _rows(rows: list[Tensor], measured: range, count: int) -> Tensor:
    effects = rows[0].new_zeros(count, rows[0].shape[-1])
    effects[list(measured)] = torch.stack(rows)
    return effects
