"""Patch series: whole or refused, applied or nothing left of the attempt."""

from __future__ import annotations

import gzip
import os
import re
from pathlib import Path

import pytest
from toy_kernel import Toy, script

from harness.errors import MACHINERY, USAGE
from vm.errors import DownloadError, HostToolError, PatchError
from vm.kernels.apply import apply_series
from vm.kernels.fetch import fetch_series
from vm.kernels.series import read_series
from vm.kernels.sources import Source, tree_source
from vm.kernels.spec import TreeSpec

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def mbox(toy: Toy, tmp_path: Path) -> Path:
    """Three patches with a cover letter: one line, two hunks in two files, a new file."""
    toy.edit("fs/ext4/inode.c", "line 5\n", "line five\n")
    toy.commit("ext4: write five as a word")
    toy.edit("fs/ext4/inode.c", "line 30\n", "line thirty\n")
    toy.edit("fs/ext4/super.c", "super 3\n", "super three\n")
    toy.commit("ext4: Zahlen als Wörter")
    toy.write("fs/ext4/new.c", "new\n")
    toy.commit("ext4: a new file")
    options = ("-v2", "--cover-letter", "--subject-prefix=PATCH -next")
    return toy.mbox(tmp_path / "series.mbox", *options, "HEAD~3")


def parts(mbox: Path) -> list[str]:
    return re.split(r"(?m)(?=^From [0-9a-f]{40} )", mbox.read_text())[1:]


def applied(toy: Toy, mbox: Path) -> Source:
    return apply_series(tree_source(TreeSpec(toy.path)), read_series(mbox), "series")


# --- reading ------------------------------------------------------------------------------


def test_patches_are_read_in_order_without_the_cover_letter(mbox: Path) -> None:
    series = read_series(mbox)
    assert [patch.title for patch in series.patches] == [
        "ext4: write five as a word", "ext4: Zahlen als Wörter", "ext4: a new file",
    ]  # fmt: skip
    assert series.patches[1].subject == "[PATCH -next v2 2/3] ext4: Zahlen als Wörter"
    assert series.patches[1].touched == {"fs/ext4/inode.c", "fs/ext4/super.c"}


def test_mails_may_come_in_any_order_twice_with_replies_and_packed(
    mbox: Path, tmp_path: Path
) -> None:
    cover, *mails = parts(mbox)
    quoted = "".join(f"> {line}\n" for line in mails[0].splitlines())
    reply = (
        "From x Mon Sep 17 00:00:00 2001\nFrom: R <r@example.org>\nDate: Mon, 1 Jan 2026 0:0:0 +0\n"
        f"Subject: Re: [PATCH -next v2 1/3] ext4: write five as a word\n\n{quoted}\n"
    )
    mixed = "".join([mails[2], reply, mails[0], cover, mails[1], mails[0]])
    (tmp_path / "mixed.mbox.gz").write_bytes(gzip.compress(mixed.encode()))
    assert read_series(tmp_path / "mixed.mbox.gz").patches == read_series(mbox).patches


def test_one_patch_of_format_patch_is_a_series(toy: Toy, tmp_path: Path) -> None:
    toy.edit("fs/ext4/inode.c", "line 5\n", "line five\n")
    toy.commit("one")
    file = toy.mbox(tmp_path / "0001-one.patch", "HEAD~1")
    assert [patch.subject for patch in read_series(file).patches] == ["[PATCH] one"]


@pytest.mark.parametrize(
    ("gone", "names"),
    [
        ((1,), r"\[PATCH v2 1/3\] is missing"),
        ((2,), r"\[PATCH v2 2/3\] is missing"),
        ((1, 3), r"\[PATCH v2 1/3\], \[PATCH v2 3/3\] are missing"),
    ],
)
def test_a_missing_part_is_named(mbox: Path, gone: tuple[int, ...], names: str) -> None:
    kept = [part for number, part in enumerate(parts(mbox)) if number not in gone]
    mbox.write_text("".join(kept))
    with pytest.raises(PatchError, match=f"is not the whole series: {names}; `b4 am") as caught:
        read_series(mbox)
    assert caught.value.exit_status == USAGE and "\n" not in str(caught.value)


def test_missing_parts_are_numbered_as_the_list_does(mbox: Path) -> None:
    text = mbox.read_text().replace("2/3]", "02/22]").replace("1/3]", "01/22]")
    mbox.write_text(text.replace("3/3]", "22/22]"))
    with pytest.raises(PatchError, match=r"\[PATCH v2 03/22\].* and 13 more are missing"):
        read_series(mbox)


def test_two_versions_or_two_patches_of_one_number_are_refused(mbox: Path) -> None:
    whole = mbox.read_text()
    mbox.write_text(whole + whole.replace(" v2 ", " v3 "))
    with pytest.raises(PatchError, match="more than one series"):
        read_series(mbox)
    mbox.write_text(whole + parts(mbox)[1].replace("as a word", "as another"))
    with pytest.raises(PatchError, match="has two patches 1/3"):
        read_series(mbox)
    mbox.write_text(whole + parts(mbox)[1].replace("PATCH -next v2 1/3", "PATCH"))
    with pytest.raises(PatchError, match="which has no number"):
        read_series(mbox)


@pytest.mark.parametrize(
    "data",
    [b"", b"hello\n", bytes(5000), b"From me Mon Sep 17 00:00:00 2001\nSubject: hi\n\nhello\n",
     b"\x1f\x8bno gzip"],
)  # fmt: skip
def test_what_is_no_mbox_is_refused(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "thing"
    file.write_bytes(data)
    with pytest.raises(PatchError, match=r"holds no patch|cannot read"):
        read_series(file)


def test_a_bare_diff_and_a_directory_are_refused_with_what_to_do(toy: Toy, tmp_path: Path) -> None:
    toy.edit("fs/ext4/inode.c", "line 5\n", "line five\n")
    (tmp_path / "a.diff").write_text(toy.git("diff") + "\n")
    with pytest.raises(PatchError, match="a diff without a mail around it; commit it"):
        read_series(tmp_path / "a.diff")
    with pytest.raises(PatchError, match=r"cat .* makes an mbox"):
        read_series(tmp_path)


# --- applying -----------------------------------------------------------------------------


def test_a_series_that_applies_is_a_commit_on_its_base(toy: Toy, mbox: Path) -> None:
    before = toy.state()
    base = tree_source(TreeSpec(toy.path))
    source = applied(toy, mbox)
    git = source.workshop.repository.git()
    assert git.output("rev-list", "--count", f"{base.commit}..{source.commit}") == "3"
    assert git.output("show", f"{source.commit}:fs/ext4/new.c") == "new"
    assert "line thirty" in git.output("show", f"{source.commit}:fs/ext4/inode.c")
    assert (source.base, len(source.patches)) == (base.commit, 3)
    assert source.series[0] == "[PATCH -next v2 1/3] ext4: write five as a word"
    assert toy.state() == before
    assert not (source.workshop.path / "scratch").exists()


def test_the_same_series_is_the_same_commit_and_is_applied_once(
    toy: Toy, mbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = applied(toy, mbox)
    monkeypatch.setattr("vm.kernels.apply._am", lambda *_: pytest.fail("applied twice"))
    assert applied(toy, mbox) == first


def test_a_series_goes_on_changes_that_are_not_committed(toy: Toy, mbox: Path) -> None:
    toy.edit("fs/ext4/super.c", "super 15\n", "super fifteen\n")
    git = applied(toy, mbox).workshop.repository.git()
    text = git.output("show", f"{applied(toy, mbox).commit}:fs/ext4/super.c")
    assert "super fifteen" in text and "super three" in text


def test_deleted_renamed_and_odd_names_apply(toy: Toy, tmp_path: Path) -> None:
    toy.write("fs/ext4/[odd] name!.c", "odd\n" * 9)
    toy.commit("odd")
    toy.git("mv", "fs/ext4/super.c", "fs/ext4/moved.c")
    toy.git("rm", "-q", "mm/filemap.c")
    toy.edit("fs/ext4/[odd] name!.c", "odd\n", "even\n")
    toy.commit("move")
    source = applied(toy, toy.mbox(tmp_path / "m.mbox", "-M", "HEAD~1"))
    names = source.workshop.repository.git().output(
        "ls-tree", "-r", "--name-only", source.commit
    ).splitlines()  # fmt: skip
    assert "fs/ext4/moved.c" in names and "fs/ext4/[odd] name!.c" in names
    assert "fs/ext4/super.c" not in names and "mm/filemap.c" not in names


def test_a_patch_that_fails_is_named_with_file_and_hunk(toy: Toy, mbox: Path) -> None:
    toy.edit("fs/ext4/inode.c", "line 29\n", "line twenty-nine\n")
    toy.commit("in the way")
    before = toy.state()
    with pytest.raises(PatchError) as caught:
        applied(toy, mbox)
    message = str(caught.value)
    assert "'[PATCH -next v2 2/3] ext4: Zahlen als Wörter' does not apply on tree:" in message
    assert "fs/ext4/inode.c, hunk 1 (@@ -27,7 +27,7 @@" in message
    assert toy.state() == before
    shop = tree_source(TreeSpec(toy.path)).workshop
    assert not (shop.path / "scratch").exists() and not list(shop.path.glob("git/worktrees/*"))
    assert not shop.repository.git().output("for-each-ref")


def test_the_second_hunk_is_told_from_the_first(toy: Toy, tmp_path: Path) -> None:
    toy.edit("fs/ext4/inode.c", "line 5\n", "line five\n")
    toy.edit("fs/ext4/inode.c", "line 30\n", "line thirty\n")
    toy.commit("two hunks")
    mbox = toy.mbox(tmp_path / "two.mbox", "HEAD~1")
    toy.edit("fs/ext4/inode.c", "line 31\n", "line thirty-one\n")
    with pytest.raises(PatchError, match=r"fs/ext4/inode.c, hunk 2 \(@@ -27,7"):
        applied(toy, mbox)


def test_files_that_are_missing_or_there_already_are_named(toy: Toy, mbox: Path) -> None:
    toy.write("fs/ext4/new.c", "mine\n")
    with pytest.raises(PatchError, match=r"3/3\] ext4: a new file.*new.c is there already"):
        applied(toy, mbox)
    (toy.path / "fs/ext4/inode.c").unlink()
    with pytest.raises(PatchError, match=r"1/3\].*inode.c does not exist there"):
        applied(toy, mbox)


def test_the_base_that_a_series_names_is_passed_on(toy: Toy, tmp_path: Path) -> None:
    toy.edit("fs/ext4/inode.c", "line 4\n", "line four\n")
    base = toy.commit("base")
    toy.edit("fs/ext4/inode.c", "line 5\n", "line five\n")
    toy.commit("five")
    mbox = toy.mbox(tmp_path / "five.mbox", "--base=HEAD~1", "HEAD~1")
    toy.git("reset", "-q", "--hard", "HEAD~1")
    with pytest.raises(PatchError, match=f"made for commit {base[:12]}: give a tree"):
        applied(toy, mbox)


def test_what_a_killed_attempt_left_is_no_hindrance(toy: Toy, mbox: Path) -> None:
    shop = tree_source(TreeSpec(toy.path)).workshop
    scratch = shop.path / "scratch"
    head = toy.git("rev-parse", "HEAD")
    shop.repository.git().output("worktree", "add", "-q", "--detach", str(scratch), head)
    (scratch / "half").touch()
    assert applied(toy, mbox).series
    assert not scratch.exists()


# --- fetching -----------------------------------------------------------------------------


def fake_b4(folder: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    folder.mkdir()
    script(folder / "b4", f"#!/bin/sh\n{body}\n")
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_a_message_id_is_fetched_by_b4_and_kept(
    tmp_path: Path, mbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = tmp_path / "calls"
    body = f'echo "$*" >> {calls}; [ "$1" = am ] && cp {mbox} series.mbx'
    fake_b4(tmp_path / "bin", monkeypatch, body)
    fetched = fetch_series("1@example.org")
    assert read_series(fetched).patches == read_series(mbox).patches
    assert fetch_series("1@example.org") == fetched
    assert calls.read_text().count("1@example.org") == 1
    fetch_series("1@example.org", refresh=True)
    assert calls.read_text().count("1@example.org") == 2


def test_without_network_b4s_reason_and_a_way_out_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_b4(tmp_path / "bin", monkeypatch, "echo Looking up; echo 'All hosts failed' >&2")
    with pytest.raises(DownloadError, match="All hosts failed; check the network, or save") as e:
        fetch_series("1@example.org")
    assert e.value.exit_status == MACHINERY
    assert not list((tmp_path / "cache/ext4diff/series").glob("[!.]*"))


def test_without_b4_the_apt_command_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HostToolError, match=r"b4 is missing.*apt-get install .* b4$"):
        fetch_series("1@example.org")
