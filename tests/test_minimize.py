"""Minimizing: fewer operations, simpler arguments and configurations, the same mismatch."""

from __future__ import annotations

import io

import msgspec
import pytest
from fakes import make_workload
from minimizing import EFAULT, PROGRAMS, Sides, workload_in
from modelled import geometry

from harness.artifacts.artifact import program_of
from harness.errors import MachineryError, NotModelledError
from harness.minimize.answers import Answer, Answers
from harness.minimize.budget import Budget, BudgetSpentError
from harness.minimize.configs import simpler_configs
from harness.minimize.minimizer import Minimizer, NotShownError
from harness.minimize.numbers import simpler_counts, simpler_numbers, simpler_shares
from harness.minimize.oracle import tries_for
from harness.minimize.refusal import discarding
from harness.minimize.search import Search
from harness.minimize.simplicity import config_cost, measure, number_cost
from harness.signature import Signature, same, signature_of
from harness.verdict import Compared, Mismatch, Outcome, Verdict
from model import Behaviour, Model
from vm.live_line import LiveLine
from workloads.ops import Parallel, WriteFault, calls
from workloads.program import config_of
from workloads.syntax import format_line, format_program, parse
from workloads.workload import Workload


def line(workload: Workload) -> str:
    return format_line(program_of(workload))


def on(text: str, config: str = "4k@delalloc") -> Workload:
    return make_workload(text, config)


def search(workload: Workload, shows, place="final") -> Search:
    """What is left of `workload` while `shows` says yes."""
    found = Search(workload, place, lambda candidate: place if shows(candidate) else None)
    found.run()
    return found


def words(workload: Workload) -> list[str]:
    return [call.WORD for call in calls(workload.ops)]


# --- numbers --------------------------------------------------------------------------


@pytest.mark.parametrize("value", [1, 511, 4096, 4097, 9999, 20000, 65536, 1 << 40, -4096])
@pytest.mark.parametrize("block", [1024, 4096])
def test_what_is_tried_for_a_number_is_simpler_and_the_simplest_comes_first(value, block):
    tried = simpler_numbers(value, block)
    costs = [number_cost(n, block) for n in tried]
    assert tried[0] == 0
    assert costs == sorted(costs)
    assert all(cost < number_cost(value, block) for cost in costs)


def test_whole_blocks_are_simpler_than_odd_numbers_and_nothing_is_simpler_than_0():
    assert simpler_numbers(0, 4096) == []
    assert simpler_numbers(4096, 4096) == [0]
    assert {0, 4096, 16384, 20480} <= set(simpler_numbers(20000, 4096))
    assert simpler_numbers(-1, 4096, low=0)[0] == 0


def test_counts_and_shares():
    assert simpler_counts(1) == [0]
    assert simpler_counts(1234) == [0, 1, 1000, 1024]
    assert 0.5 in simpler_shares(0.51234)
    assert simpler_shares(0.0) == []


# --- operations -----------------------------------------------------------------------


def test_only_what_the_mismatch_takes_is_left():
    workload = on("; ".join(f"pwrite a {n}k 4k" for n in range(20)) + "; fsync a; sync; fsync b")
    found = search(workload, lambda c: {"fsync", "sync"} <= set(words(c)))
    assert sorted(words(found.best)) == ["fsync", "sync"]


def test_what_follows_the_step_of_the_mismatch_goes_with_one_candidate():
    workload = on("pwrite a 0 4k; fpunch a 0 4k; " + "; ".join(["fsync a"] * 20))
    asked = []

    def ask(candidate):
        asked.append(candidate)
        return words(candidate).index("fpunch") if "fpunch" in words(candidate) else None

    found = Search(workload, 1, ask)
    found.run()
    assert [len(candidate.ops) for candidate in asked[:2]] == [2, 1]
    assert line(found.best) == "fpunch a 0 0"


def test_no_operation_can_go_alone():
    needed = {"pwrite", "truncate", "fpunch", "fsync"}
    workload = workload_in(PROGRAMS[0])
    ops = [*workload.ops, *on("pwrite a 0 1; truncate a 9; fpunch a 0 1; fsync a").ops]
    workload = msgspec.structs.replace(workload, ops=tuple(ops))
    found = search(workload, lambda c: needed <= set(words(c)))
    assert sorted(words(found.best)) == sorted(needed)


def test_a_mismatch_that_needs_the_end_keeps_what_comes_late():
    workload = on("pwrite a 0 4k; fsync a; pread a 0 4k; sync")
    found = search(workload, lambda c: words(c)[-1:] == ["sync"])
    assert words(found.best) == ["sync"]


# --- arguments ------------------------------------------------------------------------


def test_files_tags_and_numbers_become_the_plainest():
    workload = on("pwrite long.name 1m 70000 tag=77; pwrite other 999999 12345 tag=9")
    found = search(workload, lambda c: words(c) == ["pwrite", "pwrite"])
    assert line(found.best) == "pwrite a 0 0; pwrite a 0 0"


def test_two_files_stay_two_where_it_takes_two():
    workload = on("pwrite x 5000 100; pwrite y 0 100")
    found = search(workload, lambda c: len({call.file for call in calls(c.ops)}) == 2)
    assert line(found.best) == "pwrite a 0 0; pwrite b 0 0"


def test_equal_numbers_change_together():
    workload = on("pwrite a 0 20000; truncate a 20000")

    def shows(candidate):
        return (
            words(candidate) == ["pwrite", "truncate"]
            and candidate.ops[0].len == candidate.ops[1].size > 4096
        )

    assert line(search(workload, shows).best) == "pwrite a 0 8k; truncate a 8k"


def test_an_operation_of_a_simpler_kind_takes_the_place_of_another():
    workload = on("pwrite a 0 4k; pwritev a 8k 1k:0,3k; rlimit_write a limit=9000 8k 4k")
    found = search(workload, lambda c: len(c.ops) == 3 and c.ops[2].off + c.ops[2].len > 8192)
    assert words(found.best) == ["pwrite"] * 3


def test_segments_and_options_go_one_by_one():
    workload = on("pwritev a 4000 1000,2000:100,3000; remount_opts nodelalloc,dioread_lock")

    def shows(candidate):
        ops = candidate.ops
        return (
            words(candidate) == ["pwritev", "remount_opts"]
            and any(readable is not None for _, readable in ops[0].segs)
            and "dioread_lock" in ops[1].opts
        )

    assert line(search(workload, shows).best) == "pwritev a 0 0:0; remount_opts dioread_lock"


# --- parallel sections ----------------------------------------------------------------

SECTION = (
    "pwrite a 0 8k; parallel seed=7; pwrite a 0 4k; fsync a; and; fpunch a 0 4k; pread a 0 4k;"
    " and; truncate a 100; end; sync"
)


def test_a_section_that_does_not_matter_becomes_its_calls():
    found = search(on(SECTION), lambda c: "fpunch" in words(c))
    assert line(found.best) == "fpunch a 0 0"


def test_a_section_that_matters_loses_threads_calls_and_its_seed():
    def shows(candidate):
        return any(
            isinstance(op, Parallel)
            and {"pwrite", "fpunch"} <= {call.WORD for thread in op.threads for call in thread}
            for op in candidate.ops
        )

    best = search(on(SECTION), shows).best
    (section,) = best.ops
    assert sorted(map(len, section.threads)) == [1, 1]
    assert section.seed == 0
    assert parse(format_program(program_of(best)), "again").ops == best.ops


# --- configurations -------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["1k@nodelalloc,dioread_lock", "quotabig16k@delalloc,usrquota", "4k@data=journal", "2k@x"],
)
def test_every_configuration_that_is_tried_is_simpler(name):
    workload = msgspec.structs.replace(on("sync"), config=config_of(name))
    tried = [candidate.config for candidate in simpler_configs(workload)]
    assert tried[0].name == "4k@delalloc"
    assert all(config_cost(config) < config_cost(workload.config) for config in tried)


def test_the_default_configuration_is_the_simplest():
    assert list(simpler_configs(on("sync"))) == []


def test_options_go_before_features_and_what_is_needed_stays():
    workload = msgspec.structs.replace(
        on("sync"), config=config_of("quotabig16k@delalloc,usrquota,dioread_lock", 16 << 20)
    )
    found = search(workload, lambda c: "bigalloc" in c.config.image.features)
    assert found.best.config.name == "bigalloc16k@delalloc"
    found = search(workload, lambda c: "usrquota" in c.config.options)
    assert found.best.config.name == "4k@delalloc,usrquota"


def test_numbers_of_blocks_stay_when_the_block_size_changes():
    workload = on("pwrite a 3k 2k", "1k@delalloc")
    found = search(workload, lambda c: c.ops[0].off == 3 * c.config.image.block_size)
    assert found.best.config.name == "4k@delalloc"
    assert found.best.ops[0].off == 12288


# --- the whole, on a kernel with a seeded bug ------------------------------------------


def minimizer(sides, workload, **options) -> Minimizer:
    return Minimizer(sides, workload, None, question="q", repeat=1, **options)


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_a_random_program_with_a_known_bug_shrinks_to_three_operations_or_fewer(path):
    sides = Sides(EFAULT)
    workload = workload_in(path)
    first = sides(workload).verdict
    found = minimizer(sides, workload).minimize()
    assert len(workload.ops) == 25
    assert len(found.best.ops) <= 3
    assert found.compared is not None
    assert same(signature_of(first), signature_of(found.compared.verdict))
    assert found.best.config.name in ("4k@delalloc", "4k@nodelalloc")
    assert len(sides.ran) < 150


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_what_the_model_discards_would_not_have_shown_it(path):
    sides = Sides(EFAULT)
    workload = workload_in(path)
    verdict = sides(workload).verdict
    target = signature_of(verdict)
    discards = discarding(Model(Behaviour(), geometry), target)
    discarded = []

    def ask(candidate):
        found = sides(candidate).verdict
        shows = same(target, signature_of(found))
        if discards(candidate):
            discarded.append(candidate)
            assert not shows, line(candidate)
        return found.mismatches[0].place if shows else None

    found = Search(workload, verdict.mismatches[0].place, ask)
    found.run()
    assert len(discarded) > len(sides.ran) / 4


def test_what_the_model_lacks_is_discarded_and_sections_never_are():
    discards = discarding(
        Model(Behaviour(), geometry), Signature(("nowhere",), ("size",), ("larger",), "")
    )
    assert discards(msgspec.structs.replace(on("sync"), config=config_of("4k@nosuchoption")))
    assert discards(on("pwrite a 0 4k"))
    assert not discards(on(SECTION))


def test_every_candidate_is_a_workload_that_a_file_can_hold():
    workload = workload_in(PROGRAMS[1])
    sides = Sides(EFAULT)
    minimizer(sides, workload).minimize()
    for candidate in sides.ran:
        text = format_program(program_of(candidate))
        assert parse(text, "again").ops == candidate.ops


def test_each_step_of_the_search_is_simpler_than_the_one_before():
    workload = workload_in(PROGRAMS[2])
    sides = Sides(EFAULT)
    target = signature_of(sides(workload).verdict)
    bests = [measure(workload)]

    def ask(candidate):
        verdict = sides(candidate).verdict
        return verdict.mismatches[0].place if same(target, signature_of(verdict)) else None

    found = Search(workload, 5, ask, lambda: bests.append(measure(found.best)))
    found.run()
    assert len(bests) > 5
    assert bests == sorted(bests, reverse=True)


# --- the same mismatch, and no other ----------------------------------------------------


def judged(workload: Workload, *mismatches: Mismatch, **fields) -> Compared:
    names = ("model", "guest")
    return Compared(Verdict(workload, names, (None, "7.3.4"), mismatches=mismatches, **fields))


def differs(workload: Workload, at: int, field: str, rule: str) -> Mismatch:
    return Mismatch(at, workload.ops[at].WORD, "a", field, 1, 2, (rule,))


NEW_END = "short copy past EOF: ext4_da_do_write_end"
SHORT = "short copy keeps new blocks: folio_zero_new_buffers"
"""What the model notes of two rules."""


def two_bugs(workload: Workload) -> Compared:
    """`size` differs once a faulting write follows a truncate; a faulting write alone already
    shows another rule's `size`, or another field."""
    for at, op in enumerate(workload.ops):
        if isinstance(op, WriteFault):
            after = "truncate" in words(workload)[:at]
            if after and op.off:
                return judged(workload, differs(workload, at, "size", NEW_END))
            if op.off:
                return judged(workload, differs(workload, at, "size", SHORT))
            return judged(workload, differs(workload, at, "blocks", NEW_END))
    return judged(workload)


def test_another_rule_or_another_field_is_another_mismatch():
    workload = on("pwrite a 0 4k; truncate a 8k; fsync a; pwrite_fault a 12k 4k fault=0; sync")
    found = minimizer(two_bugs, workload).minimize()
    assert line(found.best) == "truncate a 0; pwrite_fault a 4k 0 fault=0"


# --- flaky mismatches -------------------------------------------------------------------


class Flaky:
    """`two_bugs`, but it agrees in all but every third run."""

    def __init__(self, every: int = 3) -> None:
        self.every, self.count = every, 0

    def __call__(self, workload: Workload) -> Compared:
        self.count += 1
        return judged(workload) if self.count % self.every else two_bugs(workload)


def test_a_flaky_mismatch_gets_more_runs_and_the_report_says_how_often_it_shows(capsys):
    workload = on("pwrite a 0 4k; truncate a 8k; fsync a; pwrite_fault a 12k 4k fault=0; sync")
    found = Minimizer(Flaky(), workload, None, question="q", repeat=6).minimize()
    assert found.shown_first == (2, 6)
    assert len(found.best.ops) == 2
    assert found.shown_best == (2, 6)
    assert found.compared is not None


def test_a_rare_one_that_no_counted_run_shows_is_still_kept(capsys):
    workload = on("truncate a 8k; pwrite_fault a 12k 4k fault=0")
    found = Minimizer(Flaky(7), workload, None, question="q", repeat=7).minimize()
    assert found.shown_first == (1, 7)
    assert found.shown_best is not None
    assert found.shown_best[1] == 7
    assert found.compared is not None
    assert found.compared.verdict.mismatches


@pytest.mark.parametrize(
    ("shown", "runs", "tries"), [(5, 5, 1), (4, 5, 2), (1, 5, 14), (1, 99, 20)]
)
def test_the_rarer_it_shows_the_more_often_a_candidate_runs(shown, runs, tries):
    assert tries_for(shown, runs) == tries


# --- budgets, and going on later ---------------------------------------------------------

LONG = (
    "; ".join(["pwrite a 0 4k", "fsync a"] * 10) + "; truncate a 8k; pwrite_fault a 12k 4k fault=0"
)


class Counting:
    """`two_bugs`; `stop` raises at that run."""

    def __init__(self, stop: int = 0, error: BaseException | None = None) -> None:
        self.ran: list[Workload] = []
        self.stop, self.error = stop, error

    def __call__(self, workload: Workload) -> Compared:
        self.ran.append(workload)
        if self.error is not None and len(self.ran) == self.stop:
            raise self.error
        return two_bugs(workload)


def test_a_budget_of_runs_ends_the_search_and_the_best_so_far_is_the_result():
    run = Counting()
    found = minimizer(run, on(LONG), budget=Budget(runs=4)).minimize()
    assert found.spent == "4 runs"
    assert len(run.ran) == 5  # the last one is the look at the result
    assert len(found.best.ops) < 22
    assert found.shown_best == (1, 1)


def test_a_budget_of_seconds_ends_the_search():
    starting = iter([1000.0, 0.0])  # as if 1000 s had gone by
    budget = Budget(seconds=5.0, starting=lambda: next(starting))
    with pytest.raises(BudgetSpentError, match="5 s"):
        budget.take()
    assert Budget(seconds=5.0).spent < 5


def test_what_is_known_is_not_run_again_and_leads_to_the_same_result(tmp_path):
    files = {"known": tmp_path / "x.answers", "best": tmp_path / "x.ops"}
    whole = minimizer(Counting(), on(LONG)).minimize()
    minimizer(Counting(), on(LONG), budget=Budget(runs=6), **files).minimize()
    assert parse(files["best"].read_text(), "best").ops
    second = Counting()
    found = minimizer(second, on(LONG), **files).minimize()
    assert found.best == whole.best
    third = Counting()
    assert minimizer(third, on(LONG), **files).minimize().best == whole.best
    assert len(third.ran) == 2  # the first and the last look


def test_ctrl_c_leaves_the_best_so_far(tmp_path):
    files = {"known": tmp_path / "x.answers", "best": tmp_path / "x.ops"}
    cut = minimizer(Counting(6, KeyboardInterrupt()), on(LONG), **files)
    with pytest.raises(KeyboardInterrupt):
        cut.minimize()
    best = cut.so_far()
    assert best is not None
    assert len(best.best.ops) < 22
    assert parse(files["best"].read_text(), "best").ops == best.best.ops


def test_an_interrupt_before_anything_was_seen_leaves_nothing():
    cut = minimizer(Counting(1, KeyboardInterrupt()), on(LONG))
    with pytest.raises(KeyboardInterrupt):
        cut.minimize()
    assert cut.so_far() is None


def test_answers_to_another_question_are_not_taken_over(tmp_path):
    path = tmp_path / "x.answers"
    Answers("one", path).put(on(LONG), Answer(3))
    assert Answers("one", path).get(on(LONG)) == Answer(3)
    assert Answers("two", path).get(on(LONG)) is None


@pytest.mark.parametrize("damage", [b"", b"\x00\xff", b'{"question":"one"}\n{"key": "x", "ans'])
def test_a_damaged_file_of_answers_begins_anew(tmp_path, damage):
    path = tmp_path / "x.answers"
    path.write_bytes(damage)
    known = Answers("one", path)
    assert known.earlier == 0
    known.put(on(LONG), Answer("final"))
    assert Answers("one", path).get(on(LONG)) == Answer("final")


def test_a_line_that_was_cut_short_costs_only_itself(tmp_path):
    path = tmp_path / "x.answers"
    Answers("one", path).put(on(LONG), Answer(3))
    with path.open("ab") as file:
        file.write(b'{"key": "half')
    assert Answers("one", path).get(on(LONG)) == Answer(3)


def test_names_of_programs_are_no_part_of_what_is_known():
    known = Answers("one")
    known.put(on(LONG), Answer(3))
    assert known.get(msgspec.structs.replace(on(LONG), program="x", shows="y")) == Answer(3)


# --- nothing to minimize -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "error", "said"),
    [
        ({}, NotShownError, "no mismatch shows, in one run on kernel 7.3.4"),
        ({"known": ("an-issue",)}, NotShownError, "--strict-model counts known issues"),
        ({"refused": "why"}, NotModelledError, "why"),
        ({"broken": "QemuError: gone"}, MachineryError, "gone"),
        ({"unusable": "too small"}, NotShownError, "too small"),
    ],
)
def test_a_workload_without_a_mismatch_is_told_in_one_line(fields, error, said):
    with pytest.raises(error, match=said) as caught:
        minimizer(lambda workload: judged(workload, **fields), on(LONG)).minimize()
    assert "\n" not in str(caught.value)


def test_a_mismatch_that_is_gone_or_has_become_another_is_told():
    target = signature_of(two_bugs(on(LONG)).verdict)
    with pytest.raises(NotShownError, match="does not show any more, in 2 runs"):
        Minimizer(judged, on(LONG), target, question="q", repeat=2).minimize()
    other = on("pwrite_fault a 12k 4k fault=0")
    with pytest.raises(
        NotShownError, match="another mismatch shows than the one to be minimized, in 2 runs"
    ):
        Minimizer(two_bugs, other, target, question="q", repeat=2).minimize()


def test_machinery_that_stays_broken_ends_the_search_and_one_failure_does_not():
    def failing(first: int, last: int):
        count = 0

        def run(workload: Workload) -> Compared:
            nonlocal count
            count += 1
            if first <= count <= last:
                return judged(workload, broken="QemuError: gone")
            return two_bugs(workload)

        return run

    assert len(minimizer(failing(3, 3), on(LONG)).minimize().best.ops) == 2
    broken = minimizer(failing(3, 99), on(LONG))
    with pytest.raises(MachineryError, match="3 runs in a row failed: QemuError: gone"):
        broken.minimize()
    assert broken.so_far() is not None


def test_verdicts_of_the_fake_are_what_the_tests_take_them_for():
    assert judged(on(LONG)).verdict.outcome is Outcome.AGREE
    assert two_bugs(on(LONG)).verdict.outcome is Outcome.MISMATCH


# --- progress -------------------------------------------------------------------------------


class Stream(io.StringIO):
    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


CLEAR = "\x1b[K"
"""Takes away what is right of the cursor."""


def screen(text: str) -> list[str]:
    """What a terminal shows after `text`."""
    rows = []
    for line in text.split("\n"):
        row = ""
        for part in line.split("\r"):
            row = part + row[len(part) :] if not part.startswith(CLEAR) else part[len(CLEAR) :]
        rows.append(row.rstrip())
    return rows


def test_on_a_terminal_the_progress_is_one_line_and_leaves_nothing_behind():
    stream = Stream(terminal=True)
    progress = LiveLine(stream)
    progress.show("operations: 10 left", news=True)
    progress.show("operations: 9 left", news=True)
    progress.tell("done")
    assert screen(stream.getvalue()) == ["done", ""]


def test_anywhere_else_only_news_are_a_line():
    stream = Stream(terminal=False)
    progress = LiveLine(stream)
    progress.show("10 left", news=True)
    progress.show("10 left, still")
    progress.show("10 left", news=True)
    assert stream.getvalue() == "10 left\n"
