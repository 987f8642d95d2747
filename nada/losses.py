"""The losses of StyleGAN-NADA on CLIP embeddings (Gal et al. 2021, Eq. 1, 2, 3 and 5).

Eq. 1-3 take unit embeddings: the paper's equations omit the normalisation that its code applies
before every difference. Eq. 5 takes raw ones.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def global_loss(image: Tensor, text: Tensor) -> Tensor:
    """Eq. 1, the CLIP-space cosine distance of generated images to the target's text.

        L_global = mean_b(1 − e_I,b · e_T)

    image: unit embeddings [B,E]; text: unit embedding [E] (with image targets, that of the images).
    Scalar in [0,2].
    """
    return (1 - image @ text).mean()


def directional_loss(
    trained: Tensor, frozen: Tensor, text_direction: Tensor, epsilon: float
) -> Tensor:
    """Eq. 2, with a guard for equal images of both generators (ΔI = 0).

        ΔI_b = e_I(G_train(w_b)) − e_I(G_frozen(w_b))
        cos_b = ΔI_b · ΔT / √(‖ΔI_b‖² + ε²)
        L_direction = mean_b(1 − cos_b)

    trained, frozen: unit embeddings [B,E]; text_direction: unit ΔT [E]; epsilon: ε ≥ 0, in units of
    embedding differences. The guard bounds the gradient by 1/ε. Without it, gradients of the first
    steps grow as 1/‖ΔI‖ and stay in Adam's second moment for many steps.
    0 is Eq. 2 to the letter. A sample with ΔI = 0 has no direction then: its cosine is 0 and its
    gradient 0, where the public code divides 0 by 0. Scalar in [0,2].
    """
    image_direction = trained - frozen  # [B,E]
    squared = image_direction.square().sum(dim=-1) + epsilon**2  # [B]
    moves = squared != 0  # also true for NaN, so that NaN reaches the loss
    length = torch.where(moves, squared, 1).sqrt()
    cosine = torch.where(moves, image_direction @ text_direction / length, 0)  # [B]
    return (1 - cosine).mean()


def image_direction(target: Tensor, source: Tensor) -> Tensor:
    """ΔI_real of Eq. 3, the direction from the source model's images to the target's images.

        ΔI_real = normalise(mean_i e_I(I_i) − mean_j e_I(G_frozen(w_j)))

    target: unit embeddings [N_r,E] of the target images; source: [N_s,E] of sampled ones (paper:
    N_s = 16). Returns a unit direction [E]; Eq. 3 is Eq. 2 with it in place of ΔT.
    """
    return F.normalize(target.mean(dim=0) - source.mean(dim=0), dim=-1)


def embedding_distance_loss(base: Tensor, mapped: Tensor) -> Tensor:
    """Eq. 5 as printed: squared distance of the embeddings before and after the mapper.

        L_norm = mean_b ‖E_I(G(w_b)) − E_I(G(M(w_b)))‖²

    base, mapped: raw embeddings [B,E], not normalised, because Eq. 5 restrains their norms.
    Scalar ≥ 0.
    """
    return (base - mapped).square().sum(dim=-1).mean()


def embedding_norm_loss(base: Tensor, mapped: Tensor) -> Tensor:
    """Eq. 5 as the public code computes it: squared difference of the embeddings' norms.

        L_norm = mean_b (‖E_I(G(w_b))‖ − ‖E_I(G(M(w_b)))‖)²

    base, mapped: raw embeddings [B,E], not normalised. Scalar ≥ 0.
    """
    return (base.norm(dim=-1) - mapped.norm(dim=-1)).square().mean()


def ensemble(weights: list[float], losses: list[Tensor]) -> Tensor:
    """Σ_m weight_m · loss_m over the CLIP models (Gal et al. 2021, App. I; a sum in the public code)."""
    terms = [weight * loss for weight, loss in zip(weights, losses, strict=True)]
    return torch.stack(terms).sum()
