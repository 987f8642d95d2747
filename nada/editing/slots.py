"""The W+ slots that an edit moves."""

from torch import Tensor

from nada.run.errors import UserError


def replace_slots(w_plus: Tensor, moved: Tensor, slots: range | None, edit: str) -> Tensor:
    """Codes [N,L,D] with the slots of `moved` [N,L,D] in a range, those of `w_plus` elsewhere.

    slots: None: all. edit: its name in messages. UserError: slots that the codes do not have.
    """
    if slots is None:
        return moved
    if not 0 <= slots.start < slots.stop <= w_plus.shape[1]:
        raise UserError(
            f"{edit}: slots {slots.start}..{slots.stop - 1} asked, but the codes have {w_plus.shape[1]}."
        )
    replaced = w_plus.clone()
    replaced[:, slots.start : slots.stop] = moved[:, slots.start : slots.stop]
    return replaced
