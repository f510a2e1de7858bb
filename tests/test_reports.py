"""Reports say what was done, expected and seen, and name what was not compared."""

from __future__ import annotations

import json
import re

import msgspec
from fakes import RELEASE, make_trace, seen

from harness.comparison.compare import compare
from harness.session import Results
from harness.signature import Signature
from harness.trace import Complaint, ComplaintKind, Extent, State, Step
from harness.verdict import Compared, Mismatch, Outcome, Verdict
from reports.steps import step_table
from reports.summary import Digest, digest, summarise
from reports.terminal import explain, headline
from reports.words import pair_text

D, W = State.DELAYED, State.WRITTEN
RULE = "a write that copies nothing leaves the size (ext4_da_write_end)"


def mismatch() -> Compared:
    more = (Extent(0, 4096, D), Extent(8192, 4096, W))
    expected = make_trace(steps={1: Step("EFAULT", (), seen(), because=(RULE,))})
    actual = make_trace(
        subject="guest",
        kernel=RELEASE,
        steps={1: Step("EFAULT", (), seen(size=8192, extents=more)), 2: Step(5, (), seen())},
    )
    return Compared(compare(expected, actual), expected, actual)


def test_the_headline_names_step_operation_and_fields():
    assert headline(mismatch().verdict) == (
        "example@4k@delalloc: model and guest differ at step 2 of 3"
        " (pwrite_fault a 8k 4k fault=0): size of a, extents of a"
    )


def test_the_explanation_says_done_expected_seen_because_and_where_it_is_kept(tmp_path):
    text = explain(mismatch(), kept_in=tmp_path)
    assert " >  2  pwrite_fault a 8k 4k fault=0" in text
    assert "expected by model  seen on guest" in text
    assert "4k delayed at 0; 4k written at 8k" in text
    assert RULE in text
    assert "Later differences, which may be consequences: 1 at step 3 of 3" in text
    assert str(tmp_path) in text
    assert "\x1b" not in text


def test_colours_only_when_asked_for():
    assert "\x1b[31m" in explain(mismatch(), colour=True)


def test_a_long_complaint_is_shown_line_by_line(workload):
    log = Mismatch("final", "", None, "log", "no complaint", "guest: WARNING\n at inode.c")
    verdict = Verdict(workload, ("model", "guest"), mismatches=(log,))
    text = explain(Compared(verdict))
    assert "      guest: WARNING\n       at inode.c" in text
    assert "the end: sync" in text


def test_of_a_long_list_what_is_around_the_first_difference_is_shown():
    runs = [(index * 8192, 4096, W) for index in range(5000)]
    other = [*runs[:3000], (3000 * 8192, 4096, D), *runs[3001:]]
    expected, actual = pair_text(tuple(runs), tuple(other))
    assert expected.startswith("(2998 before) 4k written at ")
    assert "delayed" in actual
    assert actual.endswith("; and 1978 more")
    assert len(actual) < 1000
    assert pair_text((), tuple(runs))[0] == "none"
    assert pair_text(tuple(runs[:100]), tuple(runs))[1].startswith("(98 before) ")
    assert pair_text(tuple(runs[:100]), tuple(runs))[0].startswith("(98 before) ")


def test_a_complaint_of_the_kernel_is_shown_by_title_step_and_first_lines(workload):
    lines = ("WARNING: fs/ext4/inode.c:373 at ext4_foo+0x1/0x2", *(f" f{i}+1" for i in range(20)))
    said = Complaint(ComplaintKind.WARNING, "WARNING in ext4_foo", lines, step=1, count=2)
    found = Mismatch("final", "", None, "log", "no complaint", said)
    verdict = Verdict(workload, ("model", "guest"), mismatches=(found,))
    assert headline(verdict) == (
        "example@4k@delalloc: the kernel complains: WARNING in ext4_foo (2 times)"
    )
    text = explain(Compared(verdict))
    assert "      WARNING in ext4_foo (2 times), first in step 2\n" in text
    assert f"        {lines[0]}\n" in text
    assert "... and 9 lines more" in text
    summary = "\n".join(summarise([digest(verdict, "item", 1.0)]))
    assert "The kernel's complaints\n  WARNING in ext4_foo in 1 workload" in summary


# --- the summary ----------------------------------------------------------------------


def digests(workload):
    base = Verdict(workload, ("model", "guest"), (None, RELEASE), steps=3, compared=30)
    change = msgspec.structs.replace
    verdicts = [
        change(base, not_compared={("blocks", "tree"): 2}),
        change(base, known=("efault-beyond-eof-moves-size",), not_compared={("blocks", "tree"): 1}),
        change(base, gone=("efault-beyond-eof-moves-size",)),
        change(base, refused="quota"),
        change(base, broken="BootError: silent"),
        mismatch().verdict,
    ]
    return [
        digest(v, f"item{i}", float(i), "/kept" if i == 5 else None) for i, v in enumerate(verdicts)
    ]


def test_the_summary_counts_every_outcome_and_names_every_reason(workload):
    lines = summarise(digests(workload))
    text = "\n".join(lines)
    assert lines[0].split() == [
        "configuration", "agree", "known", "mismatch", "not", "modelled", "broken",
    ]  # fmt: skip
    assert lines[1].split() == ["4k@delalloc", "2", "1", "1", "1", "1"]
    assert "efault-beyond-eof-moves-size in 1 workload: i_size moves" in text
    assert "Known issues that no longer show on this kernel" in text
    assert "1 workload: quota" in text
    assert "BootError: silent" in text
    assert any(line.split() == ["blocks", "3", "times", "tree"] for line in lines)
    assert "kept in /kept" in text
    assert "5.00 s  item5" in text


def test_a_thousand_hits_of_one_cause_are_one_finding(workload):
    one = digest(mismatch().verdict, "first", 1.0, "/kept/first")
    hits = [msgspec.structs.replace(one, name=f"item{i}", steps=9 - i % 5) for i in range(999)]
    other = msgspec.structs.replace(
        one, signature=Signature((), ("bfree",), ("larger",), "fsync"), kept_in=None
    )
    lines = summarise([one, *hits, other])
    at = lines.index("Mismatches: 2 findings in 1,001 workloads")
    assert lines[at + 1] == f"  1,000 workloads: {one.signature.text} [{one.signature.id}]"
    assert lines[at + 2].startswith("    example@4k@delalloc: model and guest differ at step 2")
    assert lines[at + 3] == "    kept in /kept/first"
    assert re.fullmatch(r"    first seen at \d{4}-\d\d-\d\d [\d:]{8} in first", lines[at + 4])
    assert lines[at + 5].startswith("  1 workload: bfree: larger, fsync [")
    assert not any("first seen" in line for line in lines[at + 6 :])


def test_a_row_of_the_results_carries_what_tools_group_by(tmp_path):
    results = Results(tmp_path)
    results.add(digest(mismatch().verdict, "item", 1.0))
    row = json.loads((tmp_path / "results.jsonl").read_text())
    signature = results.digests[0].signature
    assert row["signature"]["id"] == signature.id
    assert row["signature"]["text"] == signature.text
    assert msgspec.convert(row, Digest) == results.digests[0]


def test_a_digest_travels_as_json(workload):
    for found in digests(workload):
        assert msgspec.convert(msgspec.to_builtins(found), type(found)) == found
        assert isinstance(msgspec.to_builtins(found)["outcome"], str)


def test_an_empty_run_says_so():
    assert summarise([]) == ["Nothing was run."]


def test_one_line_for_each_outcome(workload):
    verdict = Verdict(workload, ("model", "guest"), steps=3, broken="BootError: silent")
    assert headline(verdict).endswith(f"{Outcome.BROKEN}: BootError: silent")


def test_the_step_table_marks_agreement_known_issues_and_differences():
    expected = make_trace(steps={0: Step(4096, (), seen(), quirks=("x",)), 1: Step(1, (), seen())})
    actual = make_trace(subject="guest", steps={0: Step(4096, (), seen()), 1: Step(2, (), seen())})
    lines = step_table(Compared(compare(expected, actual), expected, actual))
    assert [line[1] for line in lines[1:]] == ["k", "x", "=", "="]
    assert " ".join(lines[1].split()) == "k 1 pwrite a 0 4k 4096 a 4096 8 1 4k delayed at 0"
    assert "(no file changed)" in lines[2]


def test_steps_that_were_not_judged_are_marked_as_such(workload):
    verdict = Verdict(workload, ("model", "guest"), refused="quota")
    lines = step_table(Compared(verdict, None, make_trace(subject="guest")))
    assert [line[1] for line in lines[1:]] == ["?", "?", "?", "?"]


def test_a_known_issue_is_explained(workload):
    verdict = Verdict(workload, ("model", "guest"), known=("efault-beyond-eof-moves-size",))
    text = explain(Compared(verdict))
    assert "model follows the known issue efault-beyond-eof-moves-size" in text
    assert "i_size moves" in text
