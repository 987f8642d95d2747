"""The learning rate of StyleGAN2's projector, which StyleCLIP's latent optimisation has too."""

import math

RAMP_UP, RAMP_DOWN = 0.05, 0.25  # shares of the steps (projector.py of NVlabs/stylegan2-ada-pytorch)


def ramped_rate(step: int, steps: int, peak: float) -> float:
    """The rate of a step, counted from 0: linear over the first 5 %, a cosine to 0 over the last 25 %.

        t = step / steps
        lr = peak · (½ − ½ cos(π min(1, (1 − t) / 0.25))) · min(1, t / 0.05)

    The first step has rate 0.
    """
    t = step / steps
    falling = 0.5 - 0.5 * math.cos(math.pi * min(1.0, (1 - t) / RAMP_DOWN))
    return peak * falling * min(1.0, t / RAMP_UP)
