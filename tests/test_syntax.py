"""The text form of workloads: exact round trips, and errors that say where and what to do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.fields import Field, fields_of, format_number, parse_number
from workloads.files import load
from workloads.ops import BY_WORD, AnyOp, DioWrite, Punch, Pwritev, Sync, UserWrite, Write
from workloads.program import DEFAULT, DEFAULT_CONFIGS, Note, Program
from workloads.syntax import (
    WorkloadSyntaxError,
    format_line,
    format_program,
    parse,
    parse_line,
    usage,
    workloads,
)

DOCUMENT = Path(__file__).parent.parent / "docs" / "workloads.md"


# --- what it means ----------------------------------------------------------------------


def test_header_comments_and_operations() -> None:
    program = parse(
        "# about\n"
        "show: what; it shows # really\n"
        "on: 1k@delalloc default\n"
        "rules: DA.1 EOF\n"
        "size: 0x1400k\n"
        "\n"
        "# first\n"
        "pwrite a 0 8k ; fpunch a -4096 0x1000 # beside\r\n"
        "\tsync\n"
        "# last",
        "name",
    )
    assert program == Program(
        "name",
        (Write("a", 0, 8192, 1), Punch("a", -4096, 4096), Sync()),
        "what; it shows # really",
        ("1k@delalloc", DEFAULT),
        ("DA.1", "EOF"),
        0x1400 * 1024,
        (Note(-1, "about"), Note(0, "first"), Note(1, "beside", True), Note(3, "last")),
    )


def test_a_tag_is_the_operations_number_unless_given() -> None:
    ops = parse_line("sync; pwrite a 0 1; pwrite a 0 1 7; dwrite a 0 512 tag=9").ops
    assert ops == (Sync(), Write("a", 0, 1, 2), Write("a", 0, 1, 7), DioWrite("a", 0, 512, 9))


@pytest.mark.parametrize(
    "text",
    [
        "user_write a 0 4k 1000",
        "user_write a 0 4k 1 1000",
        "user_write a 0 4k uid=1000",
        "user_write a 0 uid=1000 4k",
        "user_write uid=1000 len=4k off=0 file=a tag=1",
    ],
)
def test_fields_may_be_named_in_any_order(text: str) -> None:
    assert parse_line(text).ops == (UserWrite("a", 0, 4096, 1, 1000),)


def test_the_order_of_arguments_is_that_of_the_usage_line() -> None:
    for line in ("rlimit_write a limit=64k 0 128k", "mwrite_in a p=0.5 100"):
        assert parse_line(line) == parse_line(re.sub(r"\w+=", "", line))
        assert format_line(parse_line(line)) == line


def test_segments_of_a_vector() -> None:
    op = Pwritev("a", 0, ((8192, None), (4096, 0), (16384, 8192)), 1)
    assert parse_line("pwritev a 0 8k,4k:0,16k:8k").ops == (op,)
    assert format_line(Program("x", (op,))) == "pwritev a 0 8k,4k:0,16k:8k"


def test_a_line_takes_headers_and_ends_at_a_comment() -> None:
    program = parse_line("on: 1k@delalloc; show: it; pwrite a 0 1; fsync a # no; sync")
    assert (program.on, program.shows) == (("1k@delalloc",), "it")
    assert format_line(program) == "pwrite a 0 1; fsync a"


@pytest.mark.parametrize(
    ("text", "value"),
    [("0", 0), ("4k", 4096), ("1M", 2**20), ("-2g", -(2**31)), ("0x10k", 16384), ("+7", 7)],
)
def test_numbers(text: str, value: int) -> None:
    assert parse_number(text) == value
    assert parse_number(format_number(value)) == value


def test_workloads_name_each_configuration_once() -> None:
    program = parse("show: it\non: default 4k@delalloc small4k@delalloc\nsync", "p")
    names = [f"p@{config}" for config in (*DEFAULT_CONFIGS, "small4k@delalloc")]
    assert [workload.name for workload in workloads(program)] == names
    assert {workload.shows for workload in workloads(program)} == {"it"}


def test_a_size_makes_another_image() -> None:
    (workload,) = workloads(parse("on: 1k@delalloc\nsize: 20m\nsync", "p"))
    assert workload.config.image.name == "1k-20m"
    assert workload.config.image.size == 20 * 2**20
    assert workload.config.image.block_size == 1024


# --- round trips ------------------------------------------------------------------------

FILES = st.from_regex(r"[A-Za-z0-9_.-]{1,20}", fullmatch=True).filter(
    lambda name: name not in (".", "..")
)
WORDS = st.text(
    st.characters(codec="utf-8", exclude_characters="\n\r", exclude_categories=["Cs"]), min_size=1
).filter(lambda text: text.strip() == text)


def _values(field: Field) -> st.SearchStrategy[object]:
    numbers = st.integers(field.low, field.high)
    if field.kind == "segments":
        return st.lists(st.tuples(numbers, st.none() | numbers), min_size=1).map(tuple)
    return {
        "file": FILES,
        "options": st.sampled_from(["ro", "delalloc,commit=5"]),
        "share": st.floats(0, 1).map(abs),
    }.get(field.kind, numbers)


def _operations(word: str) -> st.SearchStrategy[AnyOp]:
    cls = BY_WORD[word]
    return st.builds(cls, **{field.name: _values(field) for field in fields_of(cls)})


@st.composite
def programs(draw: st.DrawFn) -> Program:
    words = draw(st.lists(st.sampled_from(sorted(BY_WORD)), min_size=1, max_size=8))
    ops = tuple(draw(_operations(word)) for word in words)
    notes = []
    for index in range(-1, len(ops) + 1):
        if draw(st.booleans()):
            notes.append(Note(index, draw(WORDS)))
        if 0 <= index < len(ops) and draw(st.booleans()):
            notes.append(Note(index, draw(WORDS), beside=True))
    configs = st.sampled_from([DEFAULT, "1k@delalloc", "4k@delalloc,data=journal"])
    return Program(
        draw(FILES),
        ops,
        draw(st.just("") | WORDS),
        tuple(draw(st.lists(configs, min_size=1, unique=True))),
        tuple(draw(st.lists(st.sampled_from(["A.1", "B:2"]), unique=True))),
        draw(st.none() | st.integers(1024, 65536).map(lambda kib: kib * 1024)),
        tuple(notes),
    )


@settings(max_examples=200, deadline=None)
@given(programs())
def test_every_program_comes_back_from_its_text(program: Program) -> None:
    text = format_program(program)
    assert parse(text, program.name) == program
    assert format_program(parse(text, program.name)) == text
    assert parse_line(format_line(program), program.name).ops == program.ops


@settings(max_examples=300, deadline=None)
@given(st.text(st.sampled_from("pwrite a0k-1,:;=#\n\tsync on show x@")))
def test_any_text_gives_a_program_that_round_trips_or_a_syntax_error(text: str) -> None:
    try:
        program = parse(text, "x")
    except WorkloadSyntaxError as error:
        assert 1 <= error.line <= text.count("\n") + 1
        assert error.column >= 1
    else:
        assert parse(format_program(program), "x") == program


# --- errors -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line", "column", "problem"),
    [
        ("sync\n  pwrit a 0 1", 2, 3, 'unknown operation "pwrit"; did you mean "pwrite"?'),
        ("xyzzy", 1, 1, 'unknown operation "xyzzy"; docs/workloads.md lists them'),
        ("pwrite a 0", 1, 11, "pwrite takes FILE OFF LEN [tag=N]; LEN is missing"),
        ("fsync", 1, 6, "fsync takes FILE; FILE is missing"),
        ("fsync a b", 1, 9, 'fsync takes FILE; "b" is one too many'),
        ("sync a", 1, 6, 'sync takes nothing; "a" is one too many'),
        ("sync; pwrite a 0 1 2 3", 1, 22, '"3" is one too many'),
        ("pwrite_fault a 0 4k", 1, 20, "takes FILE OFF LEN fault=N [tag=N]; FAULT is missing"),
        ("pwrite a 0 1 tga=1", 1, 14, 'pwrite has no field "tga"; did you mean "tag"?'),
        ("pwrite a off=0 1 off=0", 1, 18, '"off" is given twice'),
        ("pwrite a 0 4kb", 1, 12, '"4kb" is no number; write 4096, 4k, 1m or 0x1000'),
        ("pwrite a -1 4k", 1, 10, "OFF is -1; it can't be less than 0"),
        ("pwrite a 0 1g", 1, 12, "LEN is 1g; the most is 128m"),
        ("fpunch a 0x8000000000000000 1", 1, 10, "does not fit into 64 bits"),
        ("truncate a " + "9" * 50, 1, 12, "does not fit into 64 bits"),
        ("truncate a 1e3", 1, 12, "is no number"),
        ("fsync ../a", 1, 7, '"../a" leaves the root directory'),
        ("fsync /etc", 1, 7, "leaves the root directory"),
        ("fsync ..", 1, 7, "leaves the root directory"),
        ("fsync é", 1, 7, "use letters, digits and _ . -"),
        ("fsync " + "a" * 256, 1, 7, "at most 255 characters, this one has 256"),
        ("mwrite_in a 1 p=2", 1, 17, "write a number from 0 to 1"),
        ("mwrite_in a 1 p=nan", 1, 17, "write a number from 0 to 1"),
        ("pwritev a 0 4k,", 1, 13, '"" is no segment; write LENGTH or LENGTH:READABLE'),
        ("remount_opts a;b", 1, 16, 'unknown operation "b"'),
        ("shoe: x\nsync", 1, 1, 'unknown header "shoe"; did you mean "show"?'),
        ("foo: x\nsync", 1, 1, "headers are show, on, rules, size"),
        ("show: x\nshow: y\nsync", 2, 1, '"show:" stands here a second time'),
        ("on:\nsync", 1, 4, '"on:" has no value'),
        ("on: 5k@delalloc\nsync", 1, 5, 'unknown image "5k"'),
        ("on: 4k@delalloc 1kk@delalloc\nsync", 1, 17, 'did you mean "1k"?'),
        ("on: 4k\nsync", 1, 5, "write 4k@delalloc"),
        ("on: 4k@dela/lloc\nsync", 1, 8, "is no list of mount options"),
        ("on: 4k@delalloc, 1k@delalloc\nsync", 1, 8, "is no list of mount options"),
        ("on: default default\nsync", 1, 13, '"default" is named twice'),
        ("on: default # all\nsync", 1, 13, "comments need lines of their own"),
        ("size: 1000000\nsync", 1, 7, "it must be whole KiB from 1m to 64m"),
        ("size: 65m\nsync", 1, 7, "from 1m to 64m"),
        ("size: 20m 30m\nsync", 1, 11, '"size:" takes one number'),
        ("size: big\nsync", 1, 7, '"big" is no number'),
        ("rules: a*b\nsync", 1, 8, '"a*b" is no rule id'),
        ("sync\non: 4k@delalloc", 2, 1, "headers stand above the first operation"),
        ("", 1, 1, "there is no operation; write one per line"),
        ("show: x\n# none\n", 3, 1, "there is no operation"),
    ],
)
def test_errors_say_where_and_what_to_write(
    text: str, line: int, column: int, problem: str
) -> None:
    with pytest.raises(WorkloadSyntaxError) as caught:
        parse(text, "x", "dir/x.ops")
    assert problem in caught.value.problem
    assert str(caught.value).startswith(f"dir/x.ops:{line}:{column}: ")


def test_negative_ranges_are_for_the_kernel_to_refuse_where_a_call_can_carry_them() -> None:
    for word in ("falloc", "fpunch", "fzero_keep", "finsert", "sync_range"):
        parse_line(f"{word} a -1 -4k")
    with pytest.raises(WorkloadSyntaxError):
        parse_line("pread a 0 -1")


def test_a_program_needs_a_name_that_can_be_a_file_name() -> None:
    with pytest.raises(ValueError, match="no name of a program"):
        parse("sync", "a/b")


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "image.ops"
    path.write_bytes(b"sync\nfsync \xff\n")
    with pytest.raises(WorkloadSyntaxError, match=r"image\.ops:2:7: this is no text"):
        load(path)


def test_a_file_may_have_any_name(tmp_path: Path) -> None:
    path = tmp_path / "my try (2).ops"
    path.write_text("sync\r\nfsync a\r\n")
    assert load(path) == parse("sync; fsync a", "my-try--2-")


# --- the grammar page -------------------------------------------------------------------


def test_the_grammar_page_lists_every_word_with_its_usage() -> None:
    text = DOCUMENT.read_text()
    for cls in BY_WORD.values():
        assert f"| `{usage(cls)}` |" in text


def test_the_grammar_pages_examples_are_workloads() -> None:
    examples = re.findall(r"```ops\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert len(examples) >= 3
    for example in examples:
        assert format_program(parse(example, "example")) == example


def test_the_grammar_pages_errors_are_what_the_parser_says() -> None:
    shown = re.findall(r"^try\.ops:\d+:\d+: .*$", DOCUMENT.read_text(), re.MULTILINE)
    texts = re.findall(r"^<!-- error: (.*) -->$", DOCUMENT.read_text(), re.MULTILINE)
    assert len(shown) == len(texts) >= 3
    for text, expected in zip(texts, shown, strict=True):
        with pytest.raises(WorkloadSyntaxError) as caught:
            parse(text, "try", "try.ops")
        assert str(caught.value) == expected
