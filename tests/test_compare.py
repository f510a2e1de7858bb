"""What counts as a difference, what does not, and that nothing is passed over silently."""

from __future__ import annotations

import msgspec
import pytest
from fakes import make_trace, make_workload, seen, with_mount

from harness.comparison.compare import HOLES, compare
from harness.extent import runs
from harness.trace import (
    Complaint,
    ComplaintKind,
    Content,
    Event,
    EventKind,
    Extent,
    Observation,
    State,
    Step,
    unobserved_step,
)
from harness.verdict import Mismatch, Outcome, Verdict

D, U, W = State.DELAYED, State.UNWRITTEN, State.WRITTEN
WARN = Complaint(ComplaintKind.WARNING, "WARNING in ext4_foo")
MORE = Complaint(ComplaintKind.JBD2, "JBD2: Aborting journal")


def versus(expected=None, actual=None, **kwargs) -> Verdict:
    """The verdict on two traces that differ in step 1, as given."""
    want = make_trace(steps={1: expected or Step(0, (), seen())})
    got = make_trace(subject="guest", steps={1: actual or Step(0, (), seen())})
    return compare(want, got)


def only(verdict: Verdict) -> Mismatch:
    assert len(verdict.mismatches) == 1, verdict.mismatches
    return verdict.mismatches[0]


def test_equal_traces_agree_and_everything_was_looked_at():
    verdict = versus()
    assert verdict.outcome is Outcome.AGREE
    assert (verdict.steps, verdict.not_compared) == (3, {})
    assert verdict.compared > 3 * 9


@pytest.mark.parametrize(
    ("field", "value"),
    [("size", 1), ("blocks", 16), ("disk_blocks", 8), ("disksize", 5), ("reserved", 2)],
)
def test_every_field_of_a_file_counts(field, value):
    verdict = versus(actual=Step(0, (), seen(**{field: value})))
    mismatch = only(verdict)
    assert (mismatch.place, mismatch.file, mismatch.field) == (1, "a", field)
    assert (mismatch.expected, mismatch.actual) == (getattr(seen().files["a"], field), value)
    assert mismatch.op == "pwrite_fault a 8k 4k fault=0"
    assert verdict.outcome is Outcome.MISMATCH


@pytest.mark.parametrize("field", ["delalloc", "bfree", "bavail"])
def test_every_counter_of_the_file_system_counts(field):
    other = msgspec.structs.replace(seen(), **{field: 5})
    mismatch = only(versus(actual=Step(0, (), other)))
    assert (mismatch.file, mismatch.field) == (None, field)


def test_result_counts():
    mismatch = only(versus(Step("EFAULT", (), seen()), Step(4096, (), seen())))
    assert (mismatch.field, mismatch.expected, mismatch.actual) == ("result", "EFAULT", 4096)


def test_because_of_the_expecting_step_is_kept():
    rules = ("write-fault (ext4_da_write_end)",)
    assert only(versus(Step(1, (), seen(), because=rules))).because == rules


def test_adjacent_extents_of_one_state_are_one_run_and_physical_is_never_compared():
    split = (Extent(0, 4096, W, 1 << 20), Extent(4096, 4096, W, 1 << 21))
    whole = (Extent(0, 8192, W, 1 << 22),)
    assert runs(split) == ((0, 8192, W),)
    assert (
        versus(Step(0, (), seen(extents=split)), Step(0, (), seen(extents=whole))).outcome
        is Outcome.AGREE
    )


def test_runs_keep_states_and_holes_apart_and_sort():
    assert runs((Extent(8192, 4096, D), Extent(0, 4096, U), Extent(4096, 2048, W))) == (
        (0, 4096, U),
        (4096, 2048, W),
        (8192, 4096, D),
    )


@pytest.mark.parametrize(
    "other",
    [
        (),
        (Extent(0, 4096, U),),
        (Extent(0, 8192, D),),
        (Extent(0, 4096, D), Extent(8192, 4096, D)),
    ],
)
def test_extents_count_by_state_and_range(other):
    assert only(versus(actual=Step(0, (), seen(extents=other)))).field == "extents"


def test_a_failed_fiemap_is_a_difference():
    failed = seen(extents=None, extents_error="EIO")
    mismatch = only(versus(actual=Step(0, (), failed)))
    assert (mismatch.field, mismatch.expected, mismatch.actual) == ("extents_error", "none", "EIO")
    assert versus(Step(0, (), failed), Step(0, (), failed)).outcome is Outcome.AGREE


def test_a_failed_fiemap_is_not_held_against_a_side_that_does_not_see_extents():
    failed = seen(extents=None, extents_error="EIO")
    verdict = versus(Step(0, (), seen(extents=None)), Step(0, (), failed))
    assert verdict.outcome is Outcome.AGREE
    assert verdict.not_compared == {("extents", "not seen by model"): 1}


def test_a_file_that_only_one_side_has_is_a_difference():
    empty = msgspec.structs.replace(seen(), files={})
    mismatch = only(versus(actual=Step(0, (), empty)))
    assert (mismatch.field, mismatch.expected, mismatch.actual) == ("exists", True, False)


def test_an_observation_that_fails_is_a_difference_unless_both_fail_alike():
    failed = Step(0, (), Observation(error="EIO"))
    assert only(versus(actual=failed)).field == "error"
    assert versus(failed, failed).outcome is Outcome.AGREE
    other = Step(0, (), Observation(error="ESHUTDOWN"))
    assert only(versus(failed, other)).actual == "ESHUTDOWN"


# --- what is not seen -----------------------------------------------------------------


def test_what_a_side_does_not_see_is_counted_with_its_reason():
    blind = Step(0, None, seen(blocks=None), unpredicted={"a.blocks": "tree", "events": "order"})
    verdict = versus(blind, Step(0, (), seen(blocks=77)))
    assert verdict.outcome is Outcome.AGREE
    assert verdict.not_compared == {("blocks", "tree"): 1, ("events", "order"): 1}


def test_a_reason_may_be_given_for_a_field_of_all_files():
    blind = Step(0, (), seen(blocks=None), unpredicted={"blocks": "tree"})
    assert versus(blind).not_compared == {("blocks", "tree"): 1}


def test_without_a_reason_the_blind_subject_is_named():
    verdict = versus(actual=Step(0, (), seen(reserved=None)))
    assert verdict.not_compared == {("reserved", "not seen by guest"): 1}


def test_a_result_that_is_not_predicted_is_counted_not_compared():
    vague = Step("?", (), seen(), unpredicted={"result": "undefined bytes"})
    verdict = versus(vague, Step("0" * 32, (), seen()))
    assert verdict.outcome is Outcome.AGREE
    assert verdict.not_compared == {("result", "undefined bytes"): 1}


# --- events ---------------------------------------------------------------------------


def event(file: str, count: int, kind=EventKind.RESERVE, claim=None) -> Event:
    return Event(kind, file, count, count, claim)


def test_events_of_different_files_may_come_in_any_order():
    a, b = event("a", 1), event("b", 2)
    assert versus(Step(0, (a, b), seen()), Step(0, (b, a), seen())).outcome is Outcome.AGREE


def test_events_of_one_file_have_an_order():
    one, two = event("a", 1), event("a", 2)
    mismatch = only(versus(Step(0, (one, two), seen()), Step(0, (two, one), seen())))
    assert mismatch.field == "events"
    assert mismatch.expected == ("reserve 1 (reserved 1)", "reserve 2 (reserved 2)")


def pieces(*counts: int, claim: bool = True) -> tuple[Event, ...]:
    """Pieces of an allocation of ten reserved blocks, one after the other."""
    left = [10 - sum(counts[:at]) for at in range(len(counts))]
    update = EventKind.UPDATE
    return tuple(Event(update, "a", n, rest, claim) for n, rest in zip(counts, left, strict=True))


@pytest.mark.parametrize(
    ("actual", "agrees"),
    [
        (pieces(4, 6), True),
        (pieces(10), True),
        (pieces(4, 5), False),
        (pieces(4, 5, 2), False),
        (pieces(10, claim=False), False),
        (
            (Event(EventKind.UPDATE, "a", 4, 10, True), Event(EventKind.UPDATE, "a", 6, 7, True)),
            False,
        ),
    ],
)
def test_hidden_pieces_of_an_allocation_add_up_or_differ(actual: tuple[Event, ...], agrees: bool):
    expected = Step(0, pieces(3, 3, 4), seen(), unpredicted={"pieces": "not seen"})
    verdict = versus(expected, Step(0, actual, seen()))
    assert (verdict.outcome is Outcome.AGREE) == agrees
    assert verdict.not_compared == ({("pieces", "not seen"): 1} if agrees else {})
    plain = msgspec.structs.replace(expected, unpredicted={})
    assert versus(plain, Step(0, actual, seen())).outcome is Outcome.MISMATCH


def reserves(*counts: int, first: int = 0) -> tuple[Event, ...]:
    """Reservations one after the other, and a release of what the last has reserved."""
    after = [first + sum(counts[: at + 1]) for at in range(len(counts))]
    release = Event(EventKind.RELEASE, "a", counts[-1], after[-1])
    return (
        *(Event(EventKind.RESERVE, "a", n, r) for n, r in zip(counts, after, strict=True)),
        release,
    )


@pytest.mark.parametrize(
    ("mount", "looked"),
    [("buffered_iomap", True), ("buffered_iomap", False), ("delalloc", False)],
)
@pytest.mark.parametrize(
    ("actual", "same"),
    [
        (reserves(10), True),
        (reserves(1, 9)[:2] + reserves(10)[1:], True),
        (reserves(1, 8)[:2] + reserves(9)[1:], False),
        (reserves(10, first=1), False),
        (reserves(10)[:1], False),
    ],
)
def test_reservations_add_up_where_nobody_looked_at_the_file_before(
    actual: tuple[Event, ...], *, same: bool, mount: str, looked: bool
):
    """Looking makes the kernel cache holes as a whole, and each is reserved at once."""
    workload = with_mount(make_workload(), mount)
    want = make_trace(workload, steps={1: Step(0, reserves(10), seen())})
    before = {} if looked else {0: unobserved_step(0)}
    verdict = compare(
        want, make_trace(workload, "guest", steps={**before, 1: Step(0, actual, seen())})
    )
    excused = mount == "buffered_iomap" and not looked
    agrees = same and (excused or actual == reserves(10))
    assert (verdict.outcome is Outcome.AGREE) is agrees
    pieces_left_out = agrees and actual != reserves(10)
    assert (("pieces", HOLES) in verdict.not_compared) is pieces_left_out


def test_an_event_that_only_one_side_has_is_a_difference():
    verdict = versus(Step(0, (event("a", 1),), seen()))
    assert only(verdict).actual == ()


def test_a_claim_that_one_side_does_not_see_is_counted():
    update = EventKind.UPDATE
    want = Step(0, (event("a", 1, update, True),), seen())
    verdict = versus(want, Step(0, (event("a", 1, update),), seen()))
    assert verdict.outcome is Outcome.AGREE
    assert verdict.not_compared == {("events.claim", "not seen by guest"): 1}
    assert only(versus(want, Step(0, (event("a", 1, update, False),), seen()))).field == "events"


# --- the end --------------------------------------------------------------------------


def ends(expected: dict, actual: dict) -> Verdict:
    """The verdict on two traces whose `final` differs as given."""
    want, got = make_trace(), make_trace(subject="guest")
    change = msgspec.structs.replace
    return compare(
        change(want, final=change(want.final, **expected)),
        change(got, final=change(got.final, **actual)),
    )


@pytest.mark.parametrize("which", ["dropped", "content"])
def test_the_first_differing_block_of_a_content_is_named(which):
    mine = {"a": Content(12288, "1" * 64, {0: 1, 1: 2, 2: 3})}
    theirs = {"a": Content(12288, "2" * 64, {0: 1, 2: 4})}
    mismatch = only(ends({which: mine}, {which: theirs}))
    assert mismatch.place == "final"
    assert mismatch.field == f"{which}, 4096-byte block 1 (byte 4096)"
    assert (mismatch.expected, mismatch.actual) == ("crc32 00000002", "all zero")


def test_undefined_bytes_are_left_out_of_the_content_and_counted():
    mine = {"a": Content(12288, None, {0: 1, 1: 2}, undefined=((4000, 200),))}
    same = {"a": Content(12288, "2" * 64, {0: 5, 1: 6})}
    verdict = ends({"content": mine}, {"content": same})
    assert verdict.outcome is Outcome.AGREE
    assert verdict.not_compared == {("content block", "its bytes are undefined"): 2}
    other = {"a": Content(12288, "2" * 64, {0: 5, 1: 6, 2: 9})}
    assert "block 2" in only(ends({"content": mine}, {"content": other})).field


def test_undefined_bytes_without_checksums_are_counted_as_no_comparison():
    mine = {"a": Content(4096, None, None, undefined=((0, 1),))}
    verdict = ends({"content": mine}, {})
    assert ("content", "undefined in part, and no checksums of its blocks") in verdict.not_compared


def test_content_without_checksums_of_blocks_is_compared_as_a_whole():
    mine, theirs = {"a": Content(4096, "1" * 64)}, {"a": Content(4096, "2" * 64)}
    assert only(ends({"content": mine}, {"content": theirs})).field == "content sha256"


def test_blocks_that_agree_while_the_whole_does_not_are_still_a_difference():
    mine = {"a": Content(4096, "1" * 64, {0: 1})}
    theirs = {"a": Content(4096, "2" * 64, {0: 1})}
    assert only(ends({"content": mine}, {"content": theirs})).field == "content sha256"


def test_blocks_on_disk_count():
    assert only(ends({}, {"disk_blocks": {"a": 16}})).field == "disk_blocks on disk"
    verdict = ends({"disk_blocks": {}}, {})
    assert verdict.not_compared == {("disk_blocks on disk", "not seen by model"): 1}


@pytest.mark.parametrize(
    ("field", "value"),
    [("fsck", "Free blocks wrong"), ("image", ("/a: stale bytes",)), ("log", (WARN,))],
)
def test_complaints_count_even_if_the_model_cannot_have_any(field, value):
    mismatch = only(ends({"fsck": None, "image": None, "log": None}, {field: value}))
    assert mismatch.field == field
    assert mismatch.expected == "no complaint"
    assert mismatch.actual == WARN or str(mismatch.actual).startswith("guest: ")


def test_each_complaint_in_a_log_is_a_finding_of_its_own_and_says_whose_it_is():
    mine, theirs = ends({"log": ()}, {"log": (WARN, MORE)}), ends({"log": (WARN,)}, {"log": ()})
    assert [(m.expected, m.actual) for m in mine.mismatches] == [
        ("no complaint", WARN), ("no complaint", MORE),
    ]  # fmt: skip
    assert (only(theirs).expected, only(theirs).actual) == (WARN, "no complaint")


def test_complaints_that_nobody_looked_for_are_counted():
    blind = {"fsck": None, "image": None, "log": None, "form": None}
    assert set(ends(blind, blind).not_compared) == {
        ("fsck", "not seen by guest"),
        ("image", "not seen by guest"),
        ("log", "not seen by guest"),
        ("image form", "not seen by guest"),
    }


def test_a_missing_end_is_counted():
    verdict = compare(make_trace(), make_trace(subject="guest", final=None))
    assert verdict.outcome is Outcome.AGREE
    assert verdict.not_compared == {("final", "not seen by guest"): 1}


def test_complaints_count_even_if_the_other_side_has_no_end():
    other = make_trace(subject="guest")
    final = msgspec.structs.replace(other.final, log=(WARN,))
    bad = msgspec.structs.replace(other, final=final)
    assert only(compare(make_trace(final=None), bad)).field == "log"


# --- the whole ------------------------------------------------------------------------


def test_a_trace_that_stops_early_is_a_difference_after_its_last_step():
    short = make_trace(subject="guest")
    verdict = compare(make_trace(), msgspec.structs.replace(short, steps=short.steps[:2]))
    assert (only(verdict).place, only(verdict).field) == (2, "steps")
    assert verdict.steps == 2


def test_later_mismatches_are_kept_but_the_first_step_is_the_headline():
    wrong = Step(0, (), seen(size=1, reserved=3))
    verdict = compare(make_trace(), make_trace(steps={1: wrong, 2: wrong}))
    assert len(verdict.mismatches) == 4
    assert [(m.place, m.field) for m in verdict.headline] == [(1, "size"), (1, "reserved")]


def test_two_paths_can_be_compared_but_not_two_workloads():
    base = make_workload()
    other = with_mount(base, "delalloc,buffered_iomap")
    assert compare(make_trace(base), make_trace(other)).outcome is Outcome.AGREE
    with pytest.raises(ValueError, match="different workloads"):
        compare(make_trace(base), make_trace(make_workload("fsync a")))


def test_a_mismatch_outweighs_broken_machinery_and_both_outweigh_the_rest(workload):
    wrong = Mismatch("final", "", None, "log", "", "x")
    base = Verdict(workload, ("model", "guest"))
    change = msgspec.structs.replace
    assert change(base, mismatches=(wrong,), broken="x").outcome is Outcome.MISMATCH
    assert change(base, broken="x", known=("k",)).outcome is Outcome.BROKEN
    assert change(base, refused="x").outcome is Outcome.NOT_MODELLED
    assert change(base, known=("k",)).outcome is Outcome.KNOWN


def test_quota_warnings_that_only_the_kernel_has_are_counted_and_no_mismatch():
    said = ("uid 1000: block hard limit reached",)
    quiet = make_trace()
    warned = make_trace(final=msgspec.structs.replace(quiet.final, warnings=said))
    other = make_trace(final=msgspec.structs.replace(quiet.final, warnings=()))
    verdict = compare(quiet, warned)
    assert verdict.mismatches == ()
    assert verdict.not_compared == {("warnings", "not seen by model"): 1}
    assert [m.field for m in compare(other, warned).mismatches] == ["warnings"]
    assert ("warnings", "not seen by model") not in compare(quiet, quiet).not_compared
