"""Ranger, the optimiser of StyleCLIP's mapper: rectified Adam, centred gradients and slow weights.

RAdam: Liu et al. 2020 (torch's own). Gradient centralisation: Yong et al. 2020. Lookahead: Zhang et
al. 2019. Combined with the constants of the public code.
"""

import torch

EPS = 1e-5
SLOW_EVERY = 6  # steps between two updates of the slow weights
SLOW_SHARE = 0.5  # of the way from the slow weights to the fast ones


class Ranger(torch.optim.RAdam):
    """RAdam on centred gradients, with slow weights (Lookahead).

    The mean over all dimensions but the first is subtracted from each gradient; gradients of vectors
    stay as they are. After every sixth step the weights become the mean of themselves and of the
    weights six steps before.
    """

    def __init__(self, parameters, lr: float, betas: tuple[float, float]):
        super().__init__(parameters, lr=lr, betas=betas, eps=EPS)

    @torch.no_grad()
    def step(self, closure=None):
        """Take one step. Centres the gradients of the parameters in place."""
        trained = [p for g in self.param_groups for p in g["params"] if p.grad is not None]
        starts = {p: p.clone() for p in trained if not self.state[p]}
        for parameter in trained:
            if parameter.dim() > 1:
                rest = tuple(range(1, parameter.dim()))
                parameter.grad -= parameter.grad.mean(dim=rest, keepdim=True)
        loss = super().step(closure)
        for parameter in trained:
            state = self.state[parameter]
            if parameter in starts:
                state["slow"] = starts[parameter]
            if state["step"] % SLOW_EVERY == 0:
                state["slow"].lerp_(parameter, SLOW_SHARE)
                parameter.copy_(state["slow"])
        return loss
