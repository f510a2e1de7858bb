"""What must hold in a clean image, beyond each structure being readable."""

from __future__ import annotations

from collections.abc import Iterator

from harness.image.check_files import check_files
from harness.image.check_groups import check_groups
from harness.image.problem import Problem
from harness.image.survey import Survey
from model.image import features
from model.image.filesystem import Filesystem

__all__ = ["check", "problems"]

_VALID, _ERROR = 1, 2  # s_state


def check(fs: Filesystem) -> list[Problem]:
    """Everything that is wrong with an image; `ImageError` if it cannot be read."""
    return problems(Survey(fs))


def problems(survey: Survey) -> list[Problem]:
    """Everything that is wrong with an image that has been walked."""
    return [*_state(survey), *check_groups(survey), *check_files(survey)]


def _state(survey: Survey) -> Iterator[Problem]:
    """Whether something is left to do: a journal to recover, orphans, noted errors."""
    sb, volume = survey.fs.volume.sb, survey.fs.volume
    recover = volume.incompat(features.RECOVER)
    if recover:
        yield Problem("superblock", "the journal needs recovery (needs_recovery is set)")
    if sb.error_count:
        function = sb.first_error_func.rstrip(b"\0").decode("ascii", "backslashreplace")
        where = f"{function}:{sb.first_error_line}"
        yield Problem("superblock", f"{sb.error_count} errors noted, the first in {where}")
    if sb.state & _ERROR or (not sb.state & _VALID and not recover):
        reason = f"not cleanly unmounted (state {sb.state:#x})"
        yield Problem("superblock", reason, of_crash=not sb.state & _ERROR)
    if survey.orphans:
        numbers = ", ".join(str(number) for number in sorted(survey.orphans))
        yield Problem("superblock", f"orphans are left: inode {numbers}")
    elif volume.ro_compat(features.ORPHAN_PRESENT):
        yield Problem("superblock", "orphan_present is set, but there is none")
    yield from _journal(survey, recover)


def _journal(survey: Survey, recover: bool) -> Iterator[Problem]:
    journal = survey.fs.journal()
    if journal is None:
        return
    if journal.start and not recover:
        yield Problem("journal", "holds transactions, but needs_recovery is not set")
    if journal.errno:
        yield Problem("journal", f"notes error {journal.errno}")
