"""`ext4diff image`: what is in an ext4 image, where two differ, what is wrong with one; and
the one that the model expects."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from harness.artifacts.expected_image import choices, expected_of
from harness.errors import AGREE, MISMATCH, UsageError
from harness.image.canonical import canonical_of
from harness.image.check import problems
from harness.image.difference import Difference, differences
from harness.image.form import Canonical, Entry
from harness.image.locate import first_difference
from harness.image.survey import Survey
from harness.trace import Extent
from model.image.filesystem import Filesystem

__all__ = ["add", "run"]

HELP = "show an ext4 image, compare two, check one, or write the one that the model expects"
_SHORT = 60


def add(parser: argparse.ArgumentParser) -> None:
    """The options."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    show = actions.add_parser("show", help="what is in an image, or at one path of it")
    show.add_argument("image", type=Path, metavar="IMAGE")
    show.add_argument("path", nargs="?", metavar="PATH", help="as `show` lists it")
    diff = actions.add_parser("diff", help="where two images differ; status 1 if they do")
    diff.add_argument("first", type=Path, metavar="A")
    diff.add_argument("second", type=Path, metavar="B")
    check = actions.add_parser("check", help="what is wrong with an image; status 1 if anything")
    check.add_argument("image", type=Path, metavar="IMAGE")
    expected = actions.add_parser("expected", help="write the image that the model expects")
    expected.add_argument(
        "source", type=Path, metavar="WORKLOAD|TRACE|FOLDER",
        help="a workload file, a trace, or the folder of a mismatch",
    )  # fmt: skip
    expected.add_argument("target", type=Path, metavar="IMAGE")
    expected.add_argument("--on", metavar="CONFIG", help="image@mount for a workload file")
    expected.add_argument(
        "--from", dest="start", type=Path, metavar="IMAGE",
        help="the ext4 image, raw or .gz, that the workload starts from",
    )  # fmt: skip
    for action in (show, diff, check, expected):
        action.add_argument("--json", action="store_true", help="for programs")


def run(options: argparse.Namespace) -> int:
    """Run one of the four; 1 for a difference or a problem, else 0."""
    actions = {"show": _show, "diff": _diff, "check": _check, "expected": _expected}
    return actions[options.action](options)


def _print_json(value: Any) -> None:
    text = msgspec.json.format(msgspec.json.encode(value), indent=2)
    print(text.decode())


# --- show -----------------------------------------------------------------------------


def _show(options: argparse.Namespace) -> int:
    with Filesystem.open(options.image) as fs:
        whole = canonical_of(Survey(fs))
    if options.path is not None:
        _show_path(whole, options.path, options.json)
    elif options.json:
        _print_json(whole)
    else:
        _print(_whole_lines(whole))
    return AGREE


def _show_path(whole: Canonical, path: str, as_json: bool) -> None:
    name = "/" + path.strip("/")
    entry = whole.files.get(name)
    if entry is None:
        raise UsageError(f"the image has no {name}")
    shape = whole.shapes.get(entry.same_as or name)
    if as_json:
        _print_json({"path": name, "entry": entry, "shape": shape})
        return
    fields = {**msgspec.to_builtins(entry), "shape": msgspec.to_builtins(shape)}
    extents = [_extent_words(extent) for extent in entry.extents]
    fields.pop("extents")
    _print(f"{key:9} {value}" for key, value in fields.items() if value not in (None, {}))
    _print(f"extents   {words}" for words in extents)


def _extent_words(extent: Extent) -> str:
    return f"{extent.start}-{extent.start + extent.length - 1} {extent.state}"


def _whole_lines(whole: Canonical) -> Iterable[str]:
    for key, value in msgspec.to_builtins(whole.whole).items():
        words = " ".join(value) if isinstance(value, (list, tuple)) else value
        yield f"{key:15} {words}"
    yield ""
    yield f"{'type':9} {'mode':>4} {'links':>5} {'size':>12} {'sectors':>9}  path"
    for path, entry in whole.files.items():
        yield _line(path, entry)


def _line(path: str, entry: Entry) -> str:
    states: dict[str, int] = {}
    for extent in entry.extents:
        states[extent.state] = states.get(extent.state, 0) + extent.length
    words = [f"{length} {state}" for state, length in states.items()]
    arrow = f" -> {entry.target}" if entry.target else ""
    mapped = f"  ({', '.join(words)})" if words and entry.type == "file" else ""
    numbers = f"{entry.mode:>4} {entry.links:>5} {entry.size:>12} {entry.blocks:>9}"
    return f"{entry.type[:9]:9} {numbers}  {path}{arrow}{mapped}"


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        print(line)


# --- diff -----------------------------------------------------------------------------


def _diff(options: argparse.Namespace) -> int:
    with Filesystem.open(options.first) as first, Filesystem.open(options.second) as second:
        surveys = (Survey(first), Survey(second))
        found = differences(canonical_of(surveys[0]), canonical_of(surveys[1]))
        places = {
            difference.path: _place(surveys, difference.path)
            for difference in found
            if difference.field == "content"
        }
    if options.json:
        _print_json({"equal": not found, "differences": found, "first_bytes": places})
    else:
        for difference in found:
            print(f"{difference.path}: {difference.field}: {_two(difference)}")
            if difference.field == "content":
                print(f"{difference.path}: first at {places[difference.path]}")
        print(f"{len(found)} differences" if found else "the images are equal")
    return MISMATCH if found else AGREE


def _place(surveys: tuple[Survey, Survey], path: str) -> str | None:
    """Where two files' content parts, in words; None if one of them has no content."""
    files = [survey.by_path.get(path) for survey in surveys]
    if not all(file is not None and file.inode.is_regular for file in files):
        return None
    one, other = ((survey.fs, file) for survey, file in zip(surveys, files, strict=True) if file)
    place = first_difference(one, other)
    if place is None:
        return None
    words = ["the end" if byte is None else f"{byte:#04x}" for byte in place[1:]]
    return f"byte {place[0]}: {words[0]} and {words[1]}"


def _two(difference: Difference) -> str:
    return f"{_short(difference.first)} and {_short(difference.second)}"


def _short(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, tuple):
        words = "; ".join(
            _extent_words(item) if isinstance(item, Extent) else str(item) for item in value
        )
        return f"[{words}]"
    text = str(value)
    return text if len(text) <= _SHORT else f"{text[:_SHORT]}..."


# --- expected -------------------------------------------------------------------------


def _expected(options: argparse.Namespace) -> int:
    expected = expected_of(options.source, options.on, options.start)
    written = expected.write(options.target)
    if options.json:
        choice = {"placed": written.placed, "rebuilt": written.rebuilt}
        _print_json({"image": str(options.target), **choice})
    else:
        print(f"{options.target}: {expected.workload.name} as the model expects it")
        _print(choices(written))
    return AGREE


# --- check ----------------------------------------------------------------------------


def _check(options: argparse.Namespace) -> int:
    with Filesystem.open(options.image) as fs:
        survey = Survey(fs)
        found = problems(survey)
    if options.json:
        _print_json({"clean": not found, "inodes": len(survey.files), "problems": found})
    else:
        for problem in found:
            print(problem)
        state = f"{len(found)} problems" if found else "clean"
        print(f"{options.image}: {state}, {len(survey.files)} inodes with names")
    sys.stdout.flush()
    return MISMATCH if found else AGREE
