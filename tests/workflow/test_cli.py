"""The project's `snakemake` entry moves swallowed targets to the front and touches nothing else."""

import sys

import pytest

from workflow import cli

TYPED = {
    "--cores 8 --resources gpu=1 all": "all --cores 8 --resources gpu=1",
    "all --cores 8 --resources gpu=1": "all --cores 8 --resources gpu=1",
    "--resources gpu=1 --cores 8 all": "--resources gpu=1 --cores 8 all",
    "--cores 8 --resources gpu=1 mem_mb=2 all tables": "all tables --cores 8 --resources gpu=1 mem_mb=2",
    "--cores 2 --config preset=smoke seeds=[0] ablation": "ablation --cores 2 --config preset=smoke seeds=[0]",
    "--cores 2 -R adapt ablation_adaptive": "ablation_adaptive --cores 2 -R adapt",
    "--cores 2 -R adapt k_sweep_k_1 departures": "k_sweep_k_1 departures --cores 2 -R adapt",
    "--cores 2 -R adapt image_targets": "image_targets --cores 2 -R adapt",
    "-R adapt ablations": "-R adapt ablations",
    "ablation_adaptive -R adapt observe": "ablation_adaptive -R adapt observe",
    "--cores 8 --resources gpu=1 -- all": "--cores 8 --resources gpu=1 -- all",
    "-- --resources all": "-- --resources all",
    "--cores 2 all -n": "--cores 2 all -n",
    "--version": "--version",
    "": "",
}


@pytest.mark.parametrize("typed", TYPED, ids=lambda typed: typed or "nothing")
def test_only_swallowed_targets_move_to_the_front(typed):
    moved, rest = cli.targets_first(typed.split())
    assert moved + rest == TYPED[typed].split()


def test_the_move_is_said_in_one_line_and_handed_over(monkeypatch, capsys):
    handed = []
    monkeypatch.setattr(cli, "snakemake", handed.append)
    monkeypatch.setattr(sys, "argv", ["snakemake", "--resources", "gpu=1", "all"])
    cli.main()
    assert handed == [["all", "--resources", "gpu=1"]]
    assert capsys.readouterr().err == "Targets go first: snakemake all --resources gpu=1\n"


def test_without_a_swallowed_target_nothing_is_said(monkeypatch, capsys):
    handed = []
    monkeypatch.setattr(cli, "snakemake", handed.append)
    monkeypatch.setattr(sys, "argv", ["snakemake", "all", "--cores", "2"])
    cli.main()
    assert handed == [["all", "--cores", "2"]]
    assert capsys.readouterr().err == ""


def test_the_entry_stays_within_twenty_five_lines(root):
    assert len((root / "workflow/cli.py").read_text().splitlines()) <= 25
