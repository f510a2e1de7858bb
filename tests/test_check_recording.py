"""check-recording: every recorded step is counted once, as what it is."""

from __future__ import annotations

import json
import lzma
import shutil
from pathlib import Path

import msgspec
import pytest

from harness.cli import main
from harness.recordings.recheck import Tally, check_file, jobs_of, like
from harness.recordings.recording import RECORDED

RECORDINGS = Path(__file__).parent / "recordings"


def _copy(folder: Path, name: str, edit: dict[str, object] | None = None) -> Path:
    """The first workloads of recording `name`; `edit` replaces fields of line 1, step 1."""
    lines = lzma.decompress((RECORDINGS / f"{name}.jsonl.xz").read_bytes()).splitlines()[:6]
    first = json.loads(lines[0])
    first["steps"][0].update(edit or {})
    text = b"\n".join([json.dumps(first).encode(), *lines[1:]])
    results = folder / f"{name}.jsonl.xz"
    results.write_bytes(lzma.compress(text))
    listed = f"{name.replace('bh73', 'bh')}.workloads.json.xz"
    shutil.copy(RECORDINGS / listed, folder / listed)
    return results


def _total(results: Path) -> Tally:
    return sum((checked.tally for checked in check_file(results, processes=1)), Tally())


def test_an_untouched_recording_agrees(tmp_path: Path) -> None:
    total = _total(_copy(tmp_path, "bh73-extra"))
    assert (total.workloads, total.mismatched, total.skipped) == (6, 0, 0)
    assert total.agreed + total.known == total.steps > 10


def test_a_changed_result_is_a_mismatch_and_what_follows_is_skipped(tmp_path: Path) -> None:
    before = _total(_copy(tmp_path, "bh73-extra"))
    after = _total(_copy(tmp_path, "bh73-extra", {"ret": 1}))
    first = next(iter(check_file(tmp_path / "bh73-extra.jsonl.xz", processes=1)))
    assert first.tally == Tally(1, first.tally.steps, mismatched=1, skipped=first.tally.steps - 1)
    assert first.headline[0].field == "result"
    assert after.agreed == before.agreed - first.tally.steps


def test_unsteady_steps_are_known(tmp_path: Path) -> None:
    results = _copy(tmp_path, "bh73-extra", {"ret": 1})
    name = next(iter(check_file(results, processes=1))).name
    (tmp_path / "unsteady.json").write_text(json.dumps({"bh-extra": {name: [0, "obs"]}}))
    total = _total(results)
    assert (total.known, total.mismatched, total.skipped) == (1, 0, 0)


def test_a_known_issue_of_the_recorded_kernel_is_counted_apart(tmp_path: Path) -> None:
    lines = lzma.decompress((RECORDINGS / "bh73-hand.jsonl.xz").read_bytes()).splitlines()
    line = next(line for line in lines if b'"efault-past-eof@4k@delalloc"' in line[:60])
    results = tmp_path / "bh73-hand.jsonl.xz"
    results.write_bytes(lzma.compress(line))
    shutil.copy(RECORDINGS / "bh-hand.workloads.json.xz", tmp_path)
    (checked,) = check_file(results, processes=1)
    assert checked.known == ("efault-beyond-eof-moves-size",)
    assert checked.tally.known > 0
    assert checked.tally.mismatched == 0


def test_the_counts_are_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = _copy(tmp_path, "bh73-extra", {"ret": 1})
    out = tmp_path / "out.json"
    assert main(["check-recording", str(tmp_path), "--json", str(out), "-j", "1"]) == 1
    counts = json.loads(out.read_bytes())
    assert counts == msgspec.to_builtins(_total(results))
    assert "1 mismatched" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["missing.jsonl.xz"], "not a readable recording"),
        (["."], "holds no recording"),
        (["bh.workloads.json.xz"], "lists workloads; the recording of them is bh.jsonl.xz"),
    ],
)
def test_what_is_no_recording_is_the_users_to_mend(
    words: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["check-recording", *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    results = _copy(tmp_path, "bh73-extra")
    text = lzma.decompress(results.read_bytes()).splitlines()
    results.write_bytes(lzma.compress(b"\n".join([text[0], text[1][:-9]])))
    assert main(["check-recording", str(results)]) == 2


def test_a_recorded_workload_is_explained_with_and_without_its_known_issue(
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked = ["check-recording", str(RECORDINGS / "iomap-hand.jsonl.xz"), "--explain"]
    name = "short-write-unaligned@4k@delalloc,buffered_iomap"
    assert main([*asked, name]) == 0
    assert f"{name}: known (stale-folio-after-short-copy)" in capsys.readouterr().out
    assert main([*asked, name, "--strict-model"]) == 1
    text = capsys.readouterr().out
    assert "write.iomap.reject (reject short copy)" in text
    assert "  after step 2   model       ddd" in text
    assert "Signature 5c17eee9a64c: events: more release (write.iomap.reject)" in text


def test_what_cannot_be_explained_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    recording = str(RECORDINGS / "bh73-extra.jsonl.xz")
    assert main(["check-recording", recording, "--explain", "nothing"]) == 2
    assert "no workload nothing was recorded in bh73-extra" in capsys.readouterr().err
    assert main(["check-recording", recording, "--strict-model"]) == 2
    assert "--strict-model is for --explain NAME" in capsys.readouterr().err


def _unknown(folder: Path) -> list[str]:
    """A recording of Debian's kernel whose name does not tell the kernel, as arguments."""
    folder.mkdir(exist_ok=True)
    results = folder / "night.jsonl.xz"
    shutil.copy(RECORDINGS / "bh73-extra.jsonl.xz", results)
    return [str(results), "--workloads", str(RECORDINGS / "bh-extra.workloads.json.xz")]


def test_a_kernel_that_no_name_tells_is_named_by_release(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A recording that nobody mounted with buffered_iomap is taken for one of a kernel without:
    its remounts to that path are refused."""
    main(["check-recording", *_unknown(tmp_path)])
    assert "no known issue is followed; --release X.Y.Z names it" in capsys.readouterr().out
    assert main(["check-recording", *_unknown(tmp_path), "--release", "7.3.4"]) == 0
    assert "no known issue is followed" not in capsys.readouterr().out


def test_a_release_that_is_none_is_the_commands_fault(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check-recording", *_unknown(tmp_path), "--release", "debian"]) == 2
    assert "--release debian: a release begins with two numbers" in capsys.readouterr().err


def test_a_kernel_that_no_name_tells_can_be_said_to_be_like_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = _unknown(tmp_path)
    assert main(["check-recording", *arguments, "--as", "bh73"]) == 0
    assert "does not tell the kernel" not in capsys.readouterr().out
    job = jobs_of(Path(arguments[0]), Path(arguments[2]), kernel=like("bh"))[0]
    assert job.kernel == RECORDED["bh"]
    job = jobs_of(Path(arguments[0]), Path(arguments[2]), "7.9", like("iomap"))[0]
    assert job.kernel == msgspec.structs.replace(RECORDED["iomap"], release="7.9")
    assert main(["check-recording", *arguments, "--as", "debian"]) == 2
    assert "--as debian: write bh, bh73, iomap, or" in capsys.readouterr().err


def test_a_recording_that_lacks_listed_workloads_is_no_success(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Six of 112 are there, and were checked; it was status 0 without a word."""
    asked = ["check-recording", str(_copy(tmp_path, "bh73-extra")), "-j", "1"]
    out = tmp_path / "out.json"
    assert main([*asked, "--json", str(out)]) == 2
    told = capsys.readouterr()
    assert " and 105 more of bh-extra.workloads.json.xz were not recorded" in told.out
    assert "bh73-extra.jsonl.xz: 6 workloads" in told.out
    assert "say --partial if a list is meant to be recorded in part" in told.err
    assert json.loads(out.read_bytes())["workloads"] == 6
    assert main([*asked, "--partial"]) == 0
    assert "incomplete" not in capsys.readouterr().out


def test_a_mismatch_in_an_incomplete_recording_is_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["check-recording", str(_copy(tmp_path, "bh73-extra", {"ret": 1})), "-j", "1"]
    assert main(asked) == 1
    assert "incomplete: " in capsys.readouterr().out


def test_a_file_counts_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = _copy(tmp_path, "bh73-extra")
    assert main(["check-recording", str(results), str(results)]) == 2
    assert f"{results} is given twice; name it once" in capsys.readouterr().err
    link = tmp_path / "link.jsonl.xz"
    link.symlink_to(results)
    assert main(["check-recording", str(results), str(link)]) == 2
    assert f"{link} is given twice, also as {results}" in capsys.readouterr().err


def test_a_list_that_is_not_there_is_named_with_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results, _, _ = _unknown(tmp_path)
    assert main(["check-recording", results]) == 2
    error = capsys.readouterr().err
    assert "night.workloads.json.xz, is not there; --workloads FILE names another one" in error


def test_a_recording_of_nothing_is_no_success(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = _unknown(tmp_path)
    Path(arguments[0]).write_bytes(lzma.compress(b""))
    assert main(["check-recording", *arguments]) == 2
    assert "it holds no workload" in capsys.readouterr().err


def test_the_recording_itself_is_looked_for_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check-recording", str(tmp_path / "night.jsonl.xz")]) == 2
    assert "night.jsonl.xz: not a readable recording" in capsys.readouterr().err
