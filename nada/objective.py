"""NADA's targets, and the loss of a step over the CLIP ensemble (Gal et al. 2021, §4.1, Eqs. 1-3).

Every `hparams` is a NadaHyperparameters (nada/training.py, which imports this module).
"""

import dataclasses
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from nada.augment import Views, draw_views
from nada.clip.encoder import Clip, text_direction, text_embedding
from nada.clip.steering import Steering
from nada.codes import CHUNK, source_images
from nada.losses import directional_loss, ensemble, global_loss, image_direction
from nada.run.errors import UserError
from nada.run.micro_batch import Rows
from nada.run.streams import stream_seed
from nada.stylegan2.generator import Generator

OFFICIAL_SHIFT = 1e-6  # the public code adds it to every pixel if the whole ΔI is zero
#: The public code's prompt of the target text in Eq. 1, by what the embedding is used for.
OFFICIAL_PROMPTS = {"loss": "a {}", "choice": "{}", "mapper": "{}"}


class Seen(NamedTuple):
    """Unit embeddings of a step's images, [V·B,E] for each CLIP, ordered by view."""

    trained: list[Tensor]
    frozen: list[Tensor]  # without graph; empty if the loss does not need them

    def of_first(self, count: int, batch: int) -> list[Tensor]:
        """The embeddings of the first `count` of `batch` trained images, in every view."""
        if count == batch:
            return self.trained
        return [e.unflatten(0, (-1, batch))[:, :count].flatten(0, 1) for e in self.trained]


class AsTheyAre:
    """Views that leave the images as they are: the default."""

    def __call__(self, images: Tensor) -> Tensor:
        return images

    def rows(self, _: Rows) -> "AsTheyAre":
        return self


class NadaLoss:
    """The run's loss over its CLIP ensemble; embeddings of the target are computed once, at the start.

    steering: see nada/clip/steering.py. source: the source generator; an image direction starts at the
    mean embedding of its images.
    targets, choice_targets: each CLIP's unit embedding [E] of the target of Eq. 1, for the loss and for
    the layer choice. directions: each CLIP's unit direction [E] of Eq. 2.
    """

    def __init__(self, steering: Steering, hparams, source: Generator):
        self.hparams = hparams
        self.clips = steering.clips(hparams.clip_resize, hparams.clips)
        self.weights = [clip.weight for clip in self.clips]
        self.targets = target_embeddings(steering, self.clips, hparams, "loss")
        self.choice_targets = self.targets
        if aims_at_text(hparams) and hparams.global_prompt == "official":
            self.choice_targets = target_embeddings(steering, self.clips, hparams, "choice")
        # two draws of noise give different images unless every noise strength is 0
        strengths = torch.stack([conv.noise_strength for conv in source.synthesis.convs])
        differ = hparams.noise == "drawn" and bool((strengths != 0).any())
        self.may_coincide = hparams.guard == "official" and not differ
        self.directions = target_directions(steering, self.clips, hparams, source)

    def see(self, trained_images: Tensor, frozen_images: Tensor | None, views=None) -> Seen:
        """Unit embeddings of a step's images [B,3,R,R]; those of the trained images have a graph.

        views: applied to the images before CLIP; drawn here by default.
        """
        views = views or self.views(trained_images, len(trained_images))
        trained_views = views(trained_images)
        trained = [clip.encode_images(trained_views) for clip in self.clips]
        if frozen_images is None:
            return Seen(trained, [])
        with torch.no_grad():
            frozen_views = views(frozen_images)
            frozen = [clip.encode_images(frozen_views) for clip in self.clips]
        if self.may_coincide:
            pairs = zip(trained, frozen, strict=True)
            sums = torch.stack([(a - b).sum() for a, b in pairs]).tolist()
            for i, clip in enumerate(self.clips):
                if sums[i] == 0:
                    trained[i] = clip.encode_images(trained_views + OFFICIAL_SHIFT)
        return Seen(trained, frozen)

    def __call__(self, seen: Seen) -> dict[str, Tensor]:
        """{"loss", "image_change"} of a batch; image_change is the mean ‖ΔI‖ over CLIPs."""
        if self.hparams.loss == "global":
            return {"loss": self.global_term(seen.trained)}
        epsilon = self.hparams.epsilon if self.hparams.guard == "epsilon" else 0.0
        losses, changes = [], []
        for trained, frozen, direction in zip(*seen, self.directions, strict=True):
            losses.append(directional_loss(trained, frozen, direction, epsilon))
            changes.append((trained.detach() - frozen).norm(dim=-1).mean())
        return {
            "loss": ensemble(self.weights, losses),
            "image_change": torch.stack(changes).mean(),
        }

    def global_term(self, embeddings: list[Tensor]) -> Tensor:
        """Eq. 1 as a loss over the ensemble, a scalar; embeddings: unit, [N,E] for each CLIP."""
        return self._global_term(embeddings, self.targets)

    def choice_term(self, embeddings: list[Tensor]) -> Tensor:
        """Eq. 1 as in `global_term`, with the target of the layer choice."""
        return self._global_term(embeddings, self.choice_targets)

    def _global_term(self, embeddings: list[Tensor], targets: list[Tensor]) -> Tensor:
        pairs = zip(embeddings, targets, strict=True)
        return ensemble(self.weights, [global_loss(image, target) for image, target in pairs])

    def of_images(self, images: Tensor, rows: Rows | None = None) -> Tensor:
        """Eq. 1 of images [N,3,R,R], for a layer choice on separate codes; rows: see `Layers`."""
        views = self.views(images, rows.batch if rows else len(images))
        shown = (views.rows(rows) if rows else views)(images)
        return self.choice_term([clip.encode_images(shown) for clip in self.clips])

    def views(self, images: Tensor, batch: int) -> Views | AsTheyAre:
        """Views for `batch` images of this size; both generators' images get the same views."""
        if self.hparams.augment == "none":
            return AsTheyAre()
        return draw_views(images[:1].expand(batch, -1, -1, -1), self.hparams.augment_views)


def aims_at_text(hparams) -> bool:
    """Whether the target of Eq. 1 is the target's text; otherwise it is the target images."""
    return hparams.direction == "text" or hparams.global_target == "text"


def target_embeddings(
    steering: Steering, clips: list[Clip], hparams, use: str
) -> list[Tensor]:
    """Each CLIP's unit embedding [E] of the target of Eq. 1.

    It is the embedding of the target text in the prompts of `global_prompt`, or the mean over the
    target images. use: the purpose of the embedding, a key of OFFICIAL_PROMPTS.
    """
    if not aims_at_text(hparams):
        images = target_images(steering)
        means = [encode_targets(clip, images).mean(dim=0) for clip in clips]
        return [F.normalize(mean, dim=-1) for mean in means]
    official = hparams.global_prompt == "official"
    templates = [OFFICIAL_PROMPTS[use]] if official else steering.templates()
    return [text_embedding(clip, steering.texts()[1], templates) for clip in clips]


def target_directions(
    steering: Steering, clips: list[Clip], hparams, source: Generator
) -> list[Tensor]:
    """Each CLIP's unit direction [E] from the source to the target: ΔT (§4.1) or ΔI_real (Eq. 3)."""
    if hparams.direction == "text":
        source_text, target_text = steering.texts()
        templates = steering.templates()
        return [text_direction(clip, source_text, target_text, templates) for clip in clips]
    images = target_images(steering)
    drawn = source_images(source, hparams.source_images, stream_seed("source images", steering.name))
    return [image_direction(encode_targets(clip, images), encode(clip, drawn)) for clip in clips]


def target_images(steering: Steering) -> Tensor:
    """The run's few-shot images [n,3,R,R]. Raises UserError if it has none."""
    if steering.shots < 1:
        raise UserError(
            f"{steering.label}: hyperparameters.direction is 'image', but the run has no target images "
            f"(shots is {steering.shots}); set shots to 1 or more, or direction to 'text'."
        )
    return steering.few_shot_images()


@torch.no_grad()
def encode(clip: Clip, images: Tensor) -> Tensor:
    """Unit embeddings [N,E] of any number of images [N,3,R,R], without graph."""
    return torch.cat([clip.encode_images(part) for part in images.split(CHUNK)])


@torch.no_grad()
def encode_targets(clip: Clip, images: Tensor) -> Tensor:
    """As `encode`, for target images: the public code always resizes them with antialias."""
    prepare = dataclasses.replace(clip, resize="antialias").preprocess
    raw = [clip.embed_images(part, prepare) for part in images.split(CHUNK)]
    return F.normalize(torch.cat(raw), dim=-1)
