"""The catalogue: every file is canonical, says what it is for, and does what no other does."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from workloads.files import CATALOGUE, catalogue, load, topics
from workloads.images import IMAGES
from workloads.ops import BY_WORD, FIRST_TABLE
from workloads.program import DEFAULT, DEFAULT_CONFIGS
from workloads.syntax import SUFFIX, format_op, format_program, workloads

FILES = sorted(path for path in CATALOGUE.rglob("*") if path.is_file())
PROGRAMS = catalogue()
LONG = (
    "reserve-runs-out",
    "shutdown-after-many-messages",
    "second-leaf",
    "writeback-without-space",
)
"""Programs that need many operations."""


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_file(path: Path) -> None:
    assert path.suffix == SUFFIX
    program = load(path)
    assert format_program(program) == path.read_text(), "not canonical"
    assert 20 <= len(program.shows) <= 110, "one line says what it would catch"
    assert not program.shows.endswith("."), "it is no sentence"
    assert len(program.ops) <= 25 or path.stem in LONG, "keep programs short"
    assert max(map(len, path.read_text().splitlines())) <= 115
    for config in program.configs:
        assert config.image.block_size in (1024, 2048, 4096)


def test_size() -> None:
    assert len(PROGRAMS) == len(FILES) >= 250
    assert 300 <= sum(len(workloads(program)) for program in PROGRAMS) <= 950


def test_names_are_unique() -> None:
    assert [name for name, count in Counter(p.name for p in PROGRAMS).items() if count > 1] == []


def test_no_two_programs_do_the_same() -> None:
    # tags follow from the position in the text form, so they tell nothing apart
    steps = Counter(tuple(format_op(op, i) for i, op in enumerate(p.ops)) for p in PROGRAMS)
    shows = Counter(program.shows for program in PROGRAMS)
    assert [text for text, count in (*steps.items(), *shows.items()) if count > 1] == []


def test_every_operation_of_the_first_table_is_used() -> None:
    used = {type(op) for program in PROGRAMS for op in program.ops}
    assert [cls.WORD for cls in FIRST_TABLE if cls not in used] == []


def test_quota_programs_run_where_limits_are_enforced() -> None:
    quota = {BY_WORD[word] for word in ("quota_set", "chown", "user_write")}
    users = [p for p in PROGRAMS if quota & {type(op) for op in p.ops}]
    assert len(users) >= 3
    for program in users:
        for config in program.configs:
            assert "quota" in config.image.features
            assert "usrquota" in config.options


def test_every_configuration_says_how_it_allocates_on_a_known_image() -> None:
    names = {name for program in PROGRAMS for name in program.on} - {DEFAULT}
    for name in {*names, *DEFAULT_CONFIGS}:
        image, _, mount = name.partition("@")
        assert image in IMAGES
        assert len({"delalloc", "nodelalloc", "data=journal"} & set(mount.split(","))) == 1


def test_topics() -> None:
    assert sum(len(catalogue(topic)) for topic in topics()) == len(PROGRAMS)
    assert all(catalogue(topic) for topic in topics())
    with pytest.raises(FileNotFoundError, match="no topic nonesuch in the catalogue; topics: "):
        catalogue("nonesuch")
