"""Conditions and runs: their names, and the seeds that they share."""

from workflow.plan.runs import Condition, latent_seed


def test_defaults_are_left_out_of_a_name_and_others_are_appended():
    assert Condition("t", "nada", "global").name == "nada-global"
    assert Condition("t", "tgan", "default", 10).name == "tgan-default-10shot"
    assert Condition("t", "tgan", "default", 10, "nada").name == "tgan-default-10shot-nada"


def test_a_stream_seed_never_changes_between_releases():
    # Known value: the first eight bytes of SHA-256('["latents", "dog2cat", "0"]'), one bit less.
    assert latent_seed("dog2cat", 0) == 4057596773133854580
