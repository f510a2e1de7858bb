"""docs/reading-a-mismatch.md: its outputs are what the programs print.

The kernel of the first example is played by the model that follows the known issue.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import msgspec
import pytest
from documented import DOCS, geometry

from harness.cli import main
from harness.comparison.compare import compare
from harness.coverage.reached import contiguous
from harness.verdict import Compared
from model import Behaviour, Model
from reports.svg import picture_svg
from reports.terminal import explain
from workloads.syntax import parse_line, workloads

PAGE = (DOCS / "reading-a-mismatch.md").read_text()
EXAMPLES = re.findall(r"^```\n\$ ext4diff (.*?)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
KERNEL = "7.3.4+deb13-cloud-amd64"


def example(start: str) -> tuple[str, list[str]]:
    """The command that begins with `start`, and the lines that the page shows of its output."""
    return next((command, text.splitlines()) for command, text in EXAMPLES
                if command.startswith(start))  # fmt: skip


def follows(shown: list[str], output: list[str]) -> list[str]:
    """The first lines of `shown` that `output` does not have in that order; `...` leaves out."""
    rest = iter(output)
    for number, line in enumerate(shown):
        if line != "..." and line not in rest:
            return shown[number : number + 2]
    return []


def strict_and_kernel(line: str, quirk: str) -> Compared:
    """`line` on the strict model, and on one with a bug in place of the kernel."""
    (workload,) = workloads(msgspec.structs.replace(parse_line(line, "line"), on=("4k@delalloc",)))
    start, placed = geometry(workload.config.image), contiguous(workload)

    def run(*quirks: str):  # type: ignore[no-untyped-def]
        behaviour = Behaviour.of_release("7.3", quirks=frozenset(quirks))
        return Model(behaviour, lambda _: start).run(workload, placed)

    kernel = msgspec.structs.replace(run(quirk), subject=f"kernel {KERNEL}", kernel=KERNEL)
    return Compared(compare(run(), kernel), run(), kernel)


def test_the_size_that_moved() -> None:
    command, shown = example("run 'pwrite a 0 8k; fsync a; pwrite_fault")
    found = strict_and_kernel(command.split("'")[1], "efault_beyond_eof_moves_size")
    known_elsewhere = ("kernel ", "Later ")  # the build, and what an image adds at the end
    lines = [line for line in shown if not line.startswith(known_elsewhere)]
    assert follows(lines, explain(found).splitlines()) == []
    assert picture_svg(found) == (DOCS / "pictures" / "size-past-eof.svg").read_text()


def test_the_events_in_other_pieces(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command, shown = example("check-recording")
    monkeypatch.chdir(DOCS.parent)
    assert main(command.split()) == 1
    assert follows(shown, capsys.readouterr().out.splitlines()) == []


def test_every_picture_is_shown_and_is_one() -> None:
    shown = set(re.findall(r"\]\(pictures/([a-z-]+\.svg)\)", PAGE))
    assert shown == {path.name for path in (DOCS / "pictures").iterdir()}
    for name in shown:
        assert ET.parse(DOCS / "pictures" / name).getroot().tag.endswith("svg")
