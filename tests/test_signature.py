"""Signatures: the same for one cause wherever and however it shows, other ones for others."""

from __future__ import annotations

import msgspec
import pytest
from fakes import make_workload

from harness.kinds import kind_of
from harness.signature import COMMON, ORDINARY, same, signature_of, telling
from harness.specification import specification
from harness.trace import Complaint, ComplaintKind, State
from harness.verdict import Mismatch, Verdict
from workloads.workload import Workload

D, U, W = State.DELAYED, State.UNWRITTEN, State.WRITTEN
FAULT = "fault: generic_perform_write"
PAST_EOF = "short copy past EOF: ext4_da_do_write_end"
ALLOCATE = "allocate: ext4_map_blocks"


def verdict(workload: Workload, *mismatches: Mismatch) -> Verdict:
    return Verdict(workload, ("model", "guest"), mismatches=mismatches)


def size(expected: int = 4096, actual: int = 20000, **fields: object) -> Mismatch:
    found = Mismatch(1, "pwrite_fault a 20000 8k fault=0", "a", "size", expected, actual, (FAULT,))
    return msgspec.structs.replace(found, **fields)


def test_where_how_far_and_in_which_file_it_shows_is_no_part_of_it(workload: Workload) -> None:
    usual = signature_of(verdict(workload, size()))
    elsewhere = size(1, 999, place=17, op="pwritev f 999 100:0", file="f")
    assert same(usual, signature_of(verdict(workload, elsewhere)))
    assert usual is not None
    assert usual.text == "size: larger (write.bh.fault)"
    assert usual.id == "a26d1320a958"


@pytest.mark.parametrize(
    "other",
    [
        size(20000, 4096),
        size(field="disksize"),
        size(because=()),
        size(because=("retry: ext4_should_retry_alloc",)),
        size(field="result", expected="EFAULT", actual=8192),
    ],
    ids=["sign", "field", "no rule", "rule", "result"],
)
def test_another_sign_field_or_rule_is_another_cause(workload: Workload, other: Mismatch) -> None:
    one, two = (signature_of(verdict(workload, found)) for found in (size(), other))
    assert not same(one, two)
    assert one is not None
    assert two is not None
    assert one.id != two.id


def test_what_nobody_could_see_of_a_step_is_no_part_of_it(workload: Workload) -> None:
    """The model notes it only where it knows what the kernel showed: a candidate of `minimize`
    that it runs alone would never have it."""
    unseen = "place not seen: ext4_mb_new_blocks"
    one, two = (
        signature_of(verdict(workload, size(because=because)))
        for because in ((unseen, ALLOCATE, PAST_EOF), (ALLOCATE, PAST_EOF))
    )
    assert same(one, two)
    assert telling((unseen, ALLOCATE)) == ()


def test_what_follows_in_the_same_step_and_later_is_no_part_of_it(workload: Workload) -> None:
    also = [size(field="blocks", expected=8, actual=24), size(place=2, op="fsync a")]
    assert same(
        signature_of(verdict(workload, size())),
        signature_of(verdict(workload, also[0], size(), also[1])),
    )


def test_of_several_rules_the_one_of_the_most_special_situation_counts(workload: Workload) -> None:
    assert telling(()) == ()
    assert telling((ALLOCATE,)) == (), "what any operation does"
    assert telling(("the model does not cover this workload",)) == (), "no rule's note"
    assert telling((ALLOCATE, FAULT)) == ("write.bh.fault",)
    assert telling((PAST_EOF, ALLOCATE, FAULT)) == ("write.bh.no-bytes-past-eof",)


def test_where_no_rule_tells_the_situation_the_kind_of_operation_does(workload: Workload) -> None:
    ordinary = size(because=(ALLOCATE,), op="mwrite a 0 4k")
    texts = [
        signature_of(verdict(workload, msgspec.structs.replace(ordinary, op=op))).text  # type: ignore[union-attr]
        for op in ("mwrite a 0 4k", "mwrite_msync a 1 2", "fpunch a 0 4k", "")
    ]
    assert texts == ["size: larger, store", "size: larger, store", "size: larger, fpunch",
                     "size: larger"]  # fmt: skip


def test_of_bytes_it_counts_what_became_of_them_last() -> None:
    """The step that reads them is not to blame, and the end is no step."""
    line = "pwrite a 0 8k; fzero b 0 4k; mwrite a 0 1; fpunch a 4k 4k; pread a 0 4k; pread a 4k 9"
    workload = make_workload(line)
    texts = []
    for step in (4, 5):
        read = Mismatch(step, "pread a 0 4k", None, "result", "0" * 32, "1" * 32, (ALLOCATE,))
        texts.append(signature_of(verdict(workload, read)).text)  # type: ignore[union-attr]
    for byte in (0, 8192):
        field = f"content, 4096-byte block {byte // 4096} (byte {byte})"
        end = Mismatch("final", "", "a", field, "all zero", "crc32 00000001")
        texts.append(signature_of(verdict(workload, end)).text)  # type: ignore[union-attr]
    assert texts == [
        "result: other where it was stored last, read",
        "result: other where it was zeroed last, read",
        "content: data instead of zeros where it was stored last",
        "content: data instead of zeros where nothing was written",
    ]


def test_the_rules_that_signatures_know_are_rules() -> None:
    """A rule that was renamed would count as the most special of all."""
    rules = {rule.name for rule in specification()}
    assert sorted({*ORDINARY, *COMMON} - rules) == []
    assert not ORDINARY & set(COMMON)


def test_without_a_mismatch_there_is_none_and_none_is_the_same_as_nothing(
    workload: Workload,
) -> None:
    assert signature_of(verdict(workload)) is None
    assert not same(None, None)


def test_a_verdict_that_was_kept_has_the_signature_of_the_one_that_was_found(
    workload: Workload,
) -> None:
    found = Complaint(ComplaintKind.WARNING, "WARNING in ext4_foo", ("line",), step=1)
    for field, values in {
        "extents": (((0, 4096, D),), ((0, 4096, W),)),
        "events": (("reserve 1 (reserved 1)",), ()),
        "log": ("no complaint", found),
        "result": ([[0, 4096]], [[0, 8192]]),
    }.items():
        usual = verdict(workload, size(field=field, expected=values[0], actual=values[1]))
        kept = msgspec.json.decode(msgspec.json.encode(usual), type=Verdict)
        assert same(signature_of(usual), signature_of(kept)), field


@pytest.mark.parametrize(
    ("field", "expected", "actual", "kind"),
    [
        ("size", 1, 2, "larger"),
        ("blocks", "8 to 24", 0, "smaller"),
        ("blocks", "8 to 24", 32, "larger"),
        ("exists", True, False, "missing"),
        ("exists", False, True, "not expected"),
        ("result", "EIO", 0, "success instead of EIO"),
        ("result", 4096, "ENOSPC", "ENOSPC instead of success"),
        ("result", "EIO", "EINVAL", "EINVAL instead of EIO"),
        ("result", 8192, 4096, "smaller"),
        ("result", "0" * 32, "1" * 32, "other"),
        ("result", [[0, 4096]], [[0, 8192]], "data instead of hole"),
        ("result of call 1 of thread 2", 0, "EIO", "EIO instead of success"),
        ("extents", ((0, 8192, D),), ((0, 4096, W),), "written instead of delayed"),
        ("image extents", ((0, 8192, W),), ((0, 4096, W),), "hole instead of written"),
        ("extents", (), ((0, 8192, U),), "unwritten instead of hole"),
        ("events", ("reserve 1 (reserved 1)",), (), "fewer reserve"),
        ("events", ("release 1 (reserved 1)",), ("release 2 (reserved 2)",), "other numbers"),
        ("content, 4096-byte block 3 (byte 12288)", "all zero", "crc32 0123abcd",
         "data instead of zeros"),
        ("content, 4096-byte block 3 (byte 12288)", "crc32 0123abcd", "all zero",
         "zeros instead of data"),
        ("content, 4096-byte block 3 (byte 12288)", "crc32 0123abcd", "crc32 0123abce",
         "other data"),
        ("image", "no complaint", "guest: /a: bytes 30802-32767 past the end are not zero",
         "PATH: bytes N past the end are not zero"),
        ("error", "EIO", "none", "none instead of EIO"),
    ],
)  # fmt: skip
def test_the_kind_of_a_difference_has_no_values(
    field: str, expected: object, actual: object, kind: str
) -> None:
    assert kind_of(field, expected, actual) == kind
