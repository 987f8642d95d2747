"""Numerical precision on every device: half precision, TF32, repeatable algorithms.

'fp32' is float32 throughout. 'mixed' renders the generator's highest resolutions in half precision,
as in Karras et al. 2020 ("Training GANs with Limited Data", appendix). The image is summed in
float32. CLIP, D, every loss, every weight and the optimiser stay in float32: ΔI is a small difference
of embeddings, and R1 and path length are second derivatives. 'mixed' also works on a CPU, with the
rounding of a GPU, for tests; it saves no time there.
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
WORKSPACE = ":4096:8"  # with a fixed workspace, cuBLAS adds in the same order every time


# bfloat16, although float16 has three bits more. In the mini world's first 120 steps, the cosine of the
# gradient with float32's is 0.994 or more in bfloat16 and 0.9998 in float16. But gradients range from 460
# at one parameter to 0.003 at a pixel of 32 x 32. At 1024 x 1024 a pixel's gradient is about thirty times
# smaller, near float16's limit; a loss scale of 256 made the largest infinite. bfloat16 needs no scale.
HALF_DTYPE = torch.bfloat16


def set_precision(generator: nn.Module, precision: Precision) -> None:
    """Set the precision in which a generator renders; its weights stay float32."""
    generator.synthesis.half = HALF_DTYPE if precision == "mixed" else None


@contextlib.contextmanager
def full_precision(generator: nn.Module):
    """Context: render in float32, whatever `set_precision` chose."""
    before = generator.synthesis.half
    generator.synthesis.half = None
    try:
        yield
    finally:
        generator.synthesis.half = before


def set_numerics(device: torch.device, tf32: bool = False, deterministic: bool = True) -> None:
    """Choose a GPU's kernels for this process; no effect on a CPU.

    tf32: matrix products and convolutions may round float32 numbers to 10 bits; never used for
    metrics. deterministic: equal runs give equal bytes, by fixed algorithms; otherwise the fastest
    algorithms are searched in the first steps. Deterministic runs compute CLIP's attention without
    fused kernels, which add gradients in varying order, and CLIP's resize as a product of matrices
    (nada/images/resize.py). Kernels without a deterministic form (the warps of ADA and of the views)
    run with a warning. Call this before the first matrix product: cuBLAS reads its workspace once.
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
    torch.utils.deterministic.fill_uninitialized_memory = False  # nothing here reads such memory
