"""`ext4diff bench --guests` counts all that it ran, also what did not agree."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from campaign_kernel import buggy_pair

from harness.bench import guests as bench_guests
from harness.bench import guests_report as bench_guests_report
from harness.bench.guests import SEED, Ready, Work, measure_ready, measure_work
from harness.bench.guests_report import ready_lines, work_lines
from harness.bench.together import Part
from harness.cli import main
from harness.errors import AGREE, USAGE, MachineryError
from harness.pairs import Pair
from harness.sides.side import Choice
from harness.trace import Observe
from harness.verdict import Outcome
from reports.rows import Spent
from workloads import generate

WORK = Work(
    processes=2, wall=10.0, programs=100, operations=2500, steps=2400,
    outcomes={Outcome.AGREE: 97, Outcome.MISMATCH: 1, Outcome.NOT_MODELLED: 2},
    spent=Spent(boot=1.0, run=12.0, model=2.0, compare=1.0, image=1.0), storage=0.5,
    cpu=5.0, children=11.0,
)  # fmt: skip


@pytest.mark.parametrize("processes", [1, 2])
def test_every_program_is_run_once_and_its_outcome_is_counted(processes: int) -> None:
    work = measure_work(buggy_pair, processes, 6)
    operations = sum(len(generate.make("random", SEED, number).ops) for number in range(6))
    assert (work.processes, work.programs, work.operations) == (processes, 6, operations)
    assert sum(work.outcomes.values()) == 6
    assert 0 < work.steps <= work.operations
    assert work.wall > 0
    assert work.cpu > 0
    assert work.spent.model > 0
    assert work.storage > 0
    assert work.rest > -0.01


def test_the_cpu_time_of_children_counts_while_they_live_and_when_they_have_ended() -> None:
    before = bench_guests._children_seconds()
    spin = "import time\nwhile time.process_time() < 0.3: pass\nprint(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", spin], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        living = bench_guests._children_seconds()
        child.communicate("\n")
    assert living - before > 0.25
    assert bench_guests._children_seconds() >= living - 0.05  # it was in whole ticks


def no_guest() -> Pair:
    raise MachineryError("no guest today")


def test_what_a_process_can_not_do_is_told() -> None:
    with pytest.raises(MachineryError, match="no guest today"):
        measure_work(no_guest, 2, 4)


def test_rates_and_shares_are_of_the_time_of_day() -> None:
    said = "\n".join(work_lines(WORK))
    assert "2 guests\n  240 steps/s, 10.0 programs/s: 2400 steps of 100 programs" in said
    assert "150 steps in a second of CPU time" in said
    assert "host side 22.5% of the time" in said
    assert "the guest at work 60.0%, coming up 5.0%, no clock 12.5%" in said


def test_what_did_not_agree_is_told() -> None:
    *_, last = work_lines(WORK)
    for words in ("97 agree", "1 mismatch", f"2 {Outcome.NOT_MODELLED}"):
        assert words in last


def test_guests_that_had_to_boot_are_told() -> None:
    ready = Ready("7.3.4", "7.2.22", "tcg", "as asked for", 1.0, (0.3, 0.2, 0.5), "")
    assert "ready in 0.30 s (median of 3, 0.20 to 0.50)" in "\n".join(ready_lines(ready))
    booted = Ready("7.3.4", "7.2.22", "tcg", "as asked for", 5.0, (4.0,), "QEMU is old")
    assert "each guest boots: QEMU is old" in "\n".join(ready_lines(booted))


class PlayedGuests:
    """Guests that are ready at once."""

    no_snapshots = ""

    def __init__(self, *_: object, **__: object) -> None:
        self.started = 0

    @contextmanager
    def start(self) -> Iterator[SimpleNamespace]:
        self.started += 1
        accel = SimpleNamespace(name="tcg", reason="as asked for")
        identity = SimpleNamespace(release="7.3.4", qemu="7.2.22", accel=accel)
        yield SimpleNamespace(identity=identity)

    def close(self) -> None:
        self.started = -1


def test_guests_are_measured_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    guests = PlayedGuests()
    monkeypatch.setattr(bench_guests, "resolve_kernel", lambda *_: None)
    monkeypatch.setattr(bench_guests, "boot_files", lambda *_, **__: None)
    monkeypatch.setattr(bench_guests, "Guests", lambda *_, **__: guests)
    ready = measure_ready(Choice(), 3)
    assert (ready.kernel, ready.accel, len(ready.others)) == ("7.3.4", "tcg", 3)
    assert 0 <= min(ready.others) <= ready.usual <= max(ready.others)
    assert guests.started == -1


@contextmanager
def in_this_process(parts: Sequence[Part]) -> Iterator[SimpleNamespace]:
    with parts[0]() as answer:
        yield SimpleNamespace(ask=lambda question: [answer(question)])


def test_one_guest_and_several_are_measured_in_each_way_to_observe(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made: list[tuple[Observe, int, int]] = []

    def work(make: Callable[[], Choice], processes: int, programs: int) -> Work:
        made.append((make().observe, processes, programs))
        return WORK

    ready = Ready("7.3.4", "7.2.22", "tcg", "as asked for", 1.0, (0.3,), "")
    monkeypatch.setattr(bench_guests_report, "together", in_this_process)
    monkeypatch.setattr(bench_guests_report, "measure_ready", lambda *_: ready)
    monkeypatch.setattr(bench_guests_report, "measure_work", work)
    monkeypatch.setattr("harness.commands.bench.make_pair", lambda _against, choice: choice)
    monkeypatch.setattr("harness.commands.bench.pin_kernels", lambda _: None)
    assert main(["bench", "--guests", "2", "--programs", "7", "--accel", "tcg"]) == AGREE
    assert made == [(way, count, 7) for way in Observe for count in (1, 2)]
    said = capsys.readouterr().out
    assert "a guest is ready in 0.30 s" in said
    assert said.count("random programs 0 to 6 of seed 1") == 2
    assert "observed at the end of each program (--observe end)" in said


def test_no_programs_are_no_measurement(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--guests", "--programs", "0"]) == USAGE
    assert "--programs are 1 or more" in capsys.readouterr().err


@pytest.mark.vm
def test_real_guests(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["bench", "--guests", "--programs", "4", "--accel", "tcg", "--repeat", "1"]) == AGREE
    )
    said = capsys.readouterr().out
    assert "a guest is ready in" in said
    assert "2 guests" in said
