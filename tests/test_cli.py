"""The command line: its words, its one-line errors and its exit status."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fakes import RELEASE, FakeSubject, make_trace, seen

from harness import cli, pairs
from harness.cli import main
from harness.commands import doctor
from harness.commands.run import FIRST_CONFIG
from harness.errors import MACHINERY, MachineryError, NotModelledError
from harness.sides import machine
from harness.sides.side import Choice
from harness.trace import Step
from vm import host_tools
from vm.errors import GuestHangError, HostToolError, ImageError

WRONG = Step("EFAULT", (), seen(size=8192))
LINE = "pwrite a 0 4k; pwrite_fault a 8k 4k fault=0; fsync a"


def agree(workload):
    return make_trace(workload, "guest", RELEASE)


@pytest.fixture
def pair(monkeypatch):
    """Fake sides; set `actual.answers` to choose what the kernel does."""

    class Fakes:
        expected = FakeSubject("model", [make_trace])
        actual = FakeSubject("guest", [agree])

        def answer(self, *answers) -> None:
            self.actual = FakeSubject("guest", answers)

    fakes = Fakes()
    monkeypatch.setitem(pairs.MAKERS, "model", lambda argument, choice: fakes.expected)
    monkeypatch.setitem(pairs.MAKERS, "kernel", lambda argument, choice: fakes.actual)
    return fakes


def test_no_command_and_unknown_options_are_status_2(capsys):
    for words in ([], ["nonsense"], ["run"], ["run", "--accel", "magic", "sync"]):
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code == 2
        assert "usage:" in capsys.readouterr().err


def test_version(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("ext4diff ")


# --- run ------------------------------------------------------------------------------


def test_a_line_runs_on_the_first_configuration_and_shows_every_step(pair, capsys):
    assert main(["run", LINE]) == 0
    out = capsys.readouterr().out
    assert " =  2     pwrite_fault a 8k 4k fault=0" in out
    assert " =  end " in out
    assert "line@4k@delalloc: agree, 3 steps" in out
    assert pair.actual.runs[0][0].config.name == FIRST_CONFIG
    assert pair.actual.closed == 1


def test_a_mismatch_is_status_1_and_its_step_is_marked(pair, capsys):
    pair.answer(lambda workload: make_trace(workload, "guest", None, {1: WRONG}))
    assert main(["run", LINE]) == 1
    out = capsys.readouterr().out
    assert " x  2     pwrite_fault a 8k 4k fault=0" in out
    assert "What differs: step 2 of 3" in out


def test_a_mismatch_of_run_is_kept_as_the_main_job_keeps_it(pair, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["run", LINE]) == 0
    assert not list(tmp_path.iterdir())
    pair.answer(lambda workload: make_trace(workload, "guest", None, {1: WRONG}))
    assert main(["run", LINE]) == 1
    (kept,) = tmp_path.glob("ext4diff-results/*/line@4k@delalloc")
    assert f"Kept in: {kept}" in capsys.readouterr().out
    names = {path.name for path in kept.iterdir()}
    assert {"README.txt", "workload.ops", "expected.json", "actual.json", "kernel.log"} <= names
    assert main(["run", str(kept / "workload.ops"), "--results", "again"]) == 1
    assert (tmp_path / "again/workload@4k@delalloc/actual.json").exists()


def test_a_mismatch_that_cannot_be_kept_is_still_told(pair, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ext4diff-results").touch()
    pair.answer(lambda workload: make_trace(workload, "guest", None, {1: WRONG}))
    assert main(["run", LINE]) == 1
    out = capsys.readouterr().out
    assert "What differs: step 2 of 3" in out
    assert "Nothing could be kept in" in out


def test_a_file_runs_on_its_own_configurations_or_on_those_asked_for(pair, tmp_path):
    path = tmp_path / "example.ops"
    path.write_text(f"on: 1k@delalloc 4k@nodelalloc\n\n{LINE}\n")
    assert main(["run", str(path)]) == 0
    assert [run[0].config.name for run in pair.actual.runs] == ["1k@delalloc", "4k@nodelalloc"]
    assert main(["run", str(path), "--on", "2k"]) == 0
    assert pair.actual.runs[-1][0].config.name == "2k@delalloc"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["pwrit a 0 4k"], 'unknown operation "pwrit"'),
        (["missing.ops"], "cannot read missing.ops: No such file or directory\n"),
        (["/dev/null"], "/dev/null:1:1: there is no operation"),
        ([LINE, "--on", "9k@delalloc"], "9k@delalloc is no configuration"),
        ([LINE, "--on", "4k@delalloc,"], "4k@delalloc, is no configuration"),
        ([LINE, "--results", "/dev/null/x"], "--results /dev/null/x: /dev/null is no directory"),
        ([LINE, "--against", "path:both"], "the paths are path:buffer_head and path:iomap"),
    ],
)
def test_bad_input_is_status_2_in_one_line(pair, capsys, words, said):
    assert main(["run", *words]) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.err.count("\n") == 1
    assert not pair.actual.runs


def test_a_line_may_be_longer_than_a_file_name(pair):
    assert main(["run", "; ".join([LINE] * 40)]) == 0
    assert len(pair.actual.runs[0][0].ops) == 40 * (LINE.count(";") + 1)


@pytest.mark.parametrize("words", [["run"], ["export", "c"], ["import", "fsx"]])
def test_a_file_without_end_is_refused_before_it_fills_memory(pair, monkeypatch, capsys, words):
    monkeypatch.setattr("workloads.files.LARGEST", 1 << 20)
    assert main([*words, "/dev/zero"]) == 2
    assert capsys.readouterr().err == ("ext4diff: cannot read /dev/zero: it is larger than 1 MiB\n")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (GuestHangError("no answer"), 3),
        (ImageError("image 4k: too small"), 2),
    ],
)
def test_failures_of_a_run_have_their_status(pair, capsys, error, status):
    pair.answer(error)
    assert main(["run", LINE]) == status
    assert str(error) in capsys.readouterr().out


def test_what_the_model_refuses_is_shown_but_not_judged(pair, capsys):
    pair.expected = FakeSubject("model", [NotModelledError("no quota")])
    assert main(["run", LINE]) == 3
    out = capsys.readouterr().out
    assert " ?  1     pwrite a 0 4k" in out
    assert "not modelled: no quota" in out


def test_a_fault_of_our_own_is_status_3_and_no_mismatch(capsys, monkeypatch):
    monkeypatch.setattr("harness.commands.lint.run", lambda _options: 1 // 0)
    assert main(["lint", "a.ops"]) == 3
    err = capsys.readouterr().err
    assert "ZeroDivisionError" in err
    assert err.endswith("ext4diff: that is a fault of ext4diff itself, and no mismatch\n")


def test_missing_tools_are_status_3_in_one_line(pair, capsys, monkeypatch):
    def missing():
        raise HostToolError("qemu-system-x86 missing; run: apt-get install qemu-system-x86")

    monkeypatch.setattr(pair.actual, "prepare", missing)
    assert main(["run", LINE]) == 3
    assert capsys.readouterr().err == (
        "ext4diff: qemu-system-x86 missing; run: apt-get install qemu-system-x86\n"
    )
    assert pair.actual.closed == 1


def test_an_interrupt_is_status_130_and_ends_the_guest(pair, capsys):
    pair.answer(KeyboardInterrupt())
    assert main(["run", LINE]) == 130
    assert pair.actual.closed == 1


@pytest.mark.parametrize(
    ("words", "refresh"), [(["run", LINE], False), (["run", LINE, "--refresh"], True)]
)
def test_the_mirror_and_a_refresh_are_asked_for_on_the_command_line(
    pair, monkeypatch, words, refresh
):
    choices = []
    monkeypatch.setitem(
        pairs.MAKERS, "kernel", lambda argument, choice: choices.append(choice) or pair.actual
    )
    assert main([*words, "--mirror", "http://mirror.example/debian"]) == 0
    assert choices == [Choice(None, "auto", "http://mirror.example/debian", refresh)]


def test_doctor_takes_the_options_of_a_run(monkeypatch):
    choices = []

    def look(choice):
        choices.append(choice)
        yield True, "fine"

    monkeypatch.setattr(doctor, "CHECKS", {"guest": look})
    assert main(["doctor", "--kernel", "k", "--accel", "tcg", "--mirror", "m", "--refresh"]) == 0
    assert choices == [Choice("k", "tcg", "m", True)]


def test_an_interrupt_while_a_command_is_imported_is_status_130(capsys, monkeypatch):
    def importing(name):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.importlib, "import_module", importing)
    for words in (["differential"], ["run", LINE]):
        assert main(words) == 130
        assert capsys.readouterr().err == "ext4diff: interrupted\n"


# --- lint -----------------------------------------------------------------------------


def test_lint_accepts_good_files_and_names_the_line_of_bad_ones(tmp_path, capsys):
    (tmp_path / "good.ops").write_text("pwrite a 0 4k\n")
    assert main(["lint", str(tmp_path)]) == 0
    (tmp_path / "bad.ops").write_text("\npwrit a 0 4k\n")
    assert main(["lint", str(tmp_path)]) == 2
    captured = capsys.readouterr()
    assert 'bad.ops:2:1: unknown operation "pwrit"' in captured.err
    assert "1 of 2 workload files are good" in captured.out
    assert main(["lint", str(tmp_path / "none.ops")]) == 2
    assert capsys.readouterr().err.endswith("none.ops: No such file or directory\n")


def test_lint_says_so_where_there_are_no_workload_files(tmp_path, capsys):
    assert main(["lint", str(tmp_path)]) == 2
    assert "no workload files (*.ops) are there" in capsys.readouterr().err


def test_lint_fix_writes_the_canonical_form(tmp_path):
    path = tmp_path / "good.ops"
    path.write_text("pwrite a 0 4096 tag=1\n")
    assert main(["lint", "--fix", str(path)]) == 0
    assert path.read_text() == "on: default\n\npwrite a 0 4k\n"


# --- doctor ---------------------------------------------------------------------------


def test_doctor_looks_at_everything_and_says_what_is_missing(monkeypatch, capsys):
    def broken(choice):
        raise MachineryError("QEMU is missing; run: apt-get install qemu-system-x86")
        yield

    def fine(choice):
        yield True, "all right"
        yield False, "could be better"

    monkeypatch.setattr(doctor, "CHECKS", {"tools": broken, "cache": fine})
    assert main(["doctor"]) == 3
    assert capsys.readouterr().out.splitlines() == [
        "BAD tools: QEMU is missing; run: apt-get install qemu-system-x86",
        "ok  cache: all right",
        "--  cache: could be better",
    ]


def test_doctor_is_status_0_where_nothing_needed_is_missing(monkeypatch):
    monkeypatch.setattr(doctor, "CHECKS", {"cache": lambda choice: iter([(True, "fine")])})
    assert main(["doctor"]) == 0


def test_doctor_installs_nothing(monkeypatch, capsys, tmp_path):
    def install():
        raise AssertionError("doctor must not install")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(machine, "ensure_host_tools", install)
    monkeypatch.setattr(host_tools, "_which", lambda program: None)
    assert main(["doctor"]) == 3
    out = capsys.readouterr().out
    assert "apt-get install" in out
    assert "-- guest: not tried" in out.replace("--  ", "-- ")


def test_differential_has_a_help_of_its_own(capsys):
    assert main(["differential", "--help"]) == 0
    assert "--against WHAT" in capsys.readouterr().out


def test_a_reader_that_goes_away_is_no_traceback():
    """Also where all of it is still in the buffer when the command is done."""
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "harness", "generate", "random", "--seed", "1"],
        check=False, stdout=write, stderr=subprocess.PIPE, text=True, timeout=600,
        cwd=Path(__file__).parent.parent,
    )  # fmt: skip
    os.close(write)
    assert done.stderr == ""
    assert done.returncode == MACHINERY


class PlayedSide:
    """A guest that comes up, or does not."""

    knows, error = True, ""
    closed = 0

    def __init__(self, _choice):
        pass

    def prepare(self):
        if PlayedSide.error:
            raise MachineryError(PlayedSide.error)

    def header(self):
        return ["kernel 7.3.4"]

    def identity(self):
        return {"accel": "tcg", "accel_reason": "as asked for"}

    def knows_iomap(self):
        return PlayedSide.knows

    def close(self):
        PlayedSide.closed += 1


@pytest.mark.parametrize(
    ("knows", "error", "status", "said"),
    [
        (True, "", 0, "ok  guest: the kernel knows buffered_iomap: both paths can be tested"),
        (False, "", 0, "--  guest: the kernel does not know buffered_iomap: the iomap path can't"),
        (True, "no boot", 3, "BAD guest: no boot"),
    ],
)
def test_doctor_brings_a_guest_up_and_down(monkeypatch, capsys, knows, error, status, said):
    monkeypatch.setattr(PlayedSide, "knows", knows)
    monkeypatch.setattr(PlayedSide, "error", error)
    monkeypatch.setattr(PlayedSide, "closed", 0)
    monkeypatch.setattr(doctor, "GuestSide", PlayedSide)
    monkeypatch.setattr(doctor, "CHECKS", {"guest": doctor.CHECKS["guest"]})
    monkeypatch.setattr(host_tools, "missing_packages", list)
    assert main(["doctor"]) == status
    assert PlayedSide.closed == 1
    out = capsys.readouterr().out
    assert said in out
    assert ("accelerator tcg: as asked for" in out) == (not error)
