"""The parent of a source model: one generator of a whole family of species or styles.

A generator that has only ever drawn dogs has no direction in weight space that leads to another animal, so
CLIP's gradient finds smears. A source model of the mini world therefore descends from a *parent* that drew a
family of domains, as real generators descend from large data sets. The member of the family enters as a shift
of w in slot 0 alone, which feeds the 4x4 convolution. Late in training the shifts shrink while that layer is
frozen, so that the convolutions after it learn to turn a small change of 4x4 features into another animal. The
source model is the parent with the shift of its own domain, which is 0: an ordinary StyleGAN2.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from nada.stylegan2.generator import Generator
from workflow.worlds.mini.species import SPECIES, STYLES


@dataclass(frozen=True)
class Family:
    """What one parent has seen.

    varies: "species" (photographs of several animals) or "style" (persons in several styles).
    own: the domain of the source model. relatives: what else the parent draws.
    """

    varies: str
    own: str
    relatives: tuple[str, ...] = ()

    @property
    def species(self) -> str:
        """The species of the own domain."""
        return self.own if self.varies == "species" else "person"

    @property
    def members(self) -> tuple[str, ...]:
        return (self.own, *self.relatives)

    def scene(self, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Weights of members [N, M] -> (species [N, len(SPECIES)], style [N, len(STYLES)]), both mixtures."""
        names = SPECIES if self.varies == "species" else STYLES
        varied = weights.new_zeros(len(weights), len(names))
        varied[:, [names.index(member) for member in self.members]] = weights
        fixed = weights.new_zeros(len(weights), len(STYLES if self.varies == "species" else SPECIES))
        fixed[:, STYLES.index("photo") if self.varies == "species" else SPECIES.index("person")] = 1
        return (varied, fixed) if self.varies == "species" else (fixed, varied)

    def pure(self, member: str, count: int) -> torch.Tensor:
        """Weights [count, M] of one member."""
        weights = torch.zeros(count, len(self.members))
        weights[:, self.members.index(member)] = 1
        return weights

    def draw(self, count: int, generator: torch.Generator) -> torch.Tensor:
        """Random weights [count, M]: one member, the own one more often, or a point between two."""
        m = len(self.members)
        own = torch.rand(count, generator=generator) < OWN_SHARE
        first = torch.where(own, 0, torch.randint(m, (count,), generator=generator))
        second = torch.randint(m, (count,), generator=generator)
        between = torch.rand(count, generator=generator) < BETWEEN_SHARE
        at = torch.where(between, torch.rand(count, generator=generator), 0.0)[:, None]
        one, other = (nn.functional.one_hot(rows, m).float() for rows in (first, second))
        return one + at * (other - one)


OWN_SHARE = 0.2  # of the pictures of a family, beside the equal share
BETWEEN_SHARE = 0.35  # of the pictures of a family: on the straight line between two members
SHIFT_SIZE = 0.7  # standard deviation of the first shifts

# No parent of a shipped source model has seen a target: of the test tasks (cat, bear; sketch) or of the
# development tasks (fox; cartoon).
ANIMAL_RELATIVES = ("wolf", "tiger", "lynx", "lion", "rabbit", "koala", "mouse", "beaver")
STYLE_RELATIVES = ("painting", "watercolour", "monochrome", "woodcut")
FAMILIES = {
    "dog": Family("species", "dog", ANIMAL_RELATIVES),
    "face": Family("style", "photo", STYLE_RELATIVES),
    # for the table `parent` alone: what it changes to have no parent, or one that has seen everything
    "dog_without_parent": Family("species", "dog"),
    "dog_with_targets": Family("species", "dog", (*ANIMAL_RELATIVES, "cat", "bear", "fox")),
}


class Parent(nn.Module):
    """A generator G and a shift of w for each member of its family, shifts [M, style_dim]; the own one is 0."""

    def __init__(self, G: Generator, family: Family) -> None:
        super().__init__()
        self.G = G
        shifts = SHIFT_SIZE * torch.randn(len(family.members), G.config["style_dim"])
        shifts[0] = 0
        self.shifts = nn.Parameter(shifts)

    def w_plus(self, w: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """w [N, style_dim] of members with `weights` [N, M] -> codes [N, num_ws, style_dim]."""
        mask = torch.cat([self.shifts.new_zeros(1, 1), self.shifts.new_ones(len(self.shifts) - 1, 1)])
        shifted = w + weights @ (mask * self.shifts)
        return torch.cat([shifted[:, None], self.G.broadcast(w)[:, 1:]], dim=1)

    def draw(self, z: torch.Tensor, weights: torch.Tensor, noise_mode: str = "none") -> torch.Tensor:
        """Images [N, 3, R, R] of z [N, z_dim] as members with `weights` [N, M]."""
        w = self.G.mapping(z, skip_w_avg_update=True)
        return self.G.synthesis(self.w_plus(w, weights), noise_mode=noise_mode)

    def entry(self) -> list[nn.Parameter]:
        """What a shift passes before the convolutions that have to learn from it."""
        first = self.G.synthesis.convs[0]
        return [self.shifts, self.G.synthesis.const, *first.affine.parameters()]
