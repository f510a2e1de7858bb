"""The HTML report says what is so, does no harm, and stays small."""

from __future__ import annotations

import base64
import re
import time
from html.parser import HTMLParser

import pytest
from nights import EVIL, PICTURE, a_week, frames, make_signature, many, night, row

from harness.known import KNOWN_ISSUES
from reports.html import FULL, LINES, page
from reports.rows import Finding
from reports.since import since_last_night

VOID = {"meta", "img", "link", "br", "line", "rect", "input"}


class Read(HTMLParser):
    """A page as a browser takes it: its elements, text, and which do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.wrong: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data

    def of(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def made(of, **names):
    return page(of, since_last_night(of), **names)


@pytest.fixture(scope="module")
def week():
    rules = ["write.size", "never.reached"]
    return made(a_week(), rules=rules, operations=["pwrite", "fsync"], version="0.1.0")


def test_the_page_is_well_formed_and_its_anchors_exist(week):
    read = Read(week)
    assert not read.wrong
    assert not read.open
    ids = [attributes["id"] for _, attributes in read.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    wanted = {a["href"][1:] for a in read.of("a") if a["href"].startswith("#")}
    assert wanted
    assert wanted <= set(ids)


def test_what_a_log_says_is_text_wherever_it_comes(week):
    read = Read(week)
    assert "<script>alert(1)</script>" in read.text  # it is there, as text
    assert not read.of("script")
    assert not [name for _, a in read.elements for name in a if name.startswith("on")]
    assert "\x00" not in week
    assert "\x1b" not in week


def test_the_page_needs_nothing_but_itself(week):
    read = Read(week)
    (policy,) = [a["content"] for a in read.of("meta") if a.get("http-equiv")]
    assert policy.startswith("default-src 'none'")
    assert not {"link", "script", "iframe", "object", "base"} & {tag for tag, _ in read.elements}
    assert all(image["src"].startswith("data:") for image in read.of("img"))
    assert "url(" not in week
    assert "@import" not in week


def test_links_go_to_artifacts_beside_the_page_only(week):
    links = [a["href"] for a in Read(week).of("a") if not a["href"].startswith("#")]
    assert links == ["./artifacts/abc/random-1.tar.zst", "./javascript%3Aalert%281%29"]


@pytest.mark.parametrize("path", ["/kept/here", "../up", "a/../../b", ""])
def test_what_is_not_beside_the_page_is_no_link(path):
    text = made(frames([row(night(1), 0, "a", kept_in=path)], night(1)))
    assert f">{path}</a>" not in text
    assert not path or f"<code>{path}</code>" in text


def test_the_headline_comes_first_and_says_what_is_new(week):
    read = Read(week)
    assert read.of("h1") == [{"id": "headline", "class": "bad"}]
    assert re.search(r"<h1[^>]*>2 new findings</h1>", week)
    assert "2 November 2026, 01:30 UTC" in read.text


def test_findings_have_state_program_picture_and_command(week):
    text = Read(week).text
    assert "size: larger, write" in text
    assert "pwrite a 0 4k" in text
    assert "ext4diff differential --random 7:1:2 --kernel debian:sid" in text
    (picture,) = [image["src"] for image in Read(week).of("img")]
    assert base64.b64decode(picture.partition(",")[2]) == PICTURE.encode()
    assert "not seen last night" in text  # extents, of the night before


def test_the_sections_say_what_they_are_for(week):
    text = " ".join(Read(week).text.split())
    assert "1 of 2 noted rules of the model reached" in text
    assert "never.reached" in text
    assert "efault-beyond-eof-moves-size" in text
    assert f"{len(KNOWN_ISSUES) - 2} known issues that no program met" in text
    assert "stale-folio-after-short-copy" in text
    assert "BootError: silent" in text
    assert "tree blocks unknown" in text
    assert "guest release" in text
    assert "2 configurations without a mismatch" not in text
    assert "steps a second" in text


def test_zero_results_are_said_in_words():
    text = Read(made(frames([]))).text
    assert "Nothing was run" in text
    assert "Nothing can be said of any kernel" in text
    for of in (frames([], night(1)), frames([row(night(1), 0)], night(1), night(2))):
        read = Read(made(of))
        assert "Nothing was run" in read.text
        assert not read.wrong


def test_a_single_night_of_agreement_is_good_news():
    read = Read(made(frames([row(night(1), 0)], night(1))))
    assert read.of("h1") == [{"id": "headline", "class": "good"}]
    assert "No mismatch." in read.text


def test_long_lists_are_cut_and_say_so():
    count = FULL + LINES + 7
    rows = [row(night(1), number, f"field{number}") for number in range(count)]
    text = Read(made(frames(rows, night(1)))).text
    assert text.count("never seen before") == FULL
    assert f"{LINES} more findings" in text
    assert "7 further findings left out of this page" in text


def test_long_programs_and_pictures_are_cut():
    kept = [
        Finding(make_signature("a").id, "a", "pwrite a 0 1\n" * 5000, 5000, "x" * 4_000_000),
        Finding(make_signature("b").id, "b", "pwrite a 0 1\n", 1, "<svg/>"),
    ]
    rows = [row(night(1), 0, "a"), row(night(1), 1, "b")]
    text = made(frames(rows, night(1), findings=kept))
    assert "characters more" in text
    assert text.count("<img") == 1
    assert len(text) < 100_000


def test_many_rows_make_a_small_page_soon():
    of = frames(many(20_000), night(1))
    began = time.process_time()
    text = made(of)
    assert len(text) < 60_000
    assert time.process_time() - began < 5


def test_evil_names_of_lines_and_machines_are_text_too():
    bad = night(1, line=EVIL, machine=EVIL, accel=EVIL, version=EVIL, kernel=EVIL)
    read = Read(made(frames([row(bad, 0, EVIL, config=EVIL, reason=EVIL)], bad)))
    assert not read.wrong
    assert not read.of("script")
