"""`ext4diff minimize`: what it takes, what it prints and keeps, how it refuses and ends."""

from __future__ import annotations

import pytest
from minimizing import EFAULT, PROGRAMS, ModelledSide
from modelled import geometry

from harness import pairs
from harness.artifacts.archive import pack
from harness.artifacts.read import open_artifact
from harness.cli import main
from harness.minimize import refusal
from harness.sides.side import Choice
from workloads.syntax import parse

LINE = "pwrite a 0 4k; fsync a; pwrite_fault a 20000 8k fault=0; fpunch a 0 4k"


@pytest.fixture
def sides(monkeypatch, tmp_path):
    """The model, and a kernel that has the bug; `guest` can be replaced."""

    class Fakes:
        guest = ModelledSide("guest", frozenset({EFAULT}))
        model = ModelledSide("model")

        def __init__(self) -> None:
            self.chosen: list[Choice] = []

    def kernel(_spec, choice):
        fakes.chosen.append(choice)
        return fakes.guest

    fakes = Fakes()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(pairs.MAKERS, "model", lambda argument, choice: fakes.model)
    monkeypatch.setitem(pairs.MAKERS, "kernel", kernel)
    monkeypatch.setattr(refusal.mkfs, "geometry_of", geometry)
    return fakes


def test_a_line_becomes_a_workload_file_on_standard_output(sides, capsys, tmp_path):
    assert main(["minimize", LINE, "--strict-model"]) == 0
    out, err = capsys.readouterr()
    program = parse(out, "minimal")
    assert [op.WORD for op in program.ops] == ["pwrite_fault"]
    assert "4 operations" in out
    assert "1 operation (" in out
    assert "the mismatch showed in 3 of 3 runs of the first, 3 of 3 runs of this" in out
    assert "operations left" in err
    assert sides.guest.closed == 1
    results = tmp_path / "ext4diff-results"
    assert {path.name for path in results.iterdir()} == {
        "line@4k@delalloc.min", "line@4k@delalloc.min.answers", "line@4k@delalloc.min.ops",
    }  # fmt: skip
    assert parse((results / "line@4k@delalloc.min.ops").read_text(), "kept").ops == program.ops
    kept = results / "line@4k@delalloc.min/workload.ops"
    assert parse(kept.read_text(), "kept").ops == program.ops
    assert f"Kept in: {results}/line@4k@delalloc.min" in err


def test_a_file_runs_on_its_own_configurations_and_the_first_that_mismatches_is_taken(
    sides, capsys, tmp_path
):
    path = tmp_path / "example.ops"
    path.write_text(f"on: 1k@nodelalloc 4k@delalloc\n\n{LINE}\n")
    assert main(["minimize", str(path), "--strict-model", "--results", "out"]) == 0
    assert (tmp_path / "out/example@1k@nodelalloc.min/workload.ops").exists()
    assert "on 1k@nodelalloc; now 1 operation" in capsys.readouterr().out


def test_a_random_program_is_minimized_again_without_a_run_of_what_is_known(sides, capsys):
    words = ["minimize", str(PROGRAMS[0]), "--strict-model", "--runs", "1"]
    assert main(words) == 0
    first, runs = capsys.readouterr().out, sides.guest.runs
    assert main(words) == 0
    out, err = capsys.readouterr()
    assert out == first
    assert sides.guest.runs == runs + 2
    assert "known from earlier runs: " in err


def test_a_budget_of_runs_leaves_the_best_so_far_and_a_hint(sides, capsys):
    words = ["minimize", str(PROGRAMS[0]), "--strict-model", "--runs", "1", "--budget-runs", "3"]
    assert main(words) == 0
    out, err = capsys.readouterr()
    assert "the budget (3 runs) is spent: it may get smaller" in out
    assert "goes on from here" in err
    assert len(parse(out, "best").ops) < 25


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([LINE, "--budget", "0"], "--budget 0: there is no time to try anything"),
        ([LINE, "--budget", "-3"], "--budget -3: there is no time"),
        ([LINE, "--budget", "nan"], "--budget nan: there is no time"),
        ([LINE, "--budget-runs", "0"], "--budget-runs 0: nothing can be tried"),
        ([LINE, "--runs", "0"], "--runs 0: it has to run once"),
        ([LINE, "--results", "/dev/null/x"], "/dev/null is no directory"),
        (["missing.ops"], "cannot read missing.ops"),
        (["missing.tar.zst"], "missing.tar.zst"),
        (["."], ". is no artifact: it has no manifest.json"),
        ([".", "--on", "4k"], "--on and --from are for workloads"),
        (["pwrit a 0 4k"], 'unknown operation "pwrit"'),
    ],
)
def test_bad_input_is_status_2_in_one_line(sides, capsys, words, said):
    assert main(["minimize", *words]) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert not captured.out
    assert not sides.guest.runs


def test_a_workload_that_agrees_is_said_to_agree(sides, capsys):
    assert main(["minimize", "pwrite a 0 4k"]) == 2
    assert "no mismatch shows, in 3 runs" in capsys.readouterr().err


def test_a_workload_that_agrees_on_all_configurations_is_told_with_each(sides, capsys, tmp_path):
    path = tmp_path / "example.ops"
    path.write_text("on: 1k@nodelalloc 4k@delalloc\n\npwrite a 0 4k\n")
    assert main(["minimize", str(path)]) == 2
    err = capsys.readouterr().err
    assert "mismatches on no configuration" in err
    assert "example@1k@nodelalloc: agree" in err
    assert "example@4k@delalloc: agree" in err


def test_a_known_issue_is_no_mismatch_and_the_way_to_make_it_one_is_told(sides, capsys):
    assert main(["minimize", LINE]) == 2
    err = capsys.readouterr().err
    assert "known (efault-beyond-eof-moves-size)" in err
    assert "--strict-model counts known issues as mismatches" in err


# --- artifacts --------------------------------------------------------------------------


@pytest.fixture
def artifact(sides, tmp_path, capsys):
    """What a run of `LINE` on the kernel with the bug has left."""
    assert main(["run", LINE, "--strict-model", "--results", "found"]) == 1
    capsys.readouterr()
    return tmp_path / "found/line@4k@delalloc"


def test_an_artifact_is_minimized_beside_it_as_it_was_recorded(sides, artifact, capsys):
    assert main(["minimize", str(artifact), "--kernel", "x"]) == 0
    out, err = capsys.readouterr()
    assert len(parse(out, "minimal").ops) == 1
    assert "a known issue shows" in err  # the artifact says --strict-model
    with open_artifact(artifact.with_name("line@4k@delalloc.min")) as made:
        assert len(made.workload.ops) == 1
        assert made.manifest.flakiness == (3, 3)
        assert made.manifest.strict
        assert str(artifact) in made.manifest.minimized_from
        assert "4 operations" in made.manifest.minimized_from


def test_an_archive_is_minimized_beside_it(sides, artifact, capsys, tmp_path):
    packed = tmp_path / "mail.tar.zst"
    pack(artifact, packed)
    assert main(["minimize", str(packed), "--kernel", "x"]) == 0
    assert (tmp_path / "mail.min/workload.ops").exists()


def test_a_mismatch_that_does_not_show_any_more_is_told_with_what_can_be_done(
    sides, artifact, capsys
):
    sides.guest = ModelledSide("guest", identity_={"sha256": "other", "release": "9.9"})
    assert main(["minimize", str(artifact), "--kernel", "x"]) == 2
    err = capsys.readouterr().err
    assert "recorded on kernel 7.3.4-cloud-amd64" in err
    assert "this is 9.9" in err
    assert "does not show any more, in 3 runs" in err
    assert "--runs 50" in err


def test_an_artifact_of_a_newer_version_is_refused(sides, artifact, capsys):
    manifest = artifact / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"version": 1', '"version": 99'))
    assert main(["minimize", str(artifact)]) == 2
    assert "version 99 of artifacts" in capsys.readouterr().err


def test_an_artifact_says_itself_where_it_ran(sides, artifact, capsys):
    assert main(["minimize", str(artifact), "--on", "1k"]) == 2
    assert "--on and --from are for workloads" in capsys.readouterr().err


# --- ends ---------------------------------------------------------------------------------


def test_ctrl_c_prints_the_best_so_far_and_the_same_command_goes_on(sides, capsys, monkeypatch):
    words = ["minimize", str(PROGRAMS[0]), "--strict-model", "--runs", "1"]
    run, left = sides.guest.run, [6]

    def interrupted(*given):
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt
        return run(*given)

    monkeypatch.setattr(sides.guest, "run", interrupted)
    assert main(words) == 130
    out, err = capsys.readouterr()
    assert "not finished" in out
    assert len(parse(out, "best").ops) < 25
    assert "the same command goes on from it" in err
    assert main(words) == 0
    assert len(parse(capsys.readouterr().out, "best").ops) <= 3


def test_results_that_cannot_be_written_are_told(sides, capsys, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/line@4k@delalloc.min.answers").mkdir()
    assert main(["minimize", LINE, "--strict-model", "--results", "out"]) == 3
    err = capsys.readouterr().err
    assert f"cannot write {tmp_path}/out/line@4k@delalloc.min.answers: Is a directory" in err
