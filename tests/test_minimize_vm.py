"""Minimizing on a live guest: the figure of docs/minimizing.md, and an artifact of its own."""

from __future__ import annotations

import contextlib

import pytest
from minimizing import PROGRAMS, workload_in

from harness.artifacts.artifact import try_keep
from harness.artifacts.read import open_artifact
from harness.lab import Lab
from harness.minimize.budget import Budget
from harness.minimize.minimizer import Minimizer
from harness.minimize.refusal import refusal_of
from harness.pairs import make_pair
from harness.sides.side import Choice
from harness.signature import signature_of
from workloads.ops import WriteFault

pytestmark = pytest.mark.vm

SECONDS = 60
"""20 s is what it may take on an idle machine; tests run beside others."""


def test_random_programs_shrink_to_the_failing_write_on_a_live_guest(tmp_path):
    pair = make_pair("model", Choice(accel="tcg"), strict=True)
    with contextlib.closing(Lab(pair)) as lab:
        lab.prepare()
        for path in PROGRAMS[:3]:
            budget = Budget(starting=lambda: pair.starting)
            minimizer = Minimizer(
                lab.run, workload_in(path), None, question="vm", budget=budget,
                refusal=lambda shown: refusal_of(pair, shown),
            )  # fmt: skip
            found = minimizer.minimize()
            assert len(found.best.ops) <= 3
            assert isinstance(found.best.ops[-1], WriteFault)
            assert found.shown_first == (3, 3)
            assert found.shown_best == (3, 3)
            assert budget.spent < SECONDS
        assert found.compared is not None
        kept, note = try_keep(found.compared, pair, tmp_path / "small")
        assert kept is not None, note
        with open_artifact(kept) as artifact:
            assert signature_of(artifact.verdict) == minimizer.target
