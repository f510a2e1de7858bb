"""Mutants and the model's own tests: which tests run a mutant's lines, and that one fails."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from harness.errors import UsageError
from harness.mutants import unit_tests
from harness.mutants.cases import Lines
from harness.mutants.herd import spread
from harness.mutants.listing import Mutant, mutants
from harness.mutants.planted import plant
from harness.mutants.unit_tests import UnitTest, failing

ROUNDS = "units.round_up: rounding: -value // unit -> -(--value // unit)"
BOUNDED = "limits.limited_write: boundary: pos + len(source) > limit -> pos + len(source) >= limit"

TESTS = """\
from model.units import ceil_div, round_up

def test_up():
    assert round_up(5, 4) == 8

def test_blocks():
    assert ceil_div(5, 4) == 2

def test_nothing():
    pass
"""


def mutant(name: str) -> Mutant:
    (found,) = [one for one in mutants() if one.name == name]
    return found


@pytest.fixture
def folder(own_cache: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two files of tests, of which only one is of the model."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "test_model_units.py").write_text(TESTS)
    (tmp_path / "test_cli.py").write_text(TESTS.replace("test_", "test_other_"))
    return tmp_path


def short(test: UnitTest) -> str:
    return test.name.rpartition("::")[2]


def test_only_quick_tests_that_run_a_mutants_lines_are_tried(folder: Path) -> None:
    found = unit_tests.tests_of(folder, 1)
    assert {short(test) for test in found} == {"test_up", "test_blocks", "test_nothing"}
    bits = Lines().of(mutant(ROUNDS))
    assert [short(test) for test in found if test.has(bits)] == ["test_up"]


def test_a_mutant_that_never_ends_in_a_test_is_found_out(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time to load tests counts, too, so that a mutant is not blamed for that."""
    name = "test_model_units.py::test_endless"
    (folder / "test_model_units.py").write_text("def test_endless():\n    while True: pass\n")

    def work(loading: float) -> bytes:
        monkeypatch.setattr(unit_tests, "LOADING", loading)
        return msgspec.json.encode(failing([UnitTest(name, b"", 0.0, True)]))

    assert unit_tests.LOADING >= 60
    assert [msgspec.json.decode(found) for found in spread(work, [5.0], 1)] == [name]


def test_a_test_that_fails_without_a_mutant_finds_none_out(folder: Path) -> None:
    file = folder / "test_model_units.py"
    file.write_text(f"{TESTS}\ndef test_half_done():\n    assert round_up(5, 4) == 9\n")
    for _ in range(2):  # also when it is known already
        with pytest.raises(UsageError, match="test_half_done fails with the model as it is"):
            unit_tests.tests_of(folder, 1)


def test_what_takes_long_is_left_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unit_tests, "LONG", 0.4)
    (folder / "test_model_long.py").write_text(
        "import time\n\ndef test_long():\n    end = time.process_time() + 0.5\n"
        "    while time.process_time() < end:\n        pass\n"
    )
    assert "test_long" not in {short(test) for test in unit_tests.tests_of(folder, 1)}
    monkeypatch.setattr(unit_tests, "LONG", 1e9)
    assert "test_long" in {short(test) for test in unit_tests.tests_of(folder, 1)}


def test_what_they_run_is_kept_until_they_change(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = unit_tests.tests_of(folder, 1)
    monkeypatch.setattr(unit_tests, "_run", lambda *_: pytest.fail("they ran again"))
    assert unit_tests.tests_of(folder, 1) == first
    monkeypatch.undo()
    file = folder / "test_model_units.py"
    file.write_text(file.read_text() + "\ndef test_new():\n    pass\n")
    assert "test_new" in {short(test) for test in unit_tests.tests_of(folder, 1)}


def fails(folder: Path, name: str) -> str | None:
    """The test that fails when the mutant is there."""
    tests = sorted(unit_tests.tests_of(folder, 1), key=short)

    def work(_: object) -> bytes:
        plant(mutant(name))
        return msgspec.json.encode(failing(tests))

    return msgspec.json.decode(next(spread(work, [0], 1)), type=str | None)


def test_the_test_that_fails_is_named(folder: Path) -> None:
    found = fails(folder, ROUNDS)
    assert found is not None
    assert found.endswith("test_model_units.py::test_up")
    assert fails(folder, BOUNDED) is None
    assert failing([]) is None


def test_a_file_that_does_not_load_any_more_counts_as_failing(folder: Path) -> None:
    test = UnitTest(str(folder / "test_model_gone.py::test_up"), b"", 0.0, True)
    (folder / "test_model_gone.py").write_text("import no_such_module\n")

    def work(_: object) -> bytes:
        return msgspec.json.encode(failing([test]))

    found = msgspec.json.decode(next(spread(work, [0], 1)), type=str | None)
    assert found is not None
    assert found.endswith("test_model_gone.py")
