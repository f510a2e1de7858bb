"""`ext4diff report`: files that are asked for are written whole; what can't be read is said."""

from __future__ import annotations

import importlib.util
import json
import sys

import msgspec
import pytest
from nights import night, row
from stored import make_digest

from harness.campaign.store import Store
from harness.cli import main
from harness.errors import AGREE, MACHINERY, MISMATCH, USAGE
from harness.specification import specification
from harness.verdict import Outcome


def make_store(path, *rows):
    with Store.open(path) as store:
        for of in dict.fromkeys((night(1), night(2))):
            store.update(of)
        store.add(rows)
    return str(path)


@pytest.fixture
def store(tmp_path):
    rows = (row(night(1), 0, "old"), row(night(2), 0, "old"), row(night(2), 1))
    return make_store(tmp_path / "night.sqlite", *rows)


def test_all_that_is_asked_for_is_written(store, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    words = [store, "-o", f"{out}/r.html", "--junit", f"{out}/r.xml", "--ktap", f"{out}/r.ktap"]
    words += ["--markdown", f"{out}/r.md", "--parquet", f"{out}/p", "--csv", f"{out}/c"]
    assert main(["report", *words]) == AGREE
    assert sorted(path.name for path in out.iterdir()) == [
        "c", "p", "r.html", "r.ktap", "r.md", "r.xml",
    ]  # fmt: skip
    said = capsys.readouterr().out
    assert said.startswith("Nothing new\n")
    assert f"written: {out}/r.html" in said
    assert "Nothing new" in (out / "r.html").read_text()


@pytest.mark.parametrize(
    ("page", "link"),
    [
        ("r.html", "./artifacts/x"),
        ("out/r.html", "../artifacts/x"),
        ("../r.html", "./sub/artifacts/x"),
    ],
)
def test_artifacts_are_linked_from_where_the_page_is(tmp_path, page, link):
    folder = tmp_path / "sub"
    (folder / "out").mkdir(parents=True)
    store = make_store(folder / "n.sqlite", row(night(2), 0, "a", kept_in="artifacts/x"))
    assert main(["report", store, "-o", str(folder / page)]) == AGREE
    assert f'href="{link}"' in (folder / page).read_text()
    other = make_store(tmp_path / "other.sqlite")
    assert main(["report", store, other, "-o", str(folder / page)]) == AGREE
    assert "artifacts/x</code>" in (folder / page).read_text()  # whose folder, nobody knows


def test_the_status_is_what_was_asked_for(tmp_path, store):
    new = make_store(tmp_path / "new.sqlite", row(night(2), 0, "new"))
    good = make_store(tmp_path / "good.sqlite", row(night(2), 0))
    status = {
        (path, on): main(["report", path, "--fail-on", on])
        for path in (store, new, good)
        for on in ("nothing", "new", "mismatch")
    }
    assert {key for key, value in status.items() if value} == {
        (store, "mismatch"), (new, "mismatch"), (new, "new"),
    }  # fmt: skip
    assert set(status.values()) == {AGREE, MISMATCH}


def test_several_stores_are_one_and_can_be_kept_as_one(tmp_path, store, capsys):
    more = make_store(tmp_path / "more.sqlite", row(night(2), 1), row(night(2), 2, "new"))
    target = tmp_path / "all.sqlite"
    assert main(["report", store, more, store, "--merge", str(target)]) == AGREE
    assert capsys.readouterr().out.startswith("1 new finding\n")
    with Store.read(target) as merged:
        assert merged.count(night(2).id) == 3
    assert main(["report", store, "--merge", str(target)]) == USAGE
    assert "exists: give the name of a new file" in capsys.readouterr().err


def test_the_results_of_differential_runs_are_reported_too(tmp_path, capsys):
    run = tmp_path / "2026-11-22T19-49-50"
    run.mkdir()
    digests = [
        make_digest(3, name="random/seed-7/000003::4k@delalloc"),
        make_digest(4, name="exhaustive/000004::4k@delalloc"),
        make_digest(
            5,
            name="holes/punch.ops::4k@delalloc",
            outcome=Outcome.MISMATCH,
            kept_in=f"{run}/holes-punch",
        ),
    ]
    lines = [json.dumps(msgspec.to_builtins(digest)) for digest in digests]
    (run / "results.jsonl").write_text("\n".join(lines) + '\n{"cut off')
    (run / "identity.json").write_text('{"guest release": "7.3.4"}')
    assert main(["report", str(run), "--csv", str(tmp_path / "csv")]) == AGREE
    assert capsys.readouterr().out.startswith("1 new finding\n")
    programs = (tmp_path / "csv" / "results.csv").read_text()
    assert ",holes-punch," in programs
    for name in ("random:7:3", "exhaustive:4", "catalogue:holes/punch.ops::4k@delalloc"):
        assert name in programs
    assert main(["report", str(run / "results.jsonl")]) == AGREE


def test_what_is_no_store_is_refused_in_a_line(tmp_path, capsys):
    text = tmp_path / "text"
    text.write_text("x" * 5000)
    (tmp_path / "bad.jsonl").write_text('{"no": "digest"}\n')
    for path, said in (
        (text, "is not a store"),
        (tmp_path / "none.sqlite", "no such file"),
        (tmp_path / "bad.jsonl", "no results of this version"),
        (tmp_path, "give a run's folder"),
    ):
        assert main(["report", str(path)]) == USAGE
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1


def test_rules_that_no_step_can_name_do_not_count_as_missed(tmp_path):
    """More than half of the rules leave no note beside a step; of 184 a night of 1,360 programs
    had "not reached" 121, among them what i_size is."""
    store = tmp_path / "n.sqlite"
    make_store(store)
    with Store.open(store) as opened:
        opened.keep(row(night(2), 0), [("rule", "map.allocate", 3)])
    assert main(["report", str(store), "-o", str(tmp_path / "r.html")]) == AGREE
    noted = [rule.name for rule in specification() if rule.reports]
    text = (tmp_path / "r.html").read_text()
    assert f"1 of {len(noted)} noted rules of the model reached" in text
    assert "<code>size.units</code>" not in text


def test_a_report_goes_into_a_new_folder(store, tmp_path):
    assert main(["report", store, "-o", str(tmp_path / "new" / "report" / "index.html")]) == AGREE
    assert (tmp_path / "new" / "report" / "index.html").stat().st_size > 1000


def test_a_report_that_cannot_be_written_is_said_and_leaves_nothing(store, tmp_path, capsys):
    assert main(["report", store, "-o", str(tmp_path / "night.sqlite" / "r.html")]) == MACHINERY
    assert "cannot write" in capsys.readouterr().err
    (tmp_path / "taken").mkdir()
    assert main(["report", store, "--junit", str(tmp_path / "taken")]) == MACHINERY
    assert sorted(path.name for path in tmp_path.iterdir()) == ["night.sqlite", "taken"]


def test_an_empty_store_is_reported_as_empty(tmp_path, capsys):
    path = tmp_path / "empty.sqlite"
    Store.open(path).close()
    assert main(["report", str(path), "-o", str(tmp_path / "r.html")]) == AGREE
    assert "Nothing was run" in capsys.readouterr().out
    assert "Nothing was run" in (tmp_path / "r.html").read_text()


def test_the_summary_of_a_ci_service_is_added_to(store, tmp_path, monkeypatch):
    shared = tmp_path / "summary.md"
    shared.write_text("what other steps said\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(shared))
    main(["report", store, "--markdown", str(shared)])
    assert shared.read_text().startswith("what other steps said\n## ext4diff: Nothing new\n")


def test_missing_packages_are_named_with_the_remedy(store, monkeypatch, capsys):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "pandas" else found(name)
    )
    assert main(["report", store]) == USAGE
    said = capsys.readouterr().err
    assert f"a report needs pandas; run: {sys.executable} -m pip install -e '" in said
    assert said.endswith("[campaign]'\n")  # of the Python that lacks them, in this source tree
