"""Warm starts of few-shot training: the source's networks, or those of NADA's runs (App. C, Eq. 4).

source               G and D of the source domain
nada                 G adapted by NADA (the run's parent), D of the source domain
nada_catchup         the same; D alone is trained first, for a few steps (Tab. 1: "D catch-up")
nada_finetuned_gd    G and D fine-tuned together on images of NADA (the parent: finetune_gd)
"""

import copy
from dataclasses import dataclass

from nada.run.errors import UserError
from nada.run.job import Job
from nada.stylegan2.discriminator import Discriminator
from nada.stylegan2.generator import Generator
from nada.stylegan2.source_model import SourceModel
from nada.stylegan2.source_networks import source_networks

WARM_STARTS = ("source", "nada", "nada_catchup", "nada_finetuned_gd")


@dataclass
class Start:
    """The networks to train: copies for this run, with gradients enabled.

    catches_up: D is trained alone at first.
    """

    G: Generator
    G_ema: Generator
    D: Discriminator
    catches_up: bool = False

    def __post_init__(self):
        for network in (self.G, self.D):
            network.requires_grad_(True)


def warm_start(job: Job) -> Start:
    """The networks that a few-shot run starts from.

    Raises UserError for an unknown name, and for a parent that is missing or unsuitable.
    """
    name = job.spec.warm_start
    if name not in WARM_STARTS:
        known = ", ".join(WARM_STARTS)
        raise UserError(f"{job.name}: there is no warm start '{name}'; known: {known}.")
    source = source_networks(job)
    if name == "source":
        if job.has_parent:
            raise UserError(
                f"{job.label}: the run has a parent, but its warm start is 'source'; remove the "
                "parent, or choose another warm start."
            )
        return Start(source.G, source.G_ema, opponent(source, job))
    parent = job.parent()
    if not isinstance(parent.generator, Generator):
        raise UserError(f"{job.name}: its parent holds no StyleGAN2 generator to train; choose another parent.")
    if name == "nada_finetuned_gd":
        if parent.raw is None or parent.discriminator is None:
            raise UserError(
                f"{job.name}: its parent keeps no discriminator; the warm start "
                "'nada_finetuned_gd' needs a run of finetune_gd."
            )
        return Start(parent.raw, parent.generator, parent.discriminator)
    # NADA returns one generator: it becomes both G and the initial average
    return Start(
        copy.deepcopy(parent.generator),
        parent.generator,
        opponent(source, job),
        name == "nada_catchup",
    )


def opponent(source: SourceModel, job: Job) -> Discriminator:
    """The source's D. Raises UserError if its file has none, such as that of an adapted generator."""
    return source.discriminator_for(f"{job.label}: adversarial training")
