"""Files of several machines become one, whatever the order, and twice is once."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stored import make_row

from harness.campaign.store import Store, merge
from harness.campaign.store_file import NotAStoreError, StoreError
from harness.verdict import Outcome
from reports.rows import Covered, Finding, Night

MEMORY = Path("/dev/shm")
"""Many small files, none of which has to outlive the test."""

nights = st.builds(
    Night,
    id=st.sampled_from("ab"),
    order=st.integers(0, 3),
    ended=st.sampled_from(["", "later"]),
    seconds=st.sampled_from([0.0, 1.5]),
)
rows = st.builds(
    make_row,
    number=st.integers(0, 3),
    night=st.sampled_from("ab"),
    outcome=st.sampled_from(Outcome),
    seconds=st.sampled_from([0.1, 0.2]),
)
findings = st.builds(
    Finding,
    signature=st.sampled_from("xy"),
    text=st.sampled_from(["t", "u"]),
    program=st.sampled_from(["", "one", "two"]),
    steps=st.integers(0, 2),
    picture=st.sampled_from(["", "svg", "gvs"]),
    artifact=st.sampled_from(["", "a", "b"]),
)
covered = st.builds(
    Covered,
    night=st.sampled_from("ab"),
    shard=st.sampled_from("st"),
    what=st.just("rule"),
    name=st.sampled_from("pq"),
    count=st.integers(1, 3),
)
contents = st.tuples(
    st.lists(nights, max_size=3),
    st.lists(rows, max_size=4),
    st.lists(findings, max_size=3),
    st.lists(covered, max_size=3),
)


def make_store(path: Path, content) -> Path:
    with Store.open(path) as store:
        some_nights, some_rows, some_findings, some_covered = content
        for night in some_nights:
            store.update(night)
        store.add(some_rows)
        for finding in some_findings:
            store.find(finding)
        for number, found in enumerate(some_covered, 100):
            row = msgspec.structs.replace(make_row(number, found.night), shard=found.shard)
            store.keep(row, [(found.what, found.name, found.count)])
            store.finish(found.night, found.shard)
    return path


def content_of(path: Path):
    with Store.read(path) as store:
        done = {night: sorted(store.finished(night)) for night in "ab"}
        reached = sorted(store.coverage(), key=repr)
        return store.nights(), list(store.rows()), store.findings(), reached, done


@settings(max_examples=25, deadline=None)
@given(contents, contents, contents)
def test_merging_is_idempotent_commutative_and_associative(one, two, three):
    folder = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None))
    try:
        a, b, c = map(make_store, (folder / "a", folder / "b", folder / "c"), (one, two, three))
        counter = iter(range(100))

        def merged(*paths: Path) -> Path:
            target = folder / f"m{next(counter)}"
            merge(paths, target).close()
            return target

        assert content_of(merged(a, a)) == content_of(a)
        assert content_of(merged(a, b)) == content_of(merged(b, a))
        ab = merged(a, b)
        assert content_of(merged(ab, b)) == content_of(ab)
        assert content_of(merged(ab, c)) == content_of(merged(a, merged(b, c)))
        assert content_of(merged(c, b, a)) == content_of(merged(ab, c))
    finally:
        shutil.rmtree(folder)


def test_a_merge_is_there_whole_or_not_at_all(tmp_path):
    good = make_store(tmp_path / "good", ([], [make_row()], [], []))
    bad = tmp_path / "bad"
    bad.write_text("no store")
    target = tmp_path / "all"
    with pytest.raises(NotAStoreError, match="bad"):
        merge([good, bad], target)
    with pytest.raises(NotAStoreError, match="exists"):
        merge([good], bad)
    with pytest.raises(StoreError):
        merge([good], tmp_path / "none" / "all")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad", "good"]


def test_a_source_is_not_written_to(tmp_path):
    good = make_store(tmp_path / "good", ([], [make_row()], [], []))
    before = good.read_bytes()
    merge([good, good], tmp_path / "all").close()
    assert good.read_bytes() == before
