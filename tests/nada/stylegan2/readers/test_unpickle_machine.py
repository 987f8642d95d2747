"""The stack machine of foreign pickles: opcodes that no checkpoint uses, states, memo, keys."""

import pickle
import sys

import pytest

from nada.run.errors import UserError
from nada.stylegan2.readers.unpickle import read_pickle
from nada.stylegan2.readers.unpickle_values import Record
from tests.nada.stylegan2.readers.hostile import refusal


def test_objects_whose_state_would_change_them_have_no_attributes_to_set(canary):
    # Python's own machine sets attributes of whatever BUILD finds, functions included
    payload = b"ctorch._utils\n_rebuild_tensor_v2\n(N}Vx\nVy\nstb."
    assert "a state for a value of type Word" in refusal(payload)
    fake = b"cargparse\nNamespace\n)\x81}V__class__\ncargparse\nNamespace\nsb."
    tree = read_pickle(fake)
    assert type(tree) is Record
    assert "__class__" in tree.state


@pytest.mark.parametrize(
    ("opcodes", "named"),
    [
        (b"(ios\nsystem\n.", "INST"),
        (b"(cargparse\nNamespace\no.", "OBJ"),
        (b"\x82\x01.", "EXT1"),
        (b"Pid\n.", "PERSID"),
        (b"\x80\x05\x97.", "NEXT_BUFFER"),
    ],
)
def test_opcodes_that_no_checkpoint_uses_are_refused_by_name(opcodes, named):
    assert f"its pickle uses {named}" in refusal(opcodes)


def test_a_place_in_the_memo_far_away_allocates_nothing():
    assert read_pickle(b"Vx\nr\xff\xff\xff\x7f0j\xff\xff\xff\x7f.") == "x"


def test_keys_that_could_be_made_to_collide_are_refused():
    for key in ((1, 2), 1.5, 1 << 61):
        assert "a key" in refusal(pickle.dumps({key: 0}))


def test_reading_leaves_python_as_it_was():
    with pytest.raises(UserError):
        read_pickle(b"cantigravity\nx\n.")
    assert "antigravity" not in sys.modules
