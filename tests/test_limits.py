"""What a guest gets: memory, and time for a program. What is too little is refused."""

from __future__ import annotations

import argparse

import pytest
from test_guest import START, answers, start, step, whole

from harness.campaign.night import Asked
from harness.campaign.plan import Plan
from harness.cli import main
from harness.errors import USAGE
from harness.options import add_against, add_guest_options, add_limits, choice_of
from harness.trace import Observe
from vm.errors import GuestHangError, KernelHangError
from workloads.workload import Workload

__all__ = ["start"]


def chosen(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    for add in (add_guest_options, add_against, add_limits):
        add(parser.add_argument)
    return parser.parse_args(words)


def test_the_options_choose() -> None:
    choice = choice_of(chosen("--memory", "1024", "--program-time", "7.5", "--observe", "end"))
    assert (choice.memory, choice.program_time, choice.observe) == (1024, 7.5, Observe.END)
    usual = choice_of(chosen())
    assert (usual.memory, usual.program_time, usual.observe) == (384, None, Observe.STEPS)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--memory", "256"), "with less it would write data back"),
        (("--memory", "lots"), "'lots' MiB"),
        (("--memory", "-384"), "384 to 65536"),
        (("--memory", "999999"), "384 to 65536"),
        (("--program-time", "0"), "write 1 to 86400"),
        (("--program-time", "nan"), "write 1 to 86400"),
        (("--program-time", "inf"), "write 1 to 86400"),
        (("--program-time", "soon"), "'soon' s"),
        (("--observe", "never"), "choose from"),
    ],
)
@pytest.mark.parametrize("command", ["campaign", "run"])
def test_bad_values_are_refused(
    capsys: pytest.CaptureFixture[str], command: str, words: tuple[str, str], said: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        main([command, *words, *(("--count", "1") if command == "campaign" else ("sync",))])
    assert caught.value.code == USAGE
    assert said in capsys.readouterr().err


def test_a_resumed_night_has_the_limits_that_it_had() -> None:
    asked = Asked(
        Plan(1), "model", strict=False, kernel=None, accel="tcg", mirror=None, always_boot=False,
        observe=Observe.END, memory=512, program_time=60.0,
    )  # fmt: skip
    choice = asked.choice
    assert (choice.observe, choice.memory, choice.program_time) == (Observe.END, 512, 60)


# --- a program that takes too long ------------------------------------------------------------


def hanging(start, monkeypatch: pytest.MonkeyPatch, state: str = "running"):
    """A guest that is at step 2 for ever."""
    monkeypatch.setattr("vm.link._SETTLE", 0.05)
    guest = start(answers(START, step(0)))
    guest.deadlines = type(guest.deadlines)(9.0, 9.0, 9.0)
    guest.program_time = 0.3
    guest.link.process.state = state
    guest.link.process.blocked = "task:kworker/0:1 state:D\r\n schedule+0x1/0x2\r\n"
    return guest


def test_a_program_over_its_time_is_a_finding_with_the_blocked_tasks(
    start, workload: Workload, monkeypatch: pytest.MonkeyPatch
) -> None:
    guest = hanging(start, monkeypatch)
    with pytest.raises(
        KernelHangError, match=r"step 2 .*0\.3 s are over \(--program-time\)"
    ) as caught:
        guest.run(workload)
    assert "kworker/0:1" in caught.value.report
    assert caught.value.trace is not None
    assert len(caught.value.trace.steps) == 1
    assert guest.dead


def test_a_machine_that_does_not_run_is_no_finding(
    start, workload: Workload, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(GuestHangError, match="QEMU: paused"):
        hanging(start, monkeypatch, "paused").run(workload)


def test_a_program_within_its_time_is_none(start, workload: Workload) -> None:
    guest = start(whole())
    guest.program_time = 60.0
    assert guest.run(workload).final is not None
