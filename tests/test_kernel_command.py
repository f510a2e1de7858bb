"""`ext4diff kernel`: what a person reads, what a program reads, and exit statuses."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from toy_kernel import Toy

from harness import cli
from harness.errors import AGREE, MACHINERY, USAGE
from vm.kernels import store

pytestmark = pytest.mark.usefixtures("own_cache", "toy_tools")


def ext4diff(*words: str) -> int:
    return cli.main(["kernel", *words])


def test_build_says_what_was_built_and_how_to_use_it(
    toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    toy.edit("fs/ext4/inode.c", "line 5\n", "line five\n")
    toy.commit("ext4: five")
    mbox = toy.mbox(tmp_path / "s.mbox", "HEAD~1")
    spec = f"series:{mbox} on tree:{toy.path}"
    assert ext4diff("build", spec, "--debug") == AGREE
    out, said = capsys.readouterr()
    assert "kernel   7.3.4-" in out and "series   [PATCH] ext4: five\n" in out
    assert "flavour  debug\n" in out and f"base     {toy.git('rev-parse', 'HEAD')}\n" in out
    assert f"ext4diff run --kernel '{spec} with debug' ..." in out
    stages = [line.split()[1] for line in said.splitlines()]
    assert stages == ["checking", "configuring", "compiling", "built"]


def test_json_has_the_whole_identity(toy: Toy, capsys: pytest.CaptureFixture[str]) -> None:
    assert ext4diff("build", f"tree:{toy.path}", "--json") == AGREE
    one = json.loads(capsys.readouterr().out)
    assert one["series"] == [] and one["source"] == f"tree:{toy.path}"
    assert ext4diff("list", "--json") == AGREE
    assert json.loads(capsys.readouterr().out) == [one]


def test_list_and_remove(toy: Toy, capsys: pytest.CaptureFixture[str]) -> None:
    assert ext4diff("list") == AGREE
    assert "no kernel was built yet" in capsys.readouterr().out
    ext4diff("build", f"tree:{toy.path}")
    ext4diff("build", f"tree:{toy.path}", "--symbols")
    capsys.readouterr()
    assert ext4diff("list") == AGREE
    out = capsys.readouterr().out
    assert out.count(f"          tree:{toy.path}\n") == 1
    assert f"tree:{toy.path} with symbols" in out and "tiny+symbols" in out
    assert "sources, kept so that the next build is short" in out
    key = next(store.built()).key
    assert ext4diff("remove", key[:8]) == AGREE
    assert "removed 1 from" in capsys.readouterr().out
    assert len(list(store.built())) == 1
    assert ext4diff("remove", "--all", "--sources") == AGREE
    assert not list(store.built()) and not store.source_sizes()
    assert ext4diff("build", f"tree:{toy.path}") == AGREE


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["build", "debian:sid"], "debian:sid is a kernel already; kernel build takes tree:DIR"),
        (["build", __file__], f"{__file__} is a file, and only sources are built; kernel build"),
        (["build", str(Path(__file__).parent)], "to build the source in it give tree:"),
        (["build", "/nonexistent"], "there is no file or directory /nonexistent; kernel build"),
        (["build", "/nonexistent", "--debug"], "there is no file or directory /nonexistent"),
        (["build", "debian:sid", "--debug"], "debian:sid is a kernel already; kernel build"),
        (["build", "built:0123abcd"], "built:0123abcd is a kernel already; kernel build"),
        (["build", "tree:/nonexistent"], "there is no directory /nonexistent"),
        (["build", "series:/none.mbox on debian-source:7.3"], "there is no file /none.mbox"),
        (["remove"], "kernel remove takes keys"),
        (["remove", "0000"], "no built kernel has the key 0000"),
    ],
)
def test_bad_input_is_status_2_in_one_line(
    toy: Toy, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert ext4diff(*words) == USAGE
    error = capsys.readouterr().err
    assert error.startswith("ext4diff: ") and said in error and error.count("\n") == 1


def test_a_kernel_that_does_not_compile_is_status_2_with_the_compilers_error(
    toy: Toy, capsys: pytest.CaptureFixture[str]
) -> None:
    toy.edit("fs/ext4/inode.c", "line 7\n", "ERROR\n")
    assert ext4diff("build", f"tree:{toy.path}") == USAGE
    error = capsys.readouterr().err
    assert "\n  fs/ext4/inode.c:7:5: error: 'toy' undeclared" in error
    assert len(error.splitlines()) < 9


def test_a_missing_git_is_status_3(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("vm.host_tools._which", lambda program: None)
    assert ext4diff("build", f"tree:{toy.path}") == MACHINERY
    assert "git is missing; run: " in capsys.readouterr().err


def test_a_series_with_a_gap_is_refused_before_anything_is_fetched(
    toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2):
        toy.edit("fs/ext4/inode.c", f"line {number}\n", "word\n")
        toy.commit(f"change {number}")
    mbox = toy.mbox(tmp_path / "s.mbox", "HEAD~2")
    mbox.write_text(mbox.read_text().rpartition("\nFrom ")[0])
    monkeypatch.setattr("vm.kernels.build.debian_source", lambda *_: pytest.fail("fetched"))
    assert ext4diff("build", f"series:{mbox} on debian-source:7.3") == USAGE
    assert "[PATCH 2/2] is missing" in capsys.readouterr().err


def test_what_a_hook_set_for_git_does_not_mislead(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    subprocess.run(["git", "init", "-q", str(other)], check=True)
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / "index"))
    assert ext4diff("build", f"tree:{toy.path}") == AGREE
    assert not (other / "index").exists()
