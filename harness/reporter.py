"""Collects results while pytest runs, sums them up at the end, and sets the exit status."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from _pytest.junitxml import xml_key  # the fixture for it does not reach this far

from harness.errors import MACHINERY, MachineryError
from harness.lab import LAB
from harness.recordings.kept_traces import TraceFile
from harness.session import Results, exit_status
from harness.verdict import Outcome
from reports.summary import Digest

__all__ = ["ATTACHED", "RECORDED", "Reporter"]

ATTACHED = "ext4diff"
"""The attribute of pytest's reports that holds a digest; it travels between processes."""
RECORDED = "ext4diff_recorded"
"""The attribute that holds a line of the recording, if one is made."""

STATUS = {
    Outcome.AGREE: ("passed", ".", "AGREE", "green"),
    Outcome.INTENDED: ("intended", "i", "INTENDED", "green"),
    Outcome.KNOWN: ("known", "k", "KNOWN", "yellow"),
    Outcome.NOT_MODELLED: ("not modelled", "n", "NOT MODELLED", "yellow"),
    Outcome.MISMATCH: ("failed", "F", "MISMATCH", "red"),
    Outcome.UNUSABLE: ("error", "E", "UNUSABLE", "red"),
    Outcome.BROKEN: ("error", "E", "BROKEN", "red"),
}
"""How the progress shows each outcome: pytest's category, letter, word, colour."""


def _digest(report: pytest.CollectReport | pytest.TestReport) -> Digest | None:
    raw = vars(report).get(ATTACHED)
    return None if raw is None else msgspec.convert(raw, Digest)


class Reporter:
    """A plugin for the process that talks to the user; workers have none."""

    def __init__(self, config: pytest.Config, folder: Path) -> None:
        self.config = config
        self.results = Results(folder)
        self.interrupted = False
        self.unusable = False
        record = config.getoption("record")
        writes = record is not None and not config.option.collectonly
        self.recording = TraceFile(Path(record)) if writes else None

    @pytest.hookimpl(trylast=True)
    def pytest_sessionstart(self) -> None:
        """JUnit's file, too, begins with what was tested and what was not."""
        junit = self.config.stash.get(xml_key, None)
        lab = self.config.stash[LAB]
        if junit is not None and lab.prepared:
            for number, line in enumerate(lab.pair.header()):
                junit.add_global_property(f"ext4diff {number}", line)
            for name, value in lab.pair.identity().items():
                junit.add_global_property(name, value)

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(
        self, report: pytest.CollectReport | pytest.TestReport
    ) -> tuple[str, str, tuple[str, dict[str, bool]]] | None:
        """Show our outcomes, not pytest's."""
        found = _digest(report)
        if found is None:
            return None
        category, letter, word, colour = STATUS[found.outcome]
        return category, letter, (word, {colour: True})

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep each result as it comes in; a failure without one is broken machinery."""
        found = _digest(report)
        if found is not None:
            self.results.add(found)
            self._record(vars(report).get(RECORDED))
        elif report.failed:
            self.results.trouble.append(f"{report.nodeid}: {_last_line(report.longreprtext)}")

    def _record(self, line: bytes | None, *, last: bool = False) -> None:
        if self.recording is None:
            return
        try:
            if last:
                self.recording.close()
            else:
                self.recording.add(line)
        except MachineryError as error:
            self.results.trouble.append(str(error))
            self.recording = None

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A workload file that can't be read."""
        self.unusable = self.unusable or report.failed

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Ctrl-C or a termination signal, but not pytest's own reasons to stop."""
        self.interrupted = self.interrupted or excinfo.type is KeyboardInterrupt

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Turn pytest's exit status into ours."""
        if session.config.option.collectonly:
            return
        nothing = exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED
        if exitstatus == pytest.ExitCode.INTERNAL_ERROR:
            self.results.trouble.append("ext4diff itself failed; see above")
        only = self.config.stash[LAB].only
        if nothing and only:
            self.results.trouble.append(
                f"no workload is for --on {' '.join(only)}; write 4k@delalloc or 'bigalloc*'"
            )
        self._record(None, last=True)
        status = exit_status(
            self.results.digests,
            interrupted=self.interrupted,
            unusable=self.unusable or nothing,
        )
        session.exitstatus = status or (MACHINERY if self.results.trouble else status)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """The page at the end."""
        if self.config.option.collectonly:
            return
        terminalreporter.section("ext4diff")
        lab = self.config.stash[LAB]
        said = (lab.pair.header(), lab.pair.identity()) if lab.prepared else ([], {})
        for line in self.results.finish(*said):
            terminalreporter.write_line(line)
        if self.recording is not None:
            terminalreporter.write_line(self.recording.told())
        for trouble in self.results.trouble:
            terminalreporter.write_line(f"trouble: {trouble}", red=True)


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no reason given"])[-1]
