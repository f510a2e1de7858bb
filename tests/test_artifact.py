"""Artifacts: whole or absent, complete, and opened with a plain sentence for each fault."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import msgspec
import pytest
from fakes import RELEASE, FakeSubject, make_trace, make_workload, seen

from harness.artifacts.archive import MOST_BYTES, MOST_FILES, ArtifactError, pack
from harness.artifacts.artifact import Origin, keep, manifest_bytes, try_keep
from harness.artifacts.manifest import MANIFEST, VERSION, Generated, Manifest
from harness.artifacts.read import is_artifact, open_artifact
from harness.cli import main
from harness.comparison.compare import compare
from harness.generated import generated_from
from harness.pairs import Pair
from harness.sides.side import Choice
from harness.trace import Complaint, ComplaintKind, Extent, State, Step
from harness.verdict import Compared, decode_verdict, encode_verdict
from workloads import generate
from workloads.images import DEVICE_SIZE
from workloads.workload import Workload

IDENTITY = {"release": RELEASE, "kernel": "a package", "sha256": "ab" * 32, "accel": "tcg"}
WRONG = Step("EFAULT", (), seen(size=8192, extents=(Extent(0, 8192, State.UNWRITTEN, 5),)))


class FakeGuest(FakeSubject):
    def identity(self):
        return IDENTITY

    def command(self):
        return ("qemu-system-x86_64", "-m", "512")


def found(workload: Workload | None = None, steps: dict[int, Step] | None = None) -> Compared:
    workload = workload or make_workload()
    expected = make_trace(workload)
    actual = make_trace(workload, f"kernel {RELEASE}", RELEASE, steps or {1: WRONG})
    return Compared(compare(expected, actual), expected, actual)


def pair(against: str = "model", kernel: str | None = None) -> Pair:
    sides = FakeSubject("model", []), FakeGuest("guest", [])
    return Pair(*sides, against, Choice(kernel), strict=True)


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    return keep(found(), pair(kernel="debian:sid"), tmp_path / "one", "what happened")


# --- writing ----------------------------------------------------------------------------


def test_an_artifact_comes_back_as_it_was_written(kept):
    with open_artifact(kept) as artifact:
        assert artifact.compared == found()
        assert artifact.workload == make_workload()
        assert artifact.notes == ()
        manifest = artifact.manifest
    assert (manifest.version, manifest.against, manifest.strict) == (VERSION, "model", True)
    assert manifest.workload == "example@4k@delalloc"
    assert "model and kernel 7.3.4-cloud-amd64 differ at step 2 of 3" in manifest.said
    assert len(manifest.signature) == 12
    side = manifest.sides["guest"]
    assert (side.spec, side.identity, side.command[0]) == (
        "debian:sid", IDENTITY, "qemu-system-x86_64",
    )  # fmt: skip
    names = {path.name for path in kept.iterdir()}
    assert set(manifest.files) == names - {MANIFEST}
    assert names >= {
        "README.txt", "verdict.json", "workload.ops", "workload.json", "expected.json",
        "actual.json", "identity.json", "reproduce.sh", "reproduce.c", "kernel.log",
    }  # fmt: skip


def test_values_of_every_kind_survive(tmp_path):
    complaint = Complaint(ComplaintKind.WARNING, "WARNING in f", ("line",), "f", ("f+0x1",), 1, 2)
    compared = found(steps={1: WRONG, 2: Step([[0, 4096]], (), seen())})
    assert compared.actual is not None and compared.actual.final is not None
    final = msgspec.structs.replace(compared.actual.final, log=(complaint,))
    actual = msgspec.structs.replace(compared.actual, final=final)
    assert compared.expected is not None
    verdict = compare(compared.expected, actual)
    assert any(m.actual == complaint for m in verdict.mismatches)
    assert any(isinstance(m.actual, tuple) for m in verdict.mismatches)
    unseen = {("warnings", "not seen by model"): 3}
    verdict = msgspec.structs.replace(verdict, not_compared=unseen)
    again = decode_verdict(encode_verdict(verdict))
    assert again.mismatches == verdict.mismatches
    assert [m.actual for m in again.mismatches if m.field == "log"] == [complaint]
    assert again.not_compared == unseen


def test_the_readme_tells_how_to_see_it_with_and_without_ext4diff(kept):
    text = (kept / "README.txt").read_text()
    assert text.startswith("what happened\n")
    for words in (
        "ext4diff replay", "ext4diff mail", "mke2fs -q -F -t ext4 -m 0 -b 4096",
        "mount -o noatime,delalloc", "gcc -O1 -static -o reproduce reproduce.c",
        "left out: 1 of 3 operations: 1 xfs_io has no pwrite_fault",
        "run with --strict-model",
    ):  # fmt: skip
        assert words in text
    listed = text.partition("\nFiles\n")[2]
    for path in kept.iterdir():
        if path.name != "kernel.log":  # a fake's
            assert path.name in listed


def test_an_older_artifact_is_never_written_over(tmp_path):
    first = keep(found(), pair(), tmp_path / "one", "first")
    second = keep(found(), pair(), tmp_path / "one", "second")
    assert (first.name, second.name) == ("one", "one-2")
    assert (first / "README.txt").read_text().startswith("first")
    (tmp_path / "two").write_text("a file of the user")
    assert keep(found(), pair(), tmp_path / "two", "third").name == "two-2"
    assert (tmp_path / "two").read_text() == "a file of the user"


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_nothing_half_written_stays(tmp_path, monkeypatch, error):
    def fails(self, directory):
        (directory / "half").write_text("half")
        raise error

    monkeypatch.setattr(FakeSubject, "save_evidence", fails)
    with pytest.raises(type(error)):
        keep(found(), pair(), tmp_path / "results" / "one", "why")
    assert not list((tmp_path / "results").iterdir())
    if isinstance(error, OSError):
        where, said = try_keep(found(), pair(), tmp_path / "results" / "one")
        assert where is None
        assert said.endswith("/one: No space left on device")
        assert not list((tmp_path / "results").iterdir())


def test_where_a_workload_comes_from_is_kept(tmp_path):
    origin = Origin("random-7-000003@4k@delalloc: 25 operations", (4, 5))
    path = keep(found(), pair(), tmp_path / "one", "why", origin)
    with open_artifact(path) as artifact:
        assert artifact.manifest.flakiness == (4, 5)
        assert artifact.manifest.minimized_from == origin.minimized_from
    assert "4 of 5 runs showed it" in (path / "README.txt").read_text()


def test_the_seed_is_named_only_if_it_gives_this_program():
    program = generate.make("random", 7, 3)
    workload = Workload(program.name, program.configs[0], program.ops, program.shows)
    assert generated_from(workload) == Generated("random", 7, 3)
    on = generate.make("swarm", 1, 2, config="1k@nodelalloc")
    named = Workload(on.name, on.configs[0], on.ops)
    assert generated_from(named) == Generated("swarm", 1, 2, "1k@nodelalloc")
    assert Generated("swarm", 1, 2, "1k@nodelalloc").command == (
        "ext4diff generate swarm --seed 1 --index 2 --on 1k@nodelalloc"
    )
    assert generated_from(msgspec.structs.replace(workload, ops=workload.ops[1:])) is None
    assert generated_from(msgspec.structs.replace(workload, program="mine")) is None


# --- bad input --------------------------------------------------------------------------


def refused(path: Path) -> str:
    with pytest.raises(ArtifactError) as raised, open_artifact(path):
        pass
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_an_artifact_of_a_newer_release_says_which_and_what_can_be_done(kept):
    manifest = json.loads((kept / MANIFEST).read_text())
    new = {**manifest, "version": VERSION + 1, "harness": "9.9", "sides": "something new"}
    (kept / MANIFEST).write_text(json.dumps(new))
    said = refused(kept)
    assert "was written by ext4diff 9.9" in said
    assert "use a newer ext4diff" in said
    assert "reproduce.c run without ext4diff" in said


def test_what_a_newer_release_adds_to_this_version_is_no_fault(kept):
    manifest = json.loads((kept / MANIFEST).read_text())
    (kept / MANIFEST).write_text(json.dumps({**manifest, "more": [1, 2]}))
    with open_artifact(kept) as artifact:
        assert artifact.manifest.against == "model"


def test_a_directory_of_before_there_were_manifests_is_said_to_be_old(kept):
    (kept / MANIFEST).unlink()
    said = refused(kept)
    assert "is old" in said
    assert f"ext4diff run {kept}/workload.ops" in said
    assert not is_artifact(kept)


def test_something_else_is_no_artifact(tmp_path):
    assert "is no artifact: it has no manifest.json" in refused(tmp_path)
    assert "No such file" in refused(tmp_path / "nothing")
    (tmp_path / "file").write_text("text")
    assert "neither a directory nor a .tar.zst archive" in refused(tmp_path / "file")


@pytest.mark.parametrize("name", ["verdict.json", "workload.json"])
def test_a_missing_file_is_named(kept, name):
    (kept / name).unlink()
    said = refused(kept)
    assert f"{name} is missing; get it again" in said
    assert "ext4diff run" in said


@pytest.mark.parametrize(
    "name", [MANIFEST, "verdict.json", "workload.json", "actual.json", "expected.json"]
)
@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff\xfe", b'{"version": "x"}'])
def test_a_damaged_file_is_named(kept, name, data):
    (kept / name).write_bytes(data)
    assert f"is damaged: {name} can't be read" in refused(kept)


def test_what_is_changed_or_gone_but_not_needed_is_noted(kept):
    (kept / "reproduce.c").unlink()
    (kept / "README.txt").write_text("mine")
    with open_artifact(kept) as artifact:
        assert sorted(artifact.notes) == [
            "README.txt is not as it was written: somebody changed it, or it is damaged",
            "reproduce.c is missing from the artifact",
        ]
    manifest = msgspec.json.decode((kept / MANIFEST).read_bytes(), type=Manifest)
    (kept / MANIFEST).write_bytes(manifest_bytes(manifest, kept))
    with open_artifact(kept) as artifact:
        assert artifact.notes == ()


# --- pack -------------------------------------------------------------------------------


def test_pack_makes_an_archive_that_opens_as_the_directory_does(kept, capsys):
    assert main(["pack", str(kept)]) == 0
    target = kept.with_name("one.tar.zst")
    assert capsys.readouterr().out.startswith(f"{target}: ")
    shutil.rmtree(kept)
    assert is_artifact(target)
    with open_artifact(target) as artifact:
        assert artifact.compared == found()
        inside = artifact.directory
    assert not inside.exists()


def test_pack_names_the_archive_as_the_directory_was_named(kept, capsys, monkeypatch):
    monkeypatch.chdir(kept)
    assert main(["pack", "."]) == 0
    assert capsys.readouterr().out.startswith(f"{kept.with_name('one.tar.zst')}: ")
    kept.with_name("one.tar.zst").unlink()
    monkeypatch.chdir(kept.parent)
    assert main(["pack", "one/"]) == 0
    assert capsys.readouterr().out.startswith("one.tar.zst: ")


def test_pack_overwrites_nothing_and_packs_only_artifacts(kept, tmp_path, capsys):
    target = tmp_path / "out.tar.zst"
    target.write_text("mine")
    assert main(["pack", str(kept), "-o", str(target)]) == 2
    assert "exists already" in capsys.readouterr().err
    assert target.read_text() == "mine"
    assert main(["pack", str(tmp_path)]) == 2
    assert "is no artifact" in capsys.readouterr().err
    assert main(["pack", str(target)]) == 2
    assert "is no directory" in capsys.readouterr().err
    assert main(["pack", str(kept), "-o", "/proc/x.tar.zst"]) == 3
    assert "cannot write /proc/x.tar.zst: " in capsys.readouterr().err


def test_a_packed_artifact_of_a_full_size_stays_below_the_bounds(tmp_path):
    """Four images of the device's size that can't be compressed, and everything else."""
    assert 6 * DEVICE_SIZE < MOST_BYTES
    path = keep(found(), pair(), tmp_path / "one", "why")
    assert 4 * len(list(path.iterdir())) < MOST_FILES
    pack(path, tmp_path / "one.tar.zst")
    with open_artifact(tmp_path / "one.tar.zst"):
        pass
