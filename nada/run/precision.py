"""How numbers are computed, on every device: half precision, TF32, repeatable algorithms.

'fp32' is float32 throughout. 'mixed' renders the generator's highest resolutions in half precision,
as Karras et al. 2020 ("Training GANs with Limited Data", appendix) train theirs; the image is
summed in float32, and CLIP, D, every loss, every weight and the optimiser stay there: ΔI is a small
difference of embeddings, R1 and path length are derivatives of derivatives. On a CPU 'mixed' has an
effect too, with the roundings of a GPU, so that tests see them; it saves no time there.
"""

import contextlib
import os
from typing import Literal

import torch
from torch import nn

Precision = Literal["fp32", "mixed"]
FUSED_ATTENTION = (
    torch.backends.cuda.enable_flash_sdp,
    torch.backends.cuda.enable_mem_efficient_sdp,
    torch.backends.cuda.enable_cudnn_sdp,
)
WORKSPACE = ":4096:8"  # cuBLAS needs a fixed workspace to add up in the same order every time


# Not float16, though it has three bits more: in the mini world's first 120 steps the gradient's cosine
# with float32's is 0.994 or more in bfloat16, 0.9998 in float16. But gradients there span 460, at one
# parameter, to 0.003 at a pixel of 32 x 32; at 1024 x 1024 a pixel's is some thirty times smaller, near
# float16's end, and a factor of 256 to lift it made the largest infinite. bfloat16 needs no factor.
HALF_DTYPE = torch.bfloat16


def set_precision(generator: nn.Module, precision: Precision) -> None:
    """Let a generator render in this precision; its weights stay float32."""
    generator.synthesis.half = HALF_DTYPE if precision == "mixed" else None


@contextlib.contextmanager
def full_precision(generator: nn.Module):
    """Render in float32 for a while, whatever `set_precision` said."""
    before = generator.synthesis.half
    generator.synthesis.half = None
    try:
        yield
    finally:
        generator.synthesis.half = before


def set_numerics(device: torch.device, tf32: bool = False, deterministic: bool = True) -> None:
    """Choose a GPU's kernels for this process; a CPU has one kind.

    tf32: matrix products and convolutions of float32 numbers may round them to 10 bits; never where
    a metric is measured. deterministic: the same bytes from the same run, by fixed algorithms
    (without: the fastest are searched in the first steps). CLIP's attention is then computed as it
    is written, since every fused kernel adds its gradients up in any order, and CLIP's resize as a
    product of matrices (nada/images/resize.py). A kernel that has no such form warns and runs: those of
    ADA's and the views' warp. To be called before the first matrix product: cuBLAS reads its
    workspace once.
    """
    if device.type != "cuda":
        return
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    torch.backends.cudnn.deterministic = deterministic
    torch.backends.cudnn.benchmark = not deterministic
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", WORKSPACE)
    torch.use_deterministic_algorithms(deterministic, warn_only=True)
    for fused in FUSED_ATTENTION:  # repeatable only where a warning would be an error
        fused(not deterministic)
    torch.utils.deterministic.fill_uninitialized_memory = False  # nothing here reads any
