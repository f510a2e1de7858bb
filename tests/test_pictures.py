"""Pictures: what of a file is drawn, where a long one is cut, and what the SVG says beside."""

from __future__ import annotations

import itertools
import re
import time
import xml.etree.ElementTree as ET

import msgspec
import pytest
from fakes import RELEASE, make_form, make_trace, make_workload, seen

from harness.comparison.compare import compare
from harness.trace import Content, Extent, Observation, State, Step, Trace
from harness.verdict import Compared
from reports.blockmap import draw
from reports.panels import pictures_of, short_names
from reports.picture import Cell, Panel, Row, differing, spans_of_runs, windows
from reports.svg import picture_svg

D, U, W = State.DELAYED, State.UNWRITTEN, State.WRITTEN
BLOCK = 4096
SVG = "{http://www.w3.org/2000/svg}"


def compared(expected: dict[str, object], actual: dict[str, object], at: int = 1) -> Compared:
    """A model and a kernel that part in step `at` by what they see of the file `a`."""
    mine = make_trace(steps={at: Step(0, (), seen(**expected))})
    theirs = make_trace(
        subject=f"kernel {RELEASE}", kernel=RELEASE, steps={at: Step(0, (), seen(**actual))}
    )
    return Compared(compare(mine, theirs), mine, theirs)


def drawn(found: Compared) -> list[str]:
    return [line for picture in pictures_of(found) for line in draw(picture)]


def extents(*blocks: tuple[int, int, State]) -> tuple[Extent, ...]:
    return tuple(Extent(first * BLOCK, count * BLOCK, state) for first, count, state in blocks)


# --- in text ------------------------------------------------------------------------------


def test_before_and_after_model_above_kernel_with_numbers_and_marks() -> None:
    found = compared(
        {"size": 12288, "extents": extents((0, 1, D), (2, 1, W)), "reserved": 1},
        {"size": 20480, "extents": extents((0, 1, D), (2, 1, U), (4, 1, D)), "reserved": 2},
    )
    assert drawn(found) == [
        "",
        "Blocks of a, 4096 bytes each: · hole, d delayed, u unwritten, W written",
        "                         0      size   st_blocks  reserved",
        "  before step 2  model   d      4096   8          1",
        "                 kernel  d      4096   8          1",
        "  after step 2   model   d·W    12288  8          1",
        "                 kernel  d·u·d  20480  8          2",
        "                           ^ ^  ^^^^^             ^",
    ]


def test_a_hole_past_the_end_of_one_side_is_drawn_but_is_no_differing_block() -> None:
    found = compared({"size": 4096}, {"size": 16384})
    lines = drawn(found)
    assert lines[5].split()[3:5] == ["model", "d"]
    assert lines[6].split()[:2] == ["kernel", "d···"]
    assert lines[7].split() == ["^^^^^"]


def test_a_long_file_is_cut_to_what_is_around_its_differences() -> None:
    """Two differences, a million blocks apart; every number of the ruler is a block's."""
    mine = extents((0, 1, D), (500, 2, W), (1_000_000, 1, U))
    theirs = extents((0, 1, D), (500, 3, W))
    lines = drawn(compared({"extents": mine}, {"extents": theirs}))
    ruler, model, kernel, marks = lines[2], *lines[5:8]
    assert max(map(len, lines)) <= 100
    assert kernel.index("WWW") == model.index("WW")
    assert marks.index("^") == kernel.index("WWW") + 2
    assert marks.rindex("^") == model.index("u")
    for window in re.finditer(r"\d+", ruler.partition("size")[0]):
        block, column = int(window[0]), window.start()
        assert (block == 500) <= (model[column] == "W")
    first = next(m for m in re.finditer(r"\d+", ruler))
    assert model[first.start() + 500 - int(first[0])] == "W"
    assert model.count("…") == 2


def test_a_difference_that_is_too_long_to_show_is_counted() -> None:
    lines = drawn(compared({}, {"extents": extents((0, 100_000, W))}))
    shown = lines[-1].count("^")
    assert 10 < shown < 100
    assert lines[-1].endswith(f"   and {100_000 - shown} more that differ")


def test_a_sparse_file_of_terabytes_costs_nothing() -> None:
    far = (1 << 44) - BLOCK
    found = compared({"size": 1 << 44}, {"size": 1 << 44, "extents": (Extent(far, BLOCK, U),)})
    began = time.process_time()
    assert "u" in drawn(found)[-2]
    assert picture_svg(found) is not None
    assert time.process_time() - began < 1


def test_what_one_side_does_not_see_is_open_and_differs_from_nothing() -> None:
    found = compared({"extents": None, "blocks": None, "blocks_range": (8, 24)}, {"reserved": 2})
    text = "\n".join(drawn(found))
    assert "? not known" in text
    assert "8-24" in text
    assert drawn(found)[-1].split() == ["^"]


def test_a_file_that_one_side_does_not_have_is_a_row_of_nothing() -> None:
    mine = make_trace()
    theirs = make_trace(subject="kernel", steps={1: Step(0, (), Observation({}, 1, 999, 999))})
    lines = drawn(Compared(compare(mine, theirs), mine, theirs))
    assert lines[6].split() == ["kernel", "-", "-", "-"]


def test_where_no_file_differs_it_is_the_operations() -> None:
    mine = make_trace(steps={1: Step("EFAULT", (), seen())})
    theirs = make_trace(subject="kernel", steps={1: Step(4096, (), seen())})
    found = Compared(compare(mine, theirs), mine, theirs)
    assert [picture.file for picture in pictures_of(found)] == ["a"]


def test_without_traces_or_mismatches_there_is_nothing_to_draw() -> None:
    found = compared({}, {"reserved": 2})
    assert pictures_of(Compared(found.verdict)) == ()
    assert picture_svg(Compared(found.verdict)) is None
    assert picture_svg(compared({}, {})) is None


def test_the_end_shows_the_image_and_the_content() -> None:
    found = ended()
    text = "\n".join(drawn(found))
    lines = text.splitlines()
    assert "0 all zero, D data, X other data than above" in text
    on_disk = next(i for i, line in enumerate(lines) if "on disk, in the image" in line)
    assert lines[on_disk].split()[-3] == "W"
    assert lines[on_disk + 1].split()[1] == "u"
    content = next(i for i, line in enumerate(lines) if "content after umount and mount" in line)
    assert lines[content].split()[-2:] == ["DD0D?", "20480"]
    assert lines[content + 1].split()[1:] == ["DX00?", "20480"]
    assert lines[content + 2].split() == ["^", "^"]


def ended() -> Compared:
    """Two traces that part at the end: by extents of the image, and by content."""
    mine, theirs = make_trace(), make_trace(subject="kernel")
    change = msgspec.structs.replace

    def end(trace: Trace, blocks: dict[int, int], state: State) -> Trace:
        assert trace.final is not None
        content = {"a": Content(20480, None, blocks, undefined=((16384, 10),))}
        form = make_form(extents=(Extent(0, BLOCK, state),))
        return change(trace, final=change(trace.final, content=content, form=form))

    mine, theirs = end(mine, {0: 7, 1: 8, 3: 9}, W), end(theirs, {0: 7, 1: 9}, U)
    return Compared(compare(mine, theirs), mine, theirs)


def test_rows_are_named_shortly_unless_that_is_the_same() -> None:
    assert short_names(("model", "kernel 7.3.4-cloud")) == ("model", "kernel")
    assert short_names(("kernel 7.2", "kernel 7.3")) == ("kernel 7.2", "kernel 7.3")


# --- spans and windows --------------------------------------------------------------------


def test_spans_cover_holes_up_to_the_end_of_the_file() -> None:
    runs = ((BLOCK, BLOCK, U), (3 * BLOCK, BLOCK, W))
    assert spans_of_runs(runs, 5 * BLOCK - 1, BLOCK) == (
        (0, 1, Cell.HOLE), (1, 2, Cell.UNWRITTEN), (2, 3, Cell.HOLE), (3, 4, Cell.WRITTEN),
        (4, 5, Cell.HOLE),
    )  # fmt: skip
    assert spans_of_runs(runs, 0, BLOCK)[0] == (0, 1, Cell.PAST)
    assert spans_of_runs((), 0, BLOCK) == ()


def test_of_two_runs_in_one_cell_the_later_is_shown() -> None:
    spans = spans_of_runs(((0, 100, State.INLINE), (200, 100, W)), 300, BLOCK)
    assert spans == ((0, 1, Cell.WRITTEN),)


@pytest.mark.parametrize("budget", [1, 10, 24, 60])
@pytest.mark.parametrize("step", [1, 5, 40, 999])
def test_windows_keep_to_the_budget_in_order_and_apart(budget: int, step: int) -> None:
    odd = tuple((at, at + 1, Cell.DELAYED) for at in range(0, 5000, 2 * step))
    panel = Panel("", BLOCK, (Row("x", ((0, 5000, Cell.HOLE),)), Row("y", odd)))
    shown = windows([panel], budget)
    assert sum(stop - first for first, stop in shown) <= budget
    assert all(first < stop for first, stop in shown)
    assert all(one[1] < other[0] for one, other in itertools.pairwise(shown))
    assert shown[0][0] <= differing(panel)[0][0]


# --- SVG ----------------------------------------------------------------------------------


def svg(found: Compared) -> ET.Element:
    text = picture_svg(found)
    assert text is not None
    return ET.fromstring(text)


def test_the_svg_stands_alone_and_says_in_words_what_it_shows() -> None:
    root = svg(compared({}, {"extents": extents((0, 1, D), (2, 2, W)), "reserved": 3}))
    title, desc = (root.findtext(f"{SVG}{name}") or "" for name in ("title", "desc"))
    named = (root.get("aria-labelledby") or "").split()
    assert [root.find(f"{SVG}{name}").get("id") for name in ("title", "desc")] == named  # type: ignore[union-attr]
    assert root.get("role") == "img"
    assert "differ at step 2 of 3" in title
    assert "a, before step 2: model and kernel show the same." in desc
    assert "a, after step 2: cells 2 to 3: model nothing, kernel written" in desc
    assert "reserved: model 1, kernel 3." in desc
    text = ET.tostring(root, encoding="unicode")
    assert not re.search(r"<script|href|url\((?!#)|@import", text)
    assert "prefers-color-scheme:dark" in text


def test_every_cell_of_the_svg_has_a_letter_and_every_difference_a_frame() -> None:
    root = svg(compared({}, {"extents": extents((0, 1, U), (1, 2, W))}))
    boxes = [e for e in root.iter(f"{SVG}rect") if "cell" in e.get("class", "").split()]
    letters = [e for e in root.iter(f"{SVG}text") if e.get("class", "").startswith("c ")]
    legend = len({e.get("class") for e in boxes})
    assert len(boxes) == 2 + 1 + 3 + legend
    assert sum(e.text in ("d", "u", "W") for e in letters) == len(boxes)
    frames = [e for e in root.iter(f"{SVG}rect") if e.get("class") == "odd"]
    assert [(e.get("width")) for e in frames] == ["52"]


def test_the_svg_is_no_larger_than_what_is_drawn_and_large_enough_for_it() -> None:
    root = svg(ended())
    width, height = (float(root.get(name, "0")) for name in ("width", "height"))
    for element in root.iter():
        x, y = float(element.get("x", "0")), float(element.get("y", "0"))
        wide = float(element.get("width", "0").rstrip("%"))
        if element.get("width") != "100%" and element is not root:
            assert x + wide <= width
            assert y <= height
    assert width < 1200


def test_a_long_heading_is_broken_into_lines_that_fit() -> None:
    found = compared({}, {"reserved": 2})
    op = "pwritev a 0 " + " ".join(f"{4096 + number}/100" for number in range(20))
    odd = tuple(msgspec.structs.replace(each, op=op) for each in found.verdict.mismatches)
    verdict = msgspec.structs.replace(found.verdict, mismatches=odd)
    root = svg(msgspec.structs.replace(found, verdict=verdict))
    width = float(root.get("width", "0"))
    lines = [e for e in root.iter(f"{SVG}text") if e.get("class") == "head"]
    assert width < 600
    assert " ".join(e.text or "" for e in lines).split() == [
        *f"a, step 2 of 3: {op}".split(), "(a", "cell", "is", "4096", "bytes)",
    ]  # fmt: skip
    # a character of a monospaced bold font of 13 pixels is 7.83 wide
    assert all(14 + 7.83 * len(e.text or "") <= width for e in lines)


def test_a_frame_can_be_told_from_the_cell_that_it_is_around() -> None:
    text = picture_svg(ended()) or ""
    for scheme in re.split(r"@media", text)[:2]:
        frame, around = (
            re.search(rf"\.{name}\{{stroke:(#\w+)", scheme) for name in ("odd", "around")
        )
        assert frame
        assert around
        assert contrast(frame[1], around[1]) > 4.5
    boxes = [e.attrib for e in svg(ended()).iter(f"{SVG}rect")]
    frames = [each for each in boxes if each.get("class") == "odd"]
    assert frames
    assert all({**frame, "class": "around"} in boxes for frame in frames)


def contrast(one: str, other: str) -> float:
    """WCAG's contrast ratio of two colours."""

    def light(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((light(one), light(other)))
    return (high + 0.05) / (low + 0.05)


def test_what_a_program_is_called_can_not_break_the_svg() -> None:
    found = compared({}, {"reserved": 2})
    workload = msgspec.structs.replace(make_workload(), program='<script>"&\x00\ud800')
    verdict = msgspec.structs.replace(found.verdict, workload=workload)
    root = svg(msgspec.structs.replace(found, verdict=verdict))
    assert (root.findtext(f"{SVG}title") or "").startswith('<script>"&??@')


def test_two_pictures_in_one_page_do_not_share_what_they_refer_to() -> None:
    texts = [picture_svg(compared({}, {"reserved": count})) or "" for count in (2, 3)]
    idents = [set(re.findall(r'id="([^"]+)"', text)) for text in texts]
    assert not idents[0] & idents[1]
    for text, own in zip(texts, idents, strict=True):
        assert set(re.findall(r"url\(#([^)]+)\)", text)) <= own
