"""Inversion of images by an encoder: one pass (pSp, e4e), or passes that refine the code (ReStyle).

The passes are those of utils/inference_utils.py and models/psp.py of yuval-alaluf/restyle-encoder.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nada.inversion.encoders import RGB, StyleEncoder
from nada.run.errors import UserError
from nada.stylegan2.generator import Generator, Noise

PASSES = 5  # of ReStyle (Alaluf et al. 2021; public option n_iters_per_batch)


class Inverter(nn.Module):
    """Images [N,C,S,S] -> codes w_plus [N,num_styles,style_dim].

        one pass:   w = w̄ + E(x)                                          (pSp, e4e)
        feedback:   w_0 = w̄,  w_{t+1} = w_t + E([x, G(w_t)]),  t < passes  (ReStyle)

    encoder: its in_channels are C, or C + 3 with feedback. latent_avg: w̄, [num_styles,style_dim].
    feedback: the current image G(w_t), resized to the encoder's size, is appended to x; the first is
    the image of w̄. passes: of inference and training with feedback; 1 without.
    """

    def __init__(
        self, encoder: StyleEncoder, latent_avg: Tensor, feedback: bool = False, passes: int | None = None
    ):
        super().__init__()
        expected = (encoder.num_styles, encoder.config["style_dim"])
        if tuple(latent_avg.shape) != expected:
            raise UserError(
                f"latent_avg: shape {list(latent_avg.shape)} given, but the encoder's codes have "
                f"{list(expected)}"
            )
        passes = (PASSES if feedback else 1) if passes is None else passes
        if passes < 1 or (passes > 1 and not feedback):
            raise UserError(
                f"passes: {passes} given, must be 1 or more, and 1 for an encoder without feedback"
            )
        if feedback and encoder.config["in_channels"] <= RGB:
            raise UserError(
                f"encoder: it has {encoder.config['in_channels']} input channels, but with feedback "
                f"it needs those of the image and {RGB} more"
            )
        self.encoder, self.feedback, self.passes = encoder, feedback, passes
        self.register_buffer("latent_avg", latent_avg.detach().float().clone())

    @property
    def in_channels(self) -> int:
        """Channels of the images that are inverted."""
        return self.encoder.config["in_channels"] - (RGB if self.feedback else 0)

    def check_generator(self, generator: Generator) -> None:
        """Raise UserError if a generator does not take this encoder's codes."""
        slots, style_dim = self.latent_avg.shape
        own = (generator.num_ws, generator.config["style_dim"])
        if own != (slots, style_dim):
            side = generator.config["resolution"]
            raise UserError(
                f"the encoder makes codes of {slots} slots x {style_dim} numbers, for images of "
                f"{2 ** (slots // 2 + 1)} pixels, but the generator of {side}x{side} pixels takes "
                f"{own[0]} x {own[1]}; choose the encoder of this generator"
            )

    def start(self, count: int) -> Tensor:
        """The first codes [count,num_styles,style_dim]: the mean of w."""
        return self.latent_avg.expand(count, -1, -1)

    def draw(
        self, generator: Generator, w_plus: Tensor, like: Tensor, mode: str = "const", noise: Noise = None
    ) -> Tensor:
        """Images of codes at the size of `like` [N,*,H,W], by adaptive average pooling: [N,3,H,W]."""
        side = self.encoder.input_size
        images = F.adaptive_avg_pool2d(generator.synthesis(w_plus, mode, noise), side)
        cut = (side - like.shape[2]) // 2  # rows above and below images of 3:4 (cars)
        return images[:, :, cut : side - cut]

    def refine(self, images: Tensor, w_plus: Tensor, drawn: Tensor | None) -> Tensor:
        """One pass: the codes w_plus plus what the encoder adds; `drawn`: their images, for feedback."""
        x = torch.cat([images, drawn], dim=1) if self.feedback else images
        return w_plus + self.encoder(x)

    def every_pass(self, images: Tensor, generator: Generator | None = None) -> list[Tensor]:
        """The codes after each pass; noise is constant. generator: needed with feedback only."""
        if generator is not None:
            self.check_generator(generator)
        elif self.feedback:
            raise UserError("inversion: an encoder with feedback needs its generator; give it")
        w_plus, found = self.start(len(images)), []
        for _ in range(self.passes):
            drawn = self.draw(generator, w_plus, images) if self.feedback else None
            w_plus = self.refine(images, w_plus, drawn)
            found.append(w_plus)
        return found

    def forward(self, images: Tensor, generator: Generator | None = None) -> Tensor:
        """The codes after the last pass."""
        return self.every_pass(images, generator)[-1]


def mix_styles(w_plus: Tensor, other: Tensor, start: int, share: float = 1.0) -> Tensor:
    """Codes whose slots from `start` are replaced by those of `other`: (1 - share) w + share other.

    For conditional synthesis: a mask or a drawing says nothing of colours, so that the fine slots come
    from a random w (Richardson et al. 2021; public README: slots 8-17 at 1024 pixels).
    w_plus, other: [N,num_styles,style_dim]. share in [0,1].
    """
    if w_plus.shape != other.shape or not 0 <= start <= w_plus.shape[1]:
        raise UserError(
            f"style mixing from slot {start}: codes of shapes {list(w_plus.shape)} and "
            f"{list(other.shape)} given; they must be equal, and the slot in 0..{w_plus.shape[1]}"
        )
    return torch.cat([w_plus[:, :start], w_plus[:, start:].lerp(other[:, start:], share)], dim=1)
