"""The one interface of all edits: strength 0 is the picture itself, and each moves as its method says."""

import numpy as np
import pytest
import torch

from nada.editing.edits import BoundaryEdit, FlowEdit, MapperEdit, StyleEdit, rendered
from nada.editing.style_space import flatten_edited, read_styles
from nada.editing.styleflow import StyleFlow, change_attributes
from nada.latent_maps import LatentMapper
from nada.run.errors import UserError

NORMAL = np.eye(8)[2]


@pytest.fixture
def w_plus(generator):
    torch.manual_seed(3)
    return generator.broadcast(generator.mapping(torch.randn(18, 8))).detach()  # more than a part


@pytest.fixture
def edits(generator, w_plus):
    torch.manual_seed(0)
    flow, attributes = StyleFlow(8, 2, [6]).eval(), torch.randn(len(w_plus), 2)
    return {
        "boundary": BoundaryEdit("boundary", NORMAL, range(4)),
        "style": StyleEdit("style", torch.randn(40)),
        "mapper": MapperEdit("mapper", LatentMapper(generator.num_ws, 8)),
        "flow": FlowEdit("flow", flow, attributes, index=1, slots=range(2, 5)),
    }


@pytest.mark.parametrize("name", ["boundary", "style", "mapper", "flow"])
def test_strength_0_draws_the_picture_and_another_strength_a_different_one(generator, w_plus, edits, name):
    before = generator.synthesis(w_plus, "const").detach()
    same = rendered(generator, edits[name], w_plus, 0.0)
    torch.testing.assert_close(same, before, rtol=0, atol=1e-3)
    assert (rendered(generator, edits[name], w_plus, 2.0) - before).abs().amax(dim=(1, 2, 3)).min() > 1e-3


def test_each_edit_moves_the_codes_as_its_method_does(generator, w_plus, edits):
    flow = edits["flow"]
    changed = flow.attributes + torch.tensor([0.0, 1.5])
    expected = {
        "boundary": w_plus + 1.5 * torch.from_numpy(NORMAL).float() * (torch.arange(6) < 4)[:, None],
        "mapper": w_plus + 1.5 * (edits["mapper"].mapper.map_w_plus(w_plus) - w_plus),
        "flow": change_attributes(flow.flow, w_plus, flow.attributes, changed, range(2, 5)),
    }
    for name, codes in expected.items():
        images = rendered(generator, edits[name], w_plus, 1.5)
        torch.testing.assert_close(images, generator.synthesis(codes, "const"), rtol=0, atol=1e-4)
    styles = flatten_edited(generator, edits["style"].move(generator, w_plus, 1.5))
    before = flatten_edited(generator, read_styles(generator, w_plus))
    torch.testing.assert_close(styles, before + 1.5 * edits["style"].step, rtol=0, atol=1e-5)


def test_attributes_of_other_codes_are_one_sentence(generator, w_plus, edits):
    with pytest.raises(UserError, match="StyleFlow: codes .* and attributes"):
        rendered(generator, edits["flow"], w_plus[:5], 1.0)
