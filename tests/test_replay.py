"""ext4diff replay: which mismatch shows, on which kernel, and what can be done if none does."""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
from fakes import LINE, RELEASE, FakeSubject, make_trace, make_workload, seen

from harness import pairs
from harness.artifacts import pair as recorded_pair
from harness.artifacts.archive import ArtifactError
from harness.artifacts.manifest import Manifest, SideNote
from harness.artifacts.pair import kernel_of
from harness.cli import main
from harness.comparison.compare import compare
from harness.replay import Sameness, compare_verdicts, mismatch_text, parting
from harness.trace import Complaint, ComplaintKind, Step
from harness.verdict import Verdict
from vm.errors import DownloadError, GuestHangError, KernelError
from workloads.workload import Workload

SHA = "ab" * 32
PACKAGE = "debian:trixie linux-image-7.3.4+deb13-cloud-amd64 7.3.4-1"
IDENTITY = {"release": RELEASE, "kernel": PACKAGE, "sha256": SHA, "accel": "tcg"}
WRONG = Step(0, (), seen(size=8192))
LATER = Step(0, (), seen(reserved=9))


class Guest(FakeSubject):
    facts = IDENTITY

    def identity(self):
        return self.facts


def kernel(steps: dict[int, Step] | None):
    return lambda workload: make_trace(workload, "guest", RELEASE, steps)


class Bench:
    """A kernel whose answers and identity a test chooses, and an artifact of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.choices: list[pairs.Choice] = []
        self.guest = Guest("guest", [kernel({1: WRONG})])
        monkeypatch.setitem(pairs.MAKERS, "kernel", self._kernel)
        monkeypatch.setitem(pairs.MAKERS, "model", lambda spec, choice: self.model())
        monkeypatch.setattr(recorded_pair, "kernel_of", lambda note, *rest: note.spec)
        assert main(["run", LINE, "--results", str(folder / "first"), "--strict"]) == 1
        (self.artifact,) = (folder / "first").iterdir()

    def model(self) -> FakeSubject:
        return FakeSubject("model", [make_trace])

    def _kernel(self, spec: str | None, choice: pairs.Choice) -> FakeSubject:
        self.choices.append(choice)
        return self.guest

    def now(self, *answers, **facts: str) -> None:
        self.guest = Guest("guest", answers)
        self.guest.facts = {**IDENTITY, **facts}

    def replay(self, *words: str) -> int:
        return main(["replay", str(self.artifact), *words])


@pytest.fixture
def bench(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    made = Bench(monkeypatch, tmp_path)
    capsys.readouterr()
    return made


def kept(tmp_path: Path) -> list[Path]:
    return sorted(tmp_path.glob("ext4diff-results/*/*"))


# --- what shows -------------------------------------------------------------------------


def test_the_same_mismatch_is_status_1_and_not_kept_again(bench, capsys, tmp_path):
    assert bench.replay() == 1
    out = capsys.readouterr().out
    assert out.endswith("\nthe same mismatch: step 2 of 3, size of a: 4096 expected, 8192 seen\n")
    assert f"replaying {bench.artifact}, recorded 2" in out
    assert not kept(tmp_path)
    assert bench.guest.closed


def test_an_archive_replays_as_the_directory_does(bench, capsys, tmp_path):
    assert main(["pack", str(bench.artifact)]) == 0
    packed = bench.artifact.with_name(bench.artifact.name + ".tar.zst")
    assert main(["replay", str(packed)]) == 1
    assert "\nthe same mismatch: step 2" in capsys.readouterr().out


def test_other_values_and_other_mismatches_are_told_apart_and_kept(bench, capsys, tmp_path):
    bench.now(kernel({1: Step(0, (), seen(size=12288))}))
    assert bench.replay() == 1
    out = capsys.readouterr().out
    assert "\nthe same field in the same step, but with other values\n" in out
    assert "  recorded: step 2 of 3, size of a: 4096 expected, 8192 seen\n" in out
    assert "  now:      step 2 of 3, size of a: 4096 expected, 12288 seen\n" in out
    assert len(kept(tmp_path)) == 1
    bench.now(kernel({2: LATER}))
    assert bench.replay("--results", "more") == 1
    out = capsys.readouterr().out
    assert "\nanother mismatch\n" in out
    assert "Kept in: " in out


def test_a_mismatch_that_is_gone_is_status_0_with_what_can_be_done(bench, capsys):
    bench.now(kernel(None))
    assert bench.replay() == 0
    out = capsys.readouterr().out
    assert "\nthe mismatch does not show any more\n  recorded: step 2 of 3" in out
    assert "try --runs 20" in out


def test_what_is_a_known_issue_now_is_said(bench, capsys):
    artifact = json.loads((bench.artifact / "manifest.json").read_text())
    (bench.artifact / "manifest.json").write_text(json.dumps({**artifact, "strict": False}))
    followed = Step(0, (), seen(size=8192), quirks=("efault_beyond_eof_moves_size",))

    class Following(FakeSubject):
        def run(self, workload, placement=None, quirks=frozenset()):
            return make_trace(workload, steps={1: followed} if quirks else None)

    bench.model = lambda: Following("model", [])
    assert bench.replay() == 0
    assert "the known issue efault-beyond-eof-moves-size" in capsys.readouterr().out
    assert bench.replay("--strict-model") == 1
    assert "\nthe same mismatch: " in capsys.readouterr().out


def test_another_kernel_is_said_beside_the_result(bench, capsys):
    bench.now(kernel({1: WRONG}), release="7.4.0", sha256="cd" * 32)
    assert bench.replay("--kernel", "bzImage") == 1
    out = capsys.readouterr().out
    assert f"recorded on kernel {RELEASE} ({PACKAGE}); this is 7.4.0" in out
    assert "\non another kernel: the same mismatch: step 2" in out
    assert bench.choices[-1].kernel == "bzImage"
    bench.now(kernel(None), release="7.4.0", sha256="cd" * 32)
    assert bench.replay() == 0
    out = capsys.readouterr().out
    assert "\non another kernel: the mismatch does not show any more\n" in out
    assert "may have it fixed" in out


def test_several_runs_are_counted(bench, capsys):
    bench.now(kernel({1: WRONG}), kernel(None), kernel({2: LATER}), kernel({1: WRONG}))
    assert bench.replay("--runs", "4") == 1
    out = capsys.readouterr().out
    assert out.endswith(
        "the same mismatch in 2 of 4 runs (1 x the mismatch does not show any more,"
        " 1 x another mismatch)\n"
    )
    assert bench.replay("--runs", "0") == 2


def test_broken_machinery_is_status_3(bench, capsys):
    bench.now(GuestHangError("no answer"))
    assert bench.replay("--runs", "5") == 3
    out = capsys.readouterr().out
    assert "no answer" in out
    assert out.count("run ") == 1  # it would not get better
    assert "\nnothing could be compared\n" in out


def test_an_interrupt_is_status_130_and_leaves_nothing(bench, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert main(["pack", str(bench.artifact)]) == 0
    bench.now(KeyboardInterrupt())
    packed = bench.artifact.with_name(bench.artifact.name + ".tar.zst")
    assert main(["replay", str(packed)]) == 130
    assert bench.guest.closed
    assert not list(tmp_path.glob("ext4diff-*-*"))
    assert not list(tmp_path.glob("ext4diff-results/*"))


def test_accelerator_and_strictness_are_the_recorded_ones_unless_chosen(bench):
    bench.replay()
    assert bench.choices[-1].accel == "tcg"
    bench.replay("--accel", "auto")
    assert bench.choices[-1].accel == "auto"


@pytest.mark.parametrize("words", [["nothing"], ["/dev/null"], ["."]])
def test_what_is_no_artifact_is_status_2_in_one_line(words, capsys):
    assert main(["replay", *words]) == 2
    assert capsys.readouterr().err.count("\n") == 1


# --- the same mismatch --------------------------------------------------------------------


def verdict(steps: dict[int, Step], workload: Workload | None = None) -> Verdict:
    workload = workload or make_workload()
    return compare(make_trace(workload), make_trace(workload, "guest", RELEASE, steps))


def test_the_same_cause_in_another_place_is_not_the_same_mismatch():
    assert compare_verdicts(verdict({0: LATER}), verdict({0: LATER})) is Sameness.SAME
    one, other = verdict({1: Step(0, (), seen(size=1))}), verdict({2: Step(0, (), seen(size=1))})
    assert compare_verdicts(one, one) is Sameness.SAME
    assert compare_verdicts(one, other) in (Sameness.OTHER, Sameness.CAUSE)
    assert compare_verdicts(one, verdict({})) is Sameness.GONE
    assert mismatch_text(one.mismatches[0], 3) == "step 2 of 3, size of a: 4096 expected, 1 seen"


def test_other_values_anywhere_in_the_step_are_not_the_same_mismatch():
    one = verdict({1: Step(0, (), seen(size=8192, reserved=5))})
    assert compare_verdicts(one, verdict({1: Step(0, (), seen(size=8192, reserved=6))})) is (
        Sameness.VALUES
    )
    assert compare_verdicts(one, verdict({1: Step(0, (), seen(size=8192))})) is Sameness.VALUES
    then, now = parting(one, verdict({1: Step(0, (), seen(size=8192))}))
    assert then is not None and then.field == "reserved"
    assert mismatch_text(now, 3) == "nothing else"


def test_complaints_are_the_same_by_their_title():
    """Their lines have numbers of processes and times."""

    def complaining(line: str) -> Verdict:
        workload = make_workload()
        said = Complaint(ComplaintKind.WARNING, "WARNING in ext4_x", (line,))
        trace = make_trace(workload, "guest", RELEASE)
        assert trace.final is not None
        final = msgspec.structs.replace(trace.final, log=(said,))
        return compare(make_trace(workload), msgspec.structs.replace(trace, final=final))

    assert compare_verdicts(complaining("pid 1"), complaining("pid 2")) is Sameness.SAME


# --- the kernel ---------------------------------------------------------------------------


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """What kernels this machine has: `known` maps a specification to the image's SHA-256."""
    known: dict[str | None, str] = {}

    def resolve(spec, mirror=None, refresh=False):
        if spec in known:
            return SimpleNamespace(sha256=known[spec])
        raise DownloadError("no network") if spec is None else KernelError("unknown")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(recorded_pair, "resolve_kernel", resolve)
    return known


def note(spec: str | None, **facts: str) -> SideNote:
    return SideNote({**IDENTITY, **facts}, spec)


def test_the_default_kernel_stays_the_default_while_it_is_the_same(machine):
    machine[None] = SHA
    assert kernel_of(note(None)) is None
    machine["debian:sid"] = SHA
    assert kernel_of(note("debian:sid")) == "debian:sid"


def test_a_package_that_is_not_the_newest_any_more_is_found_by_its_version(machine):
    machine[None] = "cd" * 32
    machine["debian:7.3.4-1"] = SHA
    assert kernel_of(note(None)) == "debian:7.3.4-1"


def test_a_package_that_is_gone_is_replaced_by_the_newest(machine):
    machine[None] = "cd" * 32
    assert kernel_of(note(None)) is None


def test_an_image_is_found_by_its_content_in_the_cache(machine, tmp_path):
    image = tmp_path / "cache/ext4diff/kernels/key/usr/lib/modules/7.3.4/vmlinuz"
    image.parent.mkdir(parents=True)
    image.write_bytes(b"kernel")
    sha = hashlib.sha256(b"kernel").hexdigest()
    machine[None] = "cd" * 32
    assert kernel_of(note(None, sha256=sha)) == str(image)
    assert kernel_of(note("~/old/bzImage", sha256=sha)) == str(image)


def test_a_file_that_is_still_where_it_was_is_taken_only_if_it_is_the_same(machine, tmp_path):
    image = tmp_path / "bzImage"
    image.write_bytes(b"kernel")
    sha = hashlib.sha256(b"kernel").hexdigest()
    assert kernel_of(note(str(image), sha256=sha)) == str(image)
    image.write_bytes(b"another")
    with pytest.raises(ArtifactError, match="which is not on this machine: copy "):
        kernel_of(note(str(image), sha256=sha))


def test_a_kernel_that_was_built_elsewhere_says_from_what(machine):
    built = note("tree:~/linux@v7.3", source="tree:~/linux@v7.3", base="0123456789abcdef")
    with pytest.raises(ArtifactError) as raised:
        kernel_of(built)
    said = str(raised.value)
    assert "built from tree:~/linux@v7.3, base 0123456789ab" in said
    assert "give it by --kernel" in said


def test_an_artifact_without_a_kernel_asks_for_one():
    options = argparse.Namespace(
        kernel=None, against=None, accel=None, strict_model=False, mirror=None, refresh=False,
        always_boot=False,
    )  # fmt: skip
    manifest = Manifest(
        harness="1", created="", workload="", said="", signature="", against="model",
        strict=False, sides={},
    )  # fmt: skip
    with pytest.raises(ArtifactError, match="choose one by --kernel"):
        recorded_pair.recorded_pair(manifest, options)
