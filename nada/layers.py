"""Which layers are trained: all, a fixed set, or the k most relevant at each step (Gal et al. 2021, §4.2).

A layer is a styled convolution, counted from 0 at 4x4: its weight, bias and noise strength. The
mapping network and every toRGB stay frozen, and so do the affine layers that turn w into styles.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from nada.run.errors import UserError
from nada.run.hyperparameters import Natural, Unique, Whole, hyperparameter, hyperparameters
from nada.run.micro_batch import Draws, NoiseRows, split
from nada.stylegan2.generator import Generator

# The manual sets of the public code, as convolutions counted from 0; each trains the constant too.
PHASES = {
    "texture": (0, *range(3, 11)),
    "shape": (0, 1, 2),
    "shape_expanded": (0, 1, 2, 3),
    "no_fine": tuple(range(11)),
}
SELECTION_LR = 0.01  # SGD on the codes, public code; with one step it changes no ranking
FIRST_RGB = "to_rgb"  # the layer of slot 1 in the official slot map, in place of a convolution


@hyperparameters
class LayerHyperparameters:
    """How layers are chosen (§4.2). Defaults: the paper's or, where it is silent, the public code's."""

    policy: Literal["all", "manual", "adaptive"] = hyperparameter(
        "all", "Which layers train: all, a manual list, or k of them chosen at each step.",
        source="paper",
    )
    manual: Unique[Natural] | Literal["texture", "shape", "shape_expanded", "no_fine"] = hyperparameter(
        "shape", "The layers of policy 'manual': convolutions counted from 0 (4x4), or a named set.",
        source="public code",
    )
    k: Whole = hyperparameter(
        3, "Layers chosen at each step. The paper counts slots: its k = 18 at 1024 px means all layers.",
        unit="layers", source="ours", ge=1,
    )
    n_w: Whole = hyperparameter(8, "N_w, codes that choose.", unit="codes", source="paper", ge=1)
    n_i: Whole = hyperparameter(
        1, "N_i, optimisation steps on the codes that choose.", unit="steps", source="paper", ge=1
    )
    selection_codes: Literal["drawn", "shared"] = hyperparameter(
        "drawn", "drawn: all n_w codes are new. shared: the step's own batch chooses, and only the codes that "
        "n_w needs beyond it are drawn; one forward pass then serves Eq. 1 and the loss (`Layers.shares`).",
        source="paper and public code; ours: shared",
    )
    micro_batch: Whole = hyperparameter(
        0, "Most separately drawn codes rendered at once; 0 for all. The run's micro_batch limits them too. "
        "Saves memory; draws and mean are the same.", unit="codes", source="ours", ge=0,
    )
    map: Literal["aligned", "official"] = hyperparameter(
        "aligned", "Slot i trains convolution i, or the layer before it.", source="paper; official: off by one"
    )
    score: Literal["gradient", "official"] = hyperparameter(
        "gradient", "For n_i = 1: the mean absolute gradient, which gives the same ranking as the paper's change "
        "of the code; or the float32 change itself, which loses small gradients to rounding.",
        source="paper; official: the change after one step",
    )
    affine: Literal["frozen", "official"] = hyperparameter(
        "frozen", "Affine layers stay frozen, or train with their convolution.",
        source="paper; official: trained",
    )
    constant: Literal["with_conv_0", "official"] = hyperparameter(
        "with_conv_0", "The learned 4x4 constant trains with convolution 0, or only if all layers or a "
        "named manual set train.", source="paper; official: the second",
    )
    saturated: Literal["all", "select"] = hyperparameter(
        "all", "If k is the number of convolutions or more, all of them train without a choice, or a choice is "
        "made even then.", source="paper; official: select",
    )


class Layers:
    """The layer policy of one run: `choose()` returns the layers that the next step trains.

    generator: G_train. target_loss(images [N,3,R,R]) -> scalar: Eq. 1, a mean over the images, from
    which the adaptive policy computes its scores; for a part of a batch it also receives the part's
    nada.run.micro_batch.Rows. run: the start of error messages.
    Raises UserError for a k or an index that the generator does not have.
    """

    def __init__(
        self,
        generator: Generator,
        hparams: LayerHyperparameters,
        target_loss: Callable[..., Tensor],
        run: str,
    ):
        self.generator = generator
        self.hparams = hparams
        self.target_loss = target_loss
        self.fixed = self._fixed_choice(run)
        self.slot_layers = slot_layers(generator, hparams.map)
        self.named = dict(generator.named_parameters())

    @property
    def selects(self) -> bool:
        """Whether layers are chosen at each step."""
        return self.fixed is None

    @property
    def shares(self) -> bool:
        """Whether a step's own codes may choose its layers, in the forward pass of its loss.

        That pass gives only one gradient of Eq. 1 at the codes: further steps (n_i > 1) render moved
        codes, and the official score is the moved code itself.
        """
        hparams = self.hparams
        wanted = hparams.selection_codes == "shared"
        return self.selects and wanted and hparams.n_i == 1 and hparams.score == "gradient"

    @property
    def candidates(self) -> tuple:
        """Every layer that some step may train."""
        return tuple(self.slot_layers.values()) if self.selects else self.fixed

    def choose(self, size: int = 0) -> tuple:
        """The layers of the next step, in order: convolution indices (and official's toRGB).

        size: codes rendered at once at most, 0 for all.
        """
        return self._top(self.scores(size)) if self.selects else self.fixed

    def choose_by(self, gradient: Tensor, size: int = 0) -> tuple:
        """The layers of a step whose own codes choose (see `shares`), as `choose` gives them.

        gradient: the sum of `code_gradient` over the step's parts.
        """
        return self._top(self.shared_scores(gradient, size))

    def shared(self, batch: int) -> int:
        """How many of a step's `batch` codes choose its layers."""
        return min(self.hparams.n_w, batch)

    def images_drawn(self, batch: int, sharing: bool) -> int:
        """Number of images that one choice renders in addition to the step's batch."""
        if not self.selects:
            return 0
        n_w, n_i = self.hparams.n_w, self.hparams.n_i
        return n_w - self.shared(batch) if sharing else n_w * n_i

    def trainable(self) -> dict[str, torch.nn.Parameter]:
        """Every parameter that some step may train, by name."""
        return self.parameters(self.candidates)

    def state_dict(self) -> dict[str, torch.nn.Parameter]:
        """The trainable parameters, for the training state."""
        return self.trainable()

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Copy saved values into the trainable parameters."""
        for name, parameter in self.trainable().items():
            parameter.copy_(state[name])

    def parameters(self, layers) -> dict[str, torch.nn.Parameter]:
        """The parameters of the layers, by name."""
        names = self.names(layers)
        return {name: self.named[name] for name in self.named if name in names}

    def unfreeze(self, layers) -> None:
        """Let gradients reach exactly the parameters of `layers`."""
        chosen = self.names(layers)
        for name, parameter in self.named.items():
            parameter.requires_grad_(name in chosen)

    def keep_gradients(self, layers) -> None:
        """Drop the gradients of all parameters outside `layers`, and freeze those parameters."""
        self.unfreeze(layers)
        for parameter in self.named.values():
            if not parameter.requires_grad:
                parameter.grad = None

    def names(self, layers) -> set[str]:
        """Parameter names of the layers, with the constant if it is trained with them."""
        official_affine = self.hparams.affine == "official"
        parts = ["weight", "bias", "noise_strength"]
        if official_affine:
            parts += ["affine.weight", "affine.bias"]
        names = set()
        for layer in layers:
            if layer == FIRST_RGB:
                rgb = ["weight", "bias", "affine.weight", "affine.bias"]
                names |= {f"synthesis.to_rgbs.0.{p}" for p in rgb[: 4 if official_affine else 2]}
            else:
                names |= {f"synthesis.convs.{layer}.{part}" for part in parts}
        if self._trains_constant(layers):
            names.add("synthesis.const")
        return names

    def scores(self, size: int = 0) -> Tensor:
        """Relevance of each W+ slot, [num_ws]: how far gradient descent on Eq. 1 moves it (§4.2, Fig. 4).

        n_w codes w, copied to every slot, take n_i steps of gradient descent on Eq. 1 while all
        weights are frozen; the score is mean |w_l − w_l(0)| over codes and features, or for
        n_i = 1 the mean |∂L_global/∂w_l|, which ranks the same and does not round.
        """
        hparams = self.hparams
        self.unfreeze(())
        initial = self._draw(hparams.n_w)
        official = hparams.score == "official"
        codes, moved = initial, torch.zeros_like(initial)
        for _ in range(hparams.n_i):
            gradient = self._gradient(codes, size)
            if official:
                codes = codes - SELECTION_LR * gradient
            else:  # the sum of the steps, free of the rounding of w + step − w
                moved = moved - SELECTION_LR * gradient
                codes = initial + moved
        change = codes - initial if official else moved
        return change.abs().mean(dim=(0, 2))

    def code_gradient(self, codes: Tensor, target_loss: Tensor, count: int) -> Tensor:
        """A step's share of ∂L_global/∂codes over all n_w codes; the graph is kept for the loss.

        codes: the step's W+ codes [N,num_ws,style_dim], each with one w in every slot; a leaf that
        requires grad. target_loss: Eq. 1, a mean over the images of `count` of the first `shared(N)` codes.
        """
        share = target_loss * (count / self.hparams.n_w)  # of the mean over all n_w codes
        return torch.autograd.grad(share, codes, retain_graph=True)[0]

    def shared_scores(self, gradient: Tensor, size: int = 0) -> Tensor:
        """The scores for n_i = 1, from the step's own codes and as many new ones as n_w needs beyond them.

        gradient: see `choose_by`.
        """
        n_w, shared = self.hparams.n_w, self.shared(len(gradient))
        parts = [gradient[:shared]]
        if n_w > shared:
            more = self._gradient(self._draw(n_w - shared), size)
            parts.append(more * ((n_w - shared) / n_w))
        return SELECTION_LR * torch.cat(parts).abs().mean(dim=(0, 2))

    @torch.no_grad()
    def _draw(self, count: int) -> Tensor:
        """Draw new codes w, each copied to every slot: [count,num_ws,style_dim]."""
        generator = self.generator
        z = torch.randn(count, generator.config["z_dim"], device=generator.w_avg.device)
        return generator.broadcast(generator.mapping(z)).contiguous()

    def _top(self, scores: Tensor) -> tuple:
        return top_layers(scores, self.slot_layers, self.hparams.k)

    def _gradient(self, w_plus: Tensor, size: int = 0) -> Tensor:
        """∂L_global/∂w_plus, computed in parts. Exact: the loss is a mean, and each part draws for the batch."""
        limits = [limit for limit in (self.hparams.micro_batch, size) if limit]
        draws = Draws(w_plus.device)
        parts = []
        for rows in split(len(w_plus), min(limits, default=0)):
            draws.restore()
            codes = rows.of(w_plus).detach().requires_grad_(True)
            if rows.whole:
                loss = self.target_loss(self.generator.synthesis(codes, noise_mode="random"))
            else:
                images = self.generator.synthesis(codes, "random", NoiseRows(None, rows))
                loss = self.target_loss(images, rows)
            (gradient,) = torch.autograd.grad(loss * (len(codes) / len(w_plus)), codes)
            parts.append(gradient)
        return torch.cat(parts)

    def _fixed_choice(self, run: str) -> tuple | None:
        """The layers trained at every step, or None if they are chosen at each step."""
        hparams = self.hparams
        count = len(self.generator.synthesis.convs)
        size = self.generator.config["resolution"]
        has = f"but the {size}x{size} generator has {count}"
        if hparams.policy == "all":
            return tuple(range(count))
        if hparams.policy == "manual":
            if isinstance(hparams.manual, str):
                return tuple(i for i in PHASES[hparams.manual] if i < count)
            bad = [i for i in hparams.manual if not 0 <= i < count]
            if bad or not hparams.manual:
                asked = f"layer {bad[0]} asked" if bad else "no layer asked"
                raise UserError(
                    f"{run}: {asked}, {has}; set layers.manual to indices 0..{count - 1}."
                )
            return tuple(sorted(set(hparams.manual)))
        if hparams.k > self.generator.num_ws:
            raise UserError(
                f"{run}: k={hparams.k} layers asked, {has}; set layers.k to 1..{count}."
            )
        if hparams.k >= count and hparams.saturated == "all":
            return tuple(range(count))
        return None

    def _trains_constant(self, layers) -> bool:
        if self.hparams.constant == "with_conv_0":
            return 0 in layers
        named_set = self.hparams.policy == "manual" and isinstance(self.hparams.manual, str)
        everything = len(set(layers)) == len(self.generator.synthesis.convs)
        return not self.selects and (named_set or everything)


def slot_layers(generator: Generator, layer_map: str) -> dict[int, int | str]:
    """What each W+ slot trains when it is chosen: {slot: layer}.

    aligned: slot i feeds convolution i; the last slot feeds only a toRGB and is left out.
    official: the public code's list [conv 0, first toRGB, conv 1, conv 2, …], which is off by one:
    slot 1 trains a toRGB and each later slot the convolution before its own.
    """
    count = len(generator.synthesis.convs)
    if layer_map == "aligned":
        return dict(enumerate(range(count)))
    return dict(enumerate([0, FIRST_RGB, *range(1, count)]))


def top_layers(scores: Tensor, layers_of: dict[int, int | str], k: int) -> tuple:
    """The layers of the k best-scored slots among `layers_of`, in the order of their slots."""
    values = scores.tolist()
    ranked = sorted(layers_of, key=lambda slot: values[slot], reverse=True)
    return tuple(layers_of[slot] for slot in sorted(ranked[:k]))
