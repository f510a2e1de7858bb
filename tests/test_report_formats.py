"""JUnit, KTAP, Markdown and the terminal say the same of a night, each by its own rules."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import pytest
from junitparser import Error, Failure, JUnitXml, Skipped
from nights import EVIL, a_week, frames, night, row

from reports.junit import junit
from reports.ktap import ktap
from reports.markdown import markdown
from reports.overview import overview
from reports.since import since_last_night

EMPTY = [frames([]), frames([], night(1))]

# What the schema of Jenkins' xUnit plugin (junit-10.xsd) allows, of what we write.
ALLOWED = {
    "testsuites": ({"name", "tests", "failures", "errors", "time"}, {"testsuite"}),
    "testsuite": (
        {"name", "tests", "failures", "errors", "time", "skipped", "timestamp"},
        {"properties", "testcase"},
    ),
    "properties": (set(), {"property"}),
    "property": ({"name", "value"}, set()),
    "testcase": ({"name", "classname", "time"}, {"failure", "error", "skipped"}),
    "failure": ({"type", "message"}, set()),
    "error": ({"type", "message"}, set()),
    "skipped": ({"type", "message"}, set()),
}


@pytest.fixture(scope="module")
def week():
    return since_last_night(a_week())


def xml_of(since):
    return "\n".join(junit(since)).encode()


@pytest.mark.parametrize("of", [a_week(), *EMPTY], ids=["full", "empty", "no rows"])
def test_junit_keeps_to_the_schema(of):
    root = ElementTree.fromstring(xml_of(since_last_night(of)))
    assert root.tag == "testsuites"
    for element in root.iter():
        attributes, children = ALLOWED[element.tag]
        assert set(element.attrib) <= attributes
        assert {child.tag for child in element} <= children
        assert re.fullmatch(r"\d*(\.\d*)?", element.get("time", ""))
        for required in {"name", "tests", "failures", "errors"} & attributes:
            assert required in element.attrib


def test_junit_counts_are_those_of_its_cases(week):
    suites = list(JUnitXml.fromstring(xml_of(week)))
    assert sum(suite.tests for suite in suites) == len(week.results)
    for suite in suites:
        kinds = [type(result) for case in suite for result in case.result]
        assert suite.tests == len(list(suite))
        assert suite.failures == kinds.count(Failure)
        assert suite.errors == kinds.count(Error)
        assert suite.skipped == kinds.count(Skipped)


def test_a_junit_failure_has_the_signature_as_its_type_and_the_evidence(week):
    cases = [case for suite in JUnitXml.fromstring(xml_of(week)) for case in suite]
    failures = [r for case in cases for r in case.result if isinstance(r, Failure)]
    assert "size: larger, write (write.size)" in {failure.type for failure in failures}
    assert any("kept in artifacts/abc/random-1.tar.zst" in (f.text or "") for f in failures)


def test_junit_holds_no_character_that_xml_can_not():
    bad = row(night(1), 0, "a", said="\x00\x1b\ufffe <]]>&\"'")
    root = ElementTree.fromstring(xml_of(since_last_night(frames([bad], night(1)))))
    assert root.find(".//failure").get("message").endswith("<]]>&\"'")


# --- KTAP -----------------------------------------------------------------------------


RESULT = re.compile(r"(ok|not ok) (\d+) ([^#]+?)(?: # (?:(SKIP|ERROR|XFAIL)\b)?(.*))?")


def parse(lines, depth=0):
    """The tests at one level, as the specification nests them; eats `lines`."""
    indent = "  " * depth
    assert lines.pop(0) == f"{indent}KTAP version 1"
    plan = re.fullmatch(r"1\.\.(\d+)", lines.pop(0).removeprefix(indent))
    tests = []
    while lines and lines[0].startswith(indent):
        inner = parse(lines, depth + 1) if lines[0] == f"{indent}  KTAP version 1" else None
        line = lines.pop(0).removeprefix(indent)
        if line.startswith("# "):
            continue
        found = RESULT.fullmatch(line)
        assert found is not None, line
        assert int(found[2]) == len(tests) + 1
        tests.append((found[1] == "ok", found[3], found[4], inner))
        if len(tests) == int(plan[1]):
            break
    assert len(tests) == int(plan[1])
    return tests


def test_ktap_nests_plans_and_numbers_as_specified(week):
    lines = list(ktap(week))
    tests = parse(lines)
    assert not lines
    programs = [p for _, _, _, configs in tests for _, _, _, group in configs for p in group]
    assert len(programs) == len(week.results)
    assert sum(not good for good, *_ in programs) == 5  # four mismatches, one broken
    assert [directive for *_, directive, _ in programs if directive] == ["ERROR", "SKIP"]
    for good, _, _, configs in tests:  # a test fails if one of its subtests does
        assert good == all(one for one, *_ in configs)
        for config_good, _, _, group in configs:
            assert config_good == all(one for one, *_ in group)


def test_ktap_stays_one_line_a_line():
    bad = row(night(1), 0, EVIL, said=f"{EVIL}\nok 99 forged", config="4k#\n1")
    lines = list(ktap(since_last_night(frames([bad], night(1)))))
    assert all("\n" not in line for line in lines)
    assert len(parse(lines)) == 1


@pytest.mark.parametrize("of", EMPTY, ids=["empty", "no rows"])
def test_ktap_of_nothing_is_a_plan_of_nothing(of):
    assert list(ktap(since_last_night(of))) == ["KTAP version 1", "1..0"]


# --- Markdown and the terminal --------------------------------------------------------


def test_markdown_is_short_and_names_what_is_new(week):
    text = "\n".join(markdown(week))
    assert text.startswith("## ext4diff: 2 new findings\n")
    assert "- **new**: size: larger, write (write.size) (2 runs" in text
    assert "; kept in artifacts/abc/random-1.tar.zst" in text
    assert len(text) < 3000


def test_markdown_escapes_what_others_say(week):
    text = "\n".join(markdown(week))
    assert "<script>" not in text
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1


def test_markdown_lists_the_first_findings_only():
    rows = [row(night(1), number, f"field{number}") for number in range(30)]
    text = "\n".join(markdown(since_last_night(frames(rows, night(1)))))
    assert text.count("**new**") == 10
    assert "… and 20 findings more." in text


@pytest.mark.parametrize("of", EMPTY, ids=["empty", "no rows"])
@pytest.mark.parametrize("form", [markdown, overview])
def test_nothing_is_said_to_be_nothing(of, form):
    text = "\n".join(form(since_last_night(of)))
    assert "Nothing was run" in text
    assert "no results" in text


def test_the_terminal_shows_counts_and_findings(week):
    text = "\n".join(overview(week))
    assert text.startswith("2 new findings\n")
    assert "\x1b" not in text
    assert "size: larger, write (write.size), 2 runs on bh, iomap" in text
    assert "kept in artifacts/abc/random-1.tar.zst" in text
    assert "Not seen any more" in text
