"""StyleFlow: edits by a continuous normalising flow that knows the attributes (Abdal et al. 2021, §4-5).

The flow maps w to z ~ N(0, I), given the attributes a of w's picture:

    dy/dt = f(y, t, a),  y(0) = w,  y(T) = z        log p(w | a) = log N(z) + ∫ tr(∂f/∂y) dt

(FFJORD; Grathwohl et al. 2019). z should hold what a does not say. So an edit replaces a by a' and
goes back: w' = flow⁻¹(flow(w, a), a'). Names of tensors are those of the public code
(RameenAbdal/StyleFlow, module/*.py), so that its checkpoint loads.
"""

import copy
import math
from collections.abc import Callable
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torchdiffeq import odeint, odeint_adjoint

from nada.editing.slots import replace_slots
from nada.run.errors import UserError
from nada.run.finite import check_finite
from nada.run.hyperparameters import Whole, hyperparameter, hyperparameters
from nada.stylegan2.readers.unpickle import read_state_dict

NORM_EPS, NORM_DECAY = 1e-4, 0.1  # of the moving batch norm (public code)
SOLVER = "dopri5"  # public code
# Of the solver: outside of training, and in edits, which also compute in double precision. The public code
# has 1e-5 everywhere, with which codes come back with errors up to 1e-3 (measured on random flows).
TOLERANCE, EDIT_TOLERANCE = 1e-6, 1e-7
LOG_2PI = math.log(2 * math.pi)

#: The public checkpoint's attributes are nine spherical harmonics of the light, then these.
LIGHTS = 9
PUBLIC_ATTRIBUTES = ("gender", "glasses", "yaw", "pitch", "baldness", "beard", "age", "expression")
#: W+ slots that an edit changes, by attribute; the others keep their codes (public main_attribute.py).
EDITED_SLOTS = {
    "light": range(7, 12), "gender": range(8), "glasses": range(2, 4), "yaw": range(4), "pitch": range(4),
    "baldness": range(6), "beard": range(5, 10), "age": range(4, 8), "expression": range(4, 6),
}  # fmt: skip

Divergence = Literal["exact", "hutchinson"]


@hyperparameters
class StyleFlowHyperparameters:
    """The flow and its training. Defaults: the public code's."""

    width: Whole = hyperparameter(512, "Features of a hidden layer of f.", source="StyleFlow", ge=1)
    depth: Whole = hyperparameter(5, "Hidden layers of f.", source="StyleFlow", ge=1)
    blocks: Whole = hyperparameter(
        1, "Flows in a row, with a moving batch norm before, between and after them.", source="StyleFlow", ge=1
    )
    iterations: Whole = hyperparameter(
        6000, "Training steps.", unit="steps", source="StyleFlow: 3 epochs of 10 000 codes", ge=1
    )
    batch: Whole = hyperparameter(5, "Codes of a step.", unit="codes", source="StyleFlow", ge=2)
    lr: float = hyperparameter(0.001, "Adam's learning rate.", source="StyleFlow", gt=0)
    tolerance: float = hyperparameter(
        1e-5, "Absolute and relative tolerance of the solver in training.", source="StyleFlow", gt=0
    )
    divergence: Divergence = hyperparameter(
        "hutchinson", "The trace in the likelihood: one random probe for each code and step, or each entry of "
        "the diagonal, which costs as many backward passes as w has features.", source="StyleFlow; ours: exact",
    )
    adjoint: bool = hyperparameter(
        True, "Gradients by a second integration, which needs less memory; or through the solver's steps.",
        source="StyleFlow",
    )


# The network --------------------------------------------------------------------------------------


class ConcatSquash(nn.Module):
    """A linear layer steered by time and attributes: x [N,in], c [N,1+A] -> [N,out].

        (W x + b) · sigmoid(G c + g) + H c
    """

    def __init__(self, before: int, after: int, context: int):
        super().__init__()
        self._layer = nn.Linear(before, after)
        self._hyper_bias = nn.Linear(1 + context, after, bias=False)
        self._hyper_gate = nn.Linear(1 + context, after)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        return self._layer(x) * torch.sigmoid(self._hyper_gate(c)) + self._hyper_bias(c)


class VectorField(nn.Module):
    """f(y, t, a): y [N,D], t scalar, a [N,A] -> dy/dt [N,D]; tanh between the layers."""

    def __init__(self, dim: int, hidden: list[int], context: int):
        super().__init__()
        widths = [dim, *hidden, dim]
        self.layers = nn.ModuleList(
            ConcatSquash(before, after, context) for before, after in pairwise(widths)
        )

    def forward(self, y: Tensor, t: Tensor, attributes: Tensor) -> Tensor:
        c = torch.cat([t.to(y).expand(len(y), 1), attributes], dim=1)
        for i, layer in enumerate(self.layers):
            y = layer(torch.tanh(y) if i else y, c)
        return y


class ContinuousFlow(nn.Module):
    """The flow of one vector field over the trained time T = sqrt_end_time²."""

    def __init__(self, dim: int, hidden: list[int], context: int):
        super().__init__()
        self.sqrt_end_time = nn.Parameter(torch.ones(()))
        self.odefunc = nn.ModuleDict({"diffeq": VectorField(dim, hidden, context)})

    def forward(
        self,
        y: Tensor,
        attributes: Tensor,
        log_det: Tensor | None,
        solver: "Solver",
        reverse: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """(y, log_det + log|∂y(T)/∂y(0)|) from y [N,D] and log_det [N]; from T to 0 with `reverse`.

        log_det None: it is not computed.
        """
        field = self.odefunc["diffeq"]
        probe = None if log_det is None else solver.probe(y)

        def change(t: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            if log_det is None:
                return (field(state[0], t, attributes),)
            return _with_divergence(field, t, state[0], attributes, probe)

        times = torch.stack([torch.zeros_like(self.sqrt_end_time), self.sqrt_end_time.square()]).to(y)
        state = (y,) if log_det is None else (y, log_det)
        solved = solver(change, state, times.flip(0) if reverse else times, tuple(field.parameters()))
        return solved[0], None if log_det is None else solved[1]


class MovingBatchNorm(nn.Module):
    """y = (x − μ) / √(σ² + 1e-4) · exp(weight) + bias, with running μ [D] and σ² [D].

    Training normalises by the running statistics too, before it moves them a tenth of the way to the
    batch's (public code: bn_lag = 0), so that the layer can be inverted.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(dim))
        self.bias = nn.Parameter(torch.zeros(dim))
        self.register_buffer("step", torch.zeros(1))
        self.register_buffer("running_mean", torch.zeros(dim))
        self.register_buffer("running_var", torch.ones(dim))

    def forward(
        self, x: Tensor, log_det: Tensor | None, reverse: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        mean, var = self.running_mean.clone(), self.running_var.clone()
        log_scale = self.weight - 0.5 * (var + NORM_EPS).log()  # [D]
        if reverse:
            y = (x - self.bias) * (-log_scale).exp() + mean
        else:
            if self.training:
                self._follow(x.detach())
            y = (x - mean) * log_scale.exp() + self.bias
        if log_det is not None:
            log_det = log_det + (-1 if reverse else 1) * log_scale.sum()
        return y, log_det

    def _follow(self, x: Tensor) -> None:
        self.running_mean.lerp_(x.mean(dim=0), NORM_DECAY)
        self.running_var.lerp_(x.var(dim=0), NORM_DECAY)
        self.step += 1


class Solver:
    """How the flow is integrated and how its divergence is computed.

    tolerance: absolute and relative. adjoint: see StyleFlowHyperparameters. divergence: 'exact', or
    'hutchinson' with Gaussian probes from `stream` (torch's global stream if None).
    """

    def __init__(
        self,
        tolerance: float = TOLERANCE,
        divergence: Divergence = "exact",
        adjoint: bool = False,
        stream: torch.Generator | None = None,
    ):
        self.tolerance, self.divergence = tolerance, divergence
        self.adjoint, self.stream = adjoint, stream

    def __call__(self, change, state: tuple, times: Tensor, parameters: tuple) -> tuple:
        """The state at the last of two times."""
        options = {"atol": self.tolerance, "rtol": self.tolerance, "method": SOLVER}
        if self.adjoint and torch.is_grad_enabled():
            solved = odeint_adjoint(change, state, times, adjoint_params=parameters, **options)
        else:
            solved = odeint(change, state, times, **options)
        return tuple(part[-1] for part in solved)

    def probe(self, y: Tensor) -> Tensor | None:
        """Hutchinson's probe for y [N,D], the same during one integration; None for the exact trace."""
        if self.divergence == "exact":
            return None
        device = self.stream.device if self.stream else y.device
        return torch.randn(y.shape, generator=self.stream, dtype=y.dtype, device=device).to(y.device)


def _with_divergence(
    field: VectorField, t: Tensor, y: Tensor, attributes: Tensor, probe: Tensor | None
) -> tuple[Tensor, Tensor]:
    """f [N,D] and its divergence [N]: tr ∂f/∂y, or its estimate eᵀ (∂f/∂y) e for a probe e [N,D]."""
    wanted = torch.is_grad_enabled()
    with torch.enable_grad():
        if not (wanted and y.requires_grad):
            y = y.detach().requires_grad_(True)
        change = field(y, t, attributes)
        if probe is not None:
            (product,) = torch.autograd.grad(change, y, probe, create_graph=wanted, retain_graph=True)
            divergence = (product * probe).sum(dim=1)
        else:
            diagonal = []
            for i in range(y.shape[1]):
                (row,) = torch.autograd.grad(
                    change[:, i].sum(), y, create_graph=wanted, retain_graph=True
                )
                diagonal.append(row[:, i])
            divergence = torch.stack(diagonal, dim=1).sum(dim=1)
    return (change, divergence) if wanted else (change.detach(), divergence.detach())


class StyleFlow(nn.Module):
    """The conditional flow between w [N,D] and z [N,D], given attributes [N,A].

    dim: D. context: A. hidden: widths of f. blocks: flows, with batch norms around each. Every method
    also takes W+ codes [N,L,D]: each slot is a code of its own with the attributes of its row. Use it
    in eval mode but for training: in training mode `encode` and `log_prob` move the batch norms. In
    single precision `decode` inverts `encode` to about 1e-3, in double precision to 1e-4 and better.
    """

    def __init__(self, dim: int, context: int, hidden: list[int], blocks: int = 1):
        super().__init__()
        self.config = {"dim": dim, "context": context, "hidden": list(hidden), "blocks": blocks}
        chain = [MovingBatchNorm(dim)]
        for _ in range(blocks):
            chain += [ContinuousFlow(dim, list(hidden), context), MovingBatchNorm(dim)]
        self.chain = nn.ModuleList(chain)

    def encode(self, w: Tensor, attributes: Tensor, solver: Solver | None = None) -> Tensor:
        """z of w, of the same shape."""
        rows, context = self._rows(w, attributes)
        return self._through(rows, context, None, solver or Solver(), False)[0].reshape(w.shape)

    def decode(self, z: Tensor, attributes: Tensor, solver: Solver | None = None) -> Tensor:
        """w of z, of the same shape: the inverse of `encode`."""
        rows, context = self._rows(z, attributes)
        return self._through(rows, context, None, solver or Solver(), True)[0].reshape(z.shape)

    def log_prob(self, w: Tensor, attributes: Tensor, solver: Solver | None = None) -> Tensor:
        """log p(w | a) in nats: [N] for w [N,D], [N,L] for W+ codes."""
        rows, context = self._rows(w, attributes)
        z, log_det = self._through(
            rows, context, rows.new_zeros(len(rows)), solver or Solver(), False
        )
        log_normal = -0.5 * (z.square() + LOG_2PI).sum(dim=1)
        return (log_normal + log_det).reshape(w.shape[:-1])

    def _through(self, y, context, log_det, solver, reverse) -> tuple[Tensor, Tensor | None]:
        for part in reversed(self.chain) if reverse else self.chain:
            if isinstance(part, MovingBatchNorm):
                y, log_det = part(y, log_det, reverse)
            else:
                y, log_det = part(y, context, log_det, solver, reverse)
        return y, log_det

    def _rows(self, codes: Tensor, attributes: Tensor) -> tuple[Tensor, Tensor]:
        """Codes and attributes as rows, [N·L,D] and [N·L,A]. Raises UserError for shapes that do not fit."""
        dim, context = self.config["dim"], self.config["context"]
        fits = codes.ndim in (2, 3) and codes.shape[-1] == dim
        if not fits or attributes.shape != (len(codes), context):
            raise UserError(
                f"StyleFlow: codes {list(codes.shape)} and attributes {list(attributes.shape)} given, but this "
                f"flow takes [N,{dim}] or [N,L,{dim}], and [N,{context}]."
            )
        slots = codes.shape[1] if codes.ndim == 3 else 1
        return codes.reshape(-1, dim), attributes.to(codes).repeat_interleave(slots, dim=0)


# Training -----------------------------------------------------------------------------------------


def train_styleflow(
    w: Tensor,
    attributes: Tensor,
    hparams: StyleFlowHyperparameters | None = None,
    seed: int = 0,
    on_step: Callable[[int, float], None] | None = None,
) -> StyleFlow:
    """Train a flow by maximum likelihood: the loss is −mean log p(w | a). Returns it in eval mode.

    w: codes [N,D] of a source generator. attributes: [N,A] of their pictures; the public code gives
    them as its classifiers do, without scaling. seed: of the initial weights, the order of the codes
    and Hutchinson's probes; torch's global stream stays as it is. on_step: called with the step's
    number, from 1, and its loss.
    Raises UserError for shapes that do not fit, numbers or a loss that are not finite, and fewer codes
    than a batch.
    """
    hparams = hparams or StyleFlowHyperparameters()
    if w.ndim != 2 or attributes.ndim != 2 or len(w) != len(attributes):
        raise UserError(
            f"StyleFlow: codes {list(w.shape)} and attributes {list(attributes.shape)} given; they must be "
            "[N,D] and [N,A]."
        )
    check_finite("StyleFlow", {"codes": w, "attributes": attributes}, "measure them again")
    if len(w) < hparams.batch:
        raise UserError(
            f"StyleFlow: {len(w)} codes given, fewer than a batch of {hparams.batch}; give more codes."
        )
    with torch.random.fork_rng(devices=[w.device] if w.is_cuda else []):
        torch.manual_seed(seed)
        flow = StyleFlow(
            w.shape[1], attributes.shape[1], [hparams.width] * hparams.depth, hparams.blocks
        )
    flow = flow.to(w).train()
    stream = torch.Generator().manual_seed(seed)
    solver = Solver(hparams.tolerance, hparams.divergence, hparams.adjoint, stream)
    optimiser = torch.optim.Adam(flow.parameters(), lr=hparams.lr)
    order = torch.empty(0, dtype=torch.long)
    for step in range(1, hparams.iterations + 1):
        if len(order) < hparams.batch:  # a new epoch; what is left of the old one is dropped
            order = torch.randperm(len(w), generator=stream)
        batch, order = order[: hparams.batch].to(w.device), order[hparams.batch :]
        loss = -flow.log_prob(w[batch], attributes[batch], solver).mean()
        if not loss.isfinite():
            raise UserError(
                f"StyleFlow: the loss is not finite at step {step}; lower lr, which is {hparams.lr:g}."
            )
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        if on_step:
            on_step(step, loss.item())
    return flow.eval()


# Editing ------------------------------------------------------------------------------------------


def edited_slots(attribute: str, num_ws: int) -> range:
    """The W+ slots of an attribute's edit in a generator of `num_ws` slots, by the public ranges.

    A slot has the same resolution in generators of all sizes. Raises UserError for an attribute without
    a range, and for a range beyond the generator's slots.
    """
    if attribute not in EDITED_SLOTS:
        raise UserError(
            f"StyleFlow: no slots are known for the attribute '{attribute}'; the public code has them for "
            f"{', '.join(EDITED_SLOTS)}. Name the slots, or edit all."
        )
    slots = EDITED_SLOTS[attribute]
    slots = range(slots.start, min(slots.stop, num_ws))
    if not slots:
        raise UserError(
            f"StyleFlow: '{attribute}' edits the slots from {slots.start}, but this generator has {num_ws}."
        )
    return slots


@torch.no_grad()
def change_attributes(
    flow: StyleFlow,
    w_plus: Tensor,
    attributes: Tensor,
    changed: Tensor,
    slots: range | None = None,
) -> Tensor:
    """W+ codes [N,L,D] with the attributes [N,A] of their pictures replaced by `changed` [N,A].

        w' = flow⁻¹(flow(w, a), a')

    slots: the slots that move; None: all. With changed = attributes the codes come back (to 1e-4).
    Edits follow one another: the next one starts from w' and a'. The flow runs in double precision,
    since a flow that expands space also expands the rounding of z.
    """
    exact, solver = copy.deepcopy(flow).double().eval(), Solver(EDIT_TOLERANCE)
    z = exact.encode(w_plus.double(), attributes, solver)
    moved = exact.decode(z, changed, solver).to(w_plus)
    return replace_slots(w_plus, moved, slots, "StyleFlow")


# Files --------------------------------------------------------------------------------------------


def load_styleflow(path) -> StyleFlow:
    """Read a flow from a safetensors file or the public .pt file, as plain data; float32, eval mode.

    The architecture follows from the tensors. The public file's counters of function evaluations
    (`odefunc._num_evals`) are left out. Raises UserError for a file that is no StyleFlow, and for
    tensors that do not fit together or are not finite.
    """
    tensors = {
        name: tensor.float()
        for name, tensor in read_state_dict(path).items()
        if not name.endswith("._num_evals")
    }
    check_finite(path, tensors)
    try:
        with torch.device("meta"):  # neither memory nor random numbers before the tensors fit
            flow = StyleFlow(**_architecture(tensors))
        flow.load_state_dict(tensors, strict=True, assign=True)
    except (LookupError, ValueError, TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path}: holds no StyleFlow, or not all of one: {reason}") from None
    return flow.eval().requires_grad_(False)


def _architecture(tensors: dict[str, Tensor]) -> dict:
    """The arguments of StyleFlow that the shapes of its tensors imply."""
    blocks = sum(name.endswith(".sqrt_end_time") for name in tensors)
    first = "chain.1.odefunc.diffeq.layers."
    names = [name for name in tensors if name.startswith(first) and name.endswith("._layer.weight")]
    widths = [len(tensors[f"{first}{i}._layer.weight"]) for i in range(len(names))]
    context = tensors[f"{first}0._hyper_gate.weight"].shape[1] - 1
    return {"dim": widths[-1], "context": context, "hidden": widths[:-1], "blocks": blocks}
