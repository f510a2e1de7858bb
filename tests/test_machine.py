"""The side that is a guest: brought up once, replaced when dead, given up when hopeless."""

from __future__ import annotations

import dataclasses
import gzip
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
from fakes import RELEASE, make_trace, make_workload

from harness.errors import MachineryError, UsageError
from harness.pairs import make_pair
from harness.sides import machine, model_side
from harness.sides.machine import GuestSide
from harness.sides.model_side import ModelSide
from harness.sides.side import Choice, Side, on_path
from harness.sides.trace_side import TraceSide
from harness.trace import Complaint, ComplaintKind, Observe, encode
from vm.accel import Accelerator
from vm.errors import GuestHangError, ImageError, KernelPanicError
from vm.initramfs import BootFiles
from vm.kernel import Kernel
from vm.kernels.identity import KernelIdentity
from vm.live_guest import Identity


@dataclasses.dataclass
class FakeGuest:
    """What `GuestSide` needs of `vm.guest.Guest`."""

    knows_buffered_iomap: bool
    disk_path: Path
    answer: object = None
    dead: bool = False
    closed: int = 0
    judging: float = 0.0
    command: tuple[str, ...] = ("qemu-system-x86_64", "-m", "512", "-append", "a b")
    runs: list = dataclasses.field(default_factory=list)
    identity = Identity(
        RELEASE, "7.2.22", Accelerator("tcg", "as asked for"), "no permission",
        KernelIdentity(RELEASE),
    )  # fmt: skip

    @property
    def disk(self):
        return SimpleNamespace(path=str(self.disk_path))

    link = SimpleNamespace(netlog=None, console=SimpleNamespace(text="boot\r\nWARNING: x\n"))

    def run(self, workload, *, observe=Observe.STEPS):
        self.runs.append(workload)
        self.observe = observe
        if isinstance(self.answer, BaseException):
            raise self.answer
        if self.answer is not None:
            return self.answer
        return make_trace(workload, "kernel", RELEASE)

    def close(self):
        self.closed += 1


class Host:
    """Stands for everything below `GuestSide`; `guests` are those that it started."""

    judging = 0.0

    def __init__(self, path: Path) -> None:
        self.path = path
        self.guests: list[FakeGuest] = []
        self.started: list = []
        self.cpus: list[int] = []
        self.asked: list = []
        self.failures: list[BaseException] = []
        self.iomap = False

    def __call__(self, kernel, accel, files, *, always_boot, memory, program_time):
        self.limits = (memory, program_time)
        self.started.append((kernel, accel, files))
        return self

    def close(self) -> None:
        """Snapshots are not what is tested here."""

    def start(self, cpus=1):
        self.cpus.append(cpus)
        if self.failures:
            raise self.failures.pop(0)
        self.guests.append(FakeGuest(self.iomap, self.path / "disk"))
        return self.guests[-1]


@pytest.fixture
def host(monkeypatch, tmp_path) -> Host:
    host = Host(tmp_path)
    (tmp_path / "disk").write_bytes(b"image" * 1000)
    kernel = Kernel(tmp_path / "vmlinuz", RELEASE, None, "a package", "0" * 64)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(machine, "ensure_host_tools", lambda: None)

    def resolve_kernel(spec, mirror, refresh):
        host.asked.append(("kernel", spec, mirror, refresh))
        return kernel

    def boot_files(asked, *, mirror, refresh):
        host.asked.append(("files", asked.release, mirror, refresh))
        return BootFiles(tmp_path / "vmlinux", tmp_path / "initramfs.cpio")

    monkeypatch.setattr(machine, "resolve_kernel", resolve_kernel)
    monkeypatch.setattr(machine, "boot_files", boot_files)
    monkeypatch.setattr(machine, "qemu_version", lambda: "7.2.22")
    monkeypatch.setattr(machine, "Guests", host)
    return host


@pytest.fixture
def side(host) -> GuestSide:
    side = GuestSide(Choice())
    side.prepare()
    return side


def test_kernel_and_user_space_come_from_one_mirror_and_are_looked_for_once(host, workload):
    side = GuestSide(Choice("bzImage", "tcg", "http://mirror.example/debian", True))
    side.prepare()
    host.guests[-1].dead = True
    side.run(workload)  # boots another with the same files
    assert host.asked == [
        ("kernel", "bzImage", "http://mirror.example/debian", True),
        ("files", RELEASE, "http://mirror.example/debian", True),
    ]
    assert len(host.guests) == 2
    ((_kernel, accel, files),) = host.started
    assert (accel, files.initramfs.name) == ("tcg", "initramfs.cpio")


def test_one_guest_runs_many_workloads(host, side, workload):
    for _ in range(3):
        side.run(workload)
    assert len(host.guests) == 1
    assert len(host.guests[0].runs) == 3
    side.close()
    side.close()
    assert host.guests[0].closed == 1
    assert 0 < side.starting < 5


def test_threads_against_each_other_get_a_guest_with_two_cpus(host, side, workload):
    threads = make_workload("parallel; pwrite a 0 4k; and; truncate a 0; end")
    for one in (workload, threads, threads, workload):
        side.run(one)
    assert host.cpus == [1, 2, 1]
    assert [guest.closed for guest in host.guests] == [1, 1, 0]


@pytest.mark.parametrize(
    "error", [KernelPanicError("BUG"), GuestHangError("silent"), KeyboardInterrupt()]
)
def test_a_guest_that_died_or_was_interrupted_is_replaced(host, side, workload, error):
    host.guests[0].answer = error
    with pytest.raises(type(error)):
        side.run(workload)
    assert host.guests[0].closed == 0  # its image and log are still wanted
    side.run(workload)
    assert host.guests[0].closed == 1
    assert len(host.guests) == 2


def test_the_image_that_a_workload_leaves_is_checked(host, side, workload):
    (complaint,) = side.run(workload).final.image  # the fake guest's disk is no file system
    assert "holds no ext4 file system" in complaint


def test_a_kernel_that_complained_is_not_used_again(host, side, workload):
    """WARN_ONCE says it once a boot: the next workload would pass."""
    clean = make_trace(workload, "kernel", RELEASE)
    log = (Complaint(ComplaintKind.WARNING, "WARNING in ext4_map_blocks"),)
    final = msgspec.structs.replace(clean.final, log=log)
    host.guests[0].answer = msgspec.structs.replace(clean, final=final)
    seen = side.run(workload).final
    assert (seen.log, seen.content) == (final.log, final.content)
    assert host.guests[0].closed == 0  # its image and log are still wanted
    side.run(workload)
    assert len(host.guests) == 2


def test_a_kernel_that_says_what_it_will_say_again_is_used_again(host, side, workload):
    """A guest from the snapshot takes seconds of CPU time until QEMU has translated its kernel."""
    clean = make_trace(workload, "kernel", RELEASE)
    log = (Complaint(ComplaintKind.EXT4, "EXT4-fs: Delayed block allocation failed"),)
    final = msgspec.structs.replace(clean.final, log=log)
    host.guests[0].answer = msgspec.structs.replace(clean, final=final)
    for _ in range(2):
        assert side.run(workload).final.log == log
    assert len(host.guests) == 1


def test_an_impossible_image_does_not_cost_the_guest(host, side, workload):
    host.guests[0].answer = ImageError("too small")
    with pytest.raises(ImageError):
        side.run(workload)
    assert not host.guests[0].dead


def test_a_side_is_given_up_after_two_failed_starts_in_a_row(host, side, workload):
    host.guests[0].dead = True
    host.failures = [MachineryError("no boot"), MachineryError("no boot")]
    for usable in (True, False):
        with pytest.raises(MachineryError):
            side.run(workload)
        assert side.usable() is usable
    side.run(workload)
    assert side.usable()


def test_evidence_is_the_image_the_log_and_the_panics_report(host, side, workload, tmp_path):
    host.guests[0].answer = KernelPanicError("BUG", None, "RIP: 0010:ext4_x")
    with pytest.raises(KernelPanicError):
        side.run(workload)
    folder = tmp_path / "kept"
    folder.mkdir()
    side.save_evidence(folder)
    assert gzip.decompress((folder / "guest.img.gz").read_bytes()) == b"image" * 1000
    assert (folder / "guest.kernel.log").read_text() == "boot\nWARNING: x\n"
    assert (folder / "guest.panic.txt").read_text() == "RIP: 0010:ext4_x"
    assert not (folder / "guest.netconsole.log").exists()


def test_a_second_process_knows_the_facts_without_a_boot(host, side):
    other = GuestSide(Choice())
    other.prepare()
    assert len(host.guests) == 1
    assert other.header() == side.header()
    assert any("tcg (as asked for)" in line for line in side.header())
    assert "no permission" in side.header()
    assert side.identity()["release"] == RELEASE


def test_the_header_says_why_there_is_no_kvm_in_few_words_and_the_identity_in_all(host, side):
    """A reason cut after 'error:' said nothing."""
    why = "KVM does not work here: QEMU did not start: failed to set MSR 0x10a to 0x69"
    whole = f"{why} | ../../target/i386/kvm/kvm.c:3183: Assertion `ret == n' failed."
    side._facts = msgspec.structs.replace(side._facts, accel_reason=whole)
    assert f"QEMU 7.2.22, tcg ({why})" in side.header()
    assert side.identity()["accel_reason"] == whole
    side._facts = msgspec.structs.replace(side._facts, accel_reason="x" * 500)
    assert max(map(len, side.header())) < 150


def test_paths_are_what_the_kernel_knows(host, side):
    assert side.paths() == ("bh",)
    host.iomap = True
    fresh = GuestSide(Choice(accel="tcg"))
    fresh.prepare()
    assert fresh.paths() == ("bh", "iomap")


def test_a_forced_path_needs_a_kernel_that_has_it(host):
    with pytest.raises(UsageError, match="does not know the mount option buffered_iomap"):
        GuestSide(Choice(), "iomap").prepare()
    host.iomap = True
    side = GuestSide(Choice(accel="tcg"), "iomap")
    side.prepare()
    side.run(make_workload())
    assert host.guests[-1].runs[0].config.mount == "delalloc,buffered_iomap"
    assert side.paths() == ("bh",)  # the workload has nothing to choose


def test_paths_are_chosen_by_mount_options(workload):
    assert on_path(workload, None) is workload
    assert on_path(workload, "bh").config.path == "bh"
    assert on_path(workload, "iomap").config.path == "iomap"


# --- the model and kept traces --------------------------------------------------------


def test_the_model_stands_for_the_kernel_that_it_meets(monkeypatch, workload):
    class Spy:
        def __init__(self, behaviour, _geometry, _open_start):
            self.behaviour = behaviour

        def play(self, workload, _placement=None):
            asked.append((self.behaviour, workload))
            return make_trace(workload, final=None), None

    class Other(Side):
        name, forced_path = "iomap", "iomap"

        def knows_iomap(self):
            return False

    asked: list = []
    monkeypatch.setattr(model_side, "Model", Spy)
    side = ModelSide()
    side.meet(Other())
    quirk = "efault_beyond_eof_moves_size"
    side.run(workload, None, frozenset({quirk}))
    behaviour, run = asked[0]
    assert behaviour.iomap is False
    assert behaviour.quirks == {quirk}
    assert run.config.path == "iomap"


def test_a_kept_trace_is_a_side(tmp_path, workload):
    path = tmp_path / "actual.json"
    trace = make_trace(workload, "kernel", RELEASE)
    path.write_bytes(encode(trace))
    pair = make_pair("model", Choice(f"recording:{path}"))
    assert pair.actual.run(workload) == trace
    assert RELEASE in pair.header()[1]
    with pytest.raises(UsageError, match="is a trace of"):
        pair.actual.run(make_workload("fsync a"))


def test_a_file_that_is_no_trace_is_a_usage_error(tmp_path):
    path = tmp_path / "actual.json"
    path.write_text("{}")
    with pytest.raises(UsageError, match="is no trace"):
        TraceSide(path)


def test_the_guest_is_told_when_to_look(host, side, workload):
    side.run(workload)
    assert host.guests[-1].observe is Observe.STEPS
    side.observe = Observe.END
    side.run(workload)
    assert host.guests[-1].observe is Observe.END
