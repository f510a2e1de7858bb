"""Building: cached by content, incremental, alone, and nothing half done. make is a toy."""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from toy_kernel import Toy, script

from harness.errors import MACHINERY, USAGE
from harness.options import pin_kernels
from vm.errors import BuildError, CacheError, HostToolError, KernelError
from vm.kernel import resolve_kernel
from vm.kernels import config, store, tools
from vm.kernels.build import NEEDED, build
from vm.kernels.config import LEVELS, missing_options, read_fragment
from vm.kernels.make import errors_in
from vm.kernels.sources import tree_source
from vm.kernels.spec import Flavour, TreeSpec, parse_spec
from vm.kernels.store import Built

FRAGMENTS = sorted(Path(config.__file__).parent.glob("*.config"))


pytestmark = pytest.mark.usefixtures("own_cache", "toy_tools")


def build_text(text: str) -> Built:
    spec = parse_spec(text)
    assert not isinstance(spec, Path)
    return build(spec)  # type: ignore[arg-type]


def compiled(kernel: Built) -> list[str]:
    """The files that the build of `kernel` compiled."""
    lines = (kernel.path / "build.log").read_text().splitlines()
    return [line.split()[1] for line in lines if line.startswith("  CC ")]


ALL = ["fs/ext4/inode.o", "fs/ext4/super.o", "mm/filemap.o"]


# --- what comes out -----------------------------------------------------------------------


def test_a_build_keeps_what_a_run_and_a_debugger_need(toy: Toy) -> None:
    kernel = build_text(f"tree:{toy.path}")
    names = {file.name for file in kernel.path.iterdir()}
    assert names == {
        "bzImage", "vmlinux", "System.map", "config", "identity.json", "build.log",
    }  # fmt: skip
    identity = kernel.identity
    assert identity.release == f"7.3.4-{kernel.key[:8]}"
    assert identity.source == f"tree:{toy.path}"
    assert identity.base == toy.git("rev-parse", "HEAD")
    assert (identity.compiler, identity.flavour) == ("gcc (Toy) 12.2.0", "tiny")
    assert len(identity.config_sha256) == 64
    assert compiled(kernel) == ALL


def test_what_was_built_is_a_kernel_for_a_guest_with_its_identity(toy: Toy) -> None:
    found = resolve_kernel(f"tree:{toy.path}")
    assert found.release == found.origin.release
    assert (found.modules, found.source) == (None, f"tree:{toy.path}")
    again = resolve_kernel(f"built:{found.image.parent.name[:8]}")
    assert (again.image, again.sha256, again.origin) == (found.image, found.sha256, found.origin)
    by_path = resolve_kernel(str(found.image))
    assert by_path.origin == found.origin


def test_a_pinned_kernel_stays_when_its_source_changes(toy: Toy) -> None:
    """As workers need it, which start one after the other."""
    options = argparse.Namespace(kernel=f"tree:{toy.path}", against=f"tree:{toy.path}@HEAD")
    options.mirror, options.refresh = None, False
    pin_kernels(options)
    toy.edit("fs/ext4/inode.c", "line 7\n", "line seven\n")
    assert b"line 7\n" in resolve_kernel(options.kernel).image.read_bytes()
    assert options.kernel == options.against
    assert resolve_kernel(options.kernel).source == f"tree:{toy.path}@HEAD"  # its last name
    options.kernel, options.against = None, "path:iomap"
    pin_kernels(options)
    assert (options.kernel, options.against) == (None, "path:iomap")


def test_a_series_is_in_the_identity(toy: Toy, tmp_path: Path) -> None:
    base = toy.git("rev-parse", "HEAD")
    toy.edit("fs/ext4/inode.c", "line 5\n", "line five\n")
    toy.commit("ext4: five")
    mbox = toy.mbox(tmp_path / "s.mbox", "HEAD~1")
    kernel = build_text(f"series:{mbox} on tree:{toy.path}")
    assert kernel.identity.series == ("[PATCH] ext4: five",)
    assert kernel.identity.base == base
    assert b"line five" in kernel.image.read_bytes()


# --- the cache ----------------------------------------------------------------------------


def test_a_second_build_of_the_same_is_a_look_up(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = build_text(f"tree:{toy.path}")
    script(tmp_path / "bin/make", "#!/bin/sh\nexit 1\n")
    assert build_text(f"tree:{toy.path}") == first
    toy.git("tag", "v1")
    named = build_text(f"tree:{toy.path}@v1")
    assert named.path == first.path
    assert named.identity.source == f"tree:{toy.path}@v1"  # by the name it has today


def test_after_one_changed_file_only_that_is_compiled(toy: Toy) -> None:
    first = build_text(f"tree:{toy.path}")
    toy.edit("fs/ext4/inode.c", "line 7\n", "line seven\n")
    second = build_text(f"tree:{toy.path}")
    assert compiled(second) == ["fs/ext4/inode.o"]
    assert second.key != first.key
    assert b"line seven" in second.image.read_bytes()
    toy.git("checkout", "-q", ".")
    assert build_text(f"tree:{toy.path}").path == first.path


def test_a_series_and_its_next_version_compile_what_differs(toy: Toy, tmp_path: Path) -> None:
    """Also what only the first version had changed."""
    build_text(f"tree:{toy.path}")
    for number, name in ((1, "fs/ext4/inode.c"), (2, "mm/filemap.c")):
        toy.write(name, f"version {number}\n")
        toy.commit(f"v{number}")
        mbox = toy.mbox(tmp_path / f"{number}.mbox", "HEAD~1")
        kernel = build_text(f"series:{mbox} on tree:{toy.path}")
        assert b"version %d" % number in kernel.image.read_bytes()
    assert compiled(kernel) == ["fs/ext4/inode.o", "mm/filemap.o"]


def test_source_configuration_flavour_and_compiler_are_told_apart(toy: Toy, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("CONFIG_KPROBES=y\nCONFIG_DRIVER=m\n")
    where = f"tree:{toy.path}"
    texts = [where, f"{where} with debug", f"{where} with symbols", f"{where} with config=mine"]
    texts[-1] = f"{where} with config={tmp_path / 'mine'}"
    keys = [build_text(text).key for text in texts]
    script(tmp_path / "bin/gcc", "#!/bin/sh\necho 'gcc (Toy) 13.1'\n")
    keys.append(build_text(where).key)
    assert len(set(keys)) == 5


def test_a_users_configuration_is_merged_without_its_modules(toy: Toy, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_text("CONFIG_USER=y\nCONFIG_DRIVER=m\nCONFIG_MODULES=y\nCONFIG_EXT4_FS=m\n")
    kernel = build_text(f"tree:{toy.path} with config={mine}")
    text = (kernel.path / "config").read_text()
    assert "CONFIG_USER=y\n" in text and "CONFIG_EXT4_FS=y\n" in text
    assert "CONFIG_DRIVER" not in text and "# CONFIG_MODULES is not set\n" in text


@pytest.mark.parametrize("data", [None, b"", b"hello\n", b"\xff\xfe"])
def test_a_file_that_is_no_configuration_is_refused(
    toy: Toy, tmp_path: Path, data: bytes | None
) -> None:
    if data is not None:
        (tmp_path / "mine").write_bytes(data)
    with pytest.raises(KernelError, match=r"cannot read the configuration|is no kernel config"):
        build_text(f"tree:{toy.path} with config={tmp_path / 'mine'}")


# --- the fragments ------------------------------------------------------------------------


@pytest.mark.parametrize("path", FRAGMENTS, ids=lambda path: path.name)
def test_every_option_has_a_reason_and_is_set_once(path: Path) -> None:
    text = path.read_text()
    options = read_fragment(path)
    assert options
    assert len({option.name for option in options}) == len(options)
    for paragraph in text.split("\n\n"):
        if "CONFIG_" in paragraph:
            assert paragraph.startswith(tuple(f"# {level}: " for level in LEVELS)), paragraph
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert [str(option) for option in options] == lines


def test_an_option_that_was_dropped_is_named(toy: Toy, capsys: pytest.CaptureFixture[str]) -> None:
    """DROPPED: what the toy's kconfig leaves out, as kconfig does for a dependency."""
    toy.write("DROPPED", "CONFIG_KPROBES CONFIG_DM_DUST CONFIG_PROC_SYSCTL")
    build_text(f"tree:{toy.path}")
    said = capsys.readouterr().err
    assert "built without CONFIG_DM_DUST=y (not known), CONFIG_KPROBES=y\n" in said


def test_without_a_needed_option_nothing_is_built(toy: Toy) -> None:
    toy.write("DROPPED", "CONFIG_EXT4_FS CONFIG_VIRTIO_BLK")
    with pytest.raises(BuildError) as caught:
        build_text(f"tree:{toy.path}")
    message = str(caught.value)
    assert "it knows no CONFIG_VIRTIO_BLK" in message
    assert "CONFIG_EXT4_FS=y became n" in message
    assert not list(store.built())


def test_a_string_and_a_later_fragment_count(tmp_path: Path) -> None:
    file = tmp_path / ".config"
    options = [o for path in FRAGMENTS for o in read_fragment(path)]
    values = {o.name: o.value for o in options}
    values |= {o.name: o.value for o in read_fragment(FRAGMENTS[0].with_name("symbols.config"))}
    lines = (f"{name}={value}\n" for name, value in values.items() if value not in ("n", '""'))
    file.write_text("".join(lines))
    flavour = Flavour(debug=True, symbols=True)
    assert missing_options(file, flavour, lambda name: True) == []


# --- what goes wrong ----------------------------------------------------------------------


def test_the_compilers_errors_are_told_with_file_and_line(toy: Toy) -> None:
    toy.edit("fs/ext4/inode.c", "line 7\n", "ERROR\n")
    with pytest.raises(BuildError) as caught:
        build_text(f"tree:{toy.path}")
    lines = str(caught.value).splitlines()
    assert lines[0] == "the kernel does not build (make bzImage):"
    assert lines[1] == "  fs/ext4/inode.c:7:5: error: 'toy' undeclared (first use in this function)"
    assert lines[2].startswith("the complete log is ") and len(lines) == 3
    assert "Error 1" in Path(lines[2].removeprefix("the complete log is ")).read_text()
    assert caught.value.exit_status == USAGE
    assert not list(store.built())
    toy.git("checkout", "-q", ".")
    assert build_text(f"tree:{toy.path}").image.is_file()


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        (["  CC x.o", "/b/tree/fs/a.c:1:2: fatal error: no.h: No such file or directory",
          "compilation terminated.", "make[1]: *** [Makefile:1: x] Error 2"],
         ["fs/a.c:1:2: fatal error: no.h: No such file or directory"]),
        (["../tree/fs/a.c:9: error: x", "../tree/fs/a.c:9: error: x"], ["fs/a.c:9: error: x"]),
        (["ld: fs/a.o: in function `f':", "a.c:(.text+0x1): undefined reference to `g'"],
         ["ld: fs/a.o: in function `f':", "a.c:(.text+0x1): undefined reference to `g'"]),
        (["fs/Kconfig:3: syntax error"], ["fs/Kconfig:3: syntax error"]),
        (["  HOSTCC y", "sh: 1: bison: not found", "make[1]: *** [s] Error 127"],
         ["sh: 1: bison: not found"]),
        (["make: *** [Makefile:7: all] Error 2"], ["make: *** [Makefile:7: all] Error 2"]),
        ([f"a.c:{n}:1: error: e" for n in range(30)],
         [*(f"a.c:{n}:1: error: e" for n in range(12)), "... and 18 more"]),
    ],
)  # fmt: skip
def test_what_make_says_is_cut_to_the_errors(lines: list[str], found: list[str]) -> None:
    assert errors_in(lines, Path("/b/tree")) == found


def test_a_full_disk_is_told_before_and_while_building(
    toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy.edit("fs/ext4/inode.c", "line 7\n", "FULL\n")
    with pytest.raises(CacheError, match="no space left on the disk of") as caught:
        build_text(f"tree:{toy.path}")
    assert caught.value.exit_status == MACHINERY
    usage = type("Usage", (), {"free": 10**9})
    monkeypatch.setattr("vm.kernels.build.shutil.disk_usage", lambda path: usage)
    monkeypatch.setattr("vm.kernels.build.NEEDED", NEEDED)
    with pytest.raises(CacheError, match=r"takes 3 GB .* has 1.0 GB free; make room"):
        build_text(f"tree:{toy.path} with debug")


def test_missing_tools_are_named_with_one_apt_command(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tools, "PROGRAMS", {"make": "make", "no-such-flex": "flex"})
    monkeypatch.setattr(tools, "HEADERS", {"gelf.h": "libelf-dev"})
    script(tmp_path / "bin/gcc", '#!/bin/sh\n[ "$1" = --version ] && echo gcc\n')
    with pytest.raises(HostToolError, match=r"needs flex, libelf-dev; run: .* flex libelf-dev$"):
        build_text(f"tree:{toy.path}")
    (tmp_path / "bin/gcc").unlink()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}")
    (tmp_path / "bin/git").symlink_to("/usr/bin/git")
    with pytest.raises(HostToolError, match=r"apt-get install .* flex gcc libelf-dev$"):
        build_text(f"tree:{toy.path}")
    monkeypatch.setenv("CC", "clang-99 -Wall")
    with pytest.raises(HostToolError, match=r"clang-99 -Wall.* does not run; look at CC"):
        build_text(f"tree:{toy.path}")


def test_the_environment_of_another_make_changes_nothing(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kernel developers have such variables, and CI runs commands from a make."""
    real = (tmp_path / "bin/make").read_text()
    script(
        tmp_path / "bin/make", real.replace("import os", "import os; print(os.environ)\nimport os")
    )
    foreign = ("ARCH", "CROSS_COMPILE", "MAKEFLAGS", "KBUILD_OUTPUT", "LLVM", "KCFLAGS")
    for name in foreign:
        monkeypatch.setenv(name, "foreign")
    log = (build_text(f"tree:{toy.path}").path / "build.log").read_text()
    assert "'PATH'" in log and "foreign" not in log


def test_ccache_is_used_where_it_is_installed(toy: Toy, tmp_path: Path) -> None:
    script(tmp_path / "bin/ccache", "#!/bin/sh\n")
    kernel = build_text(f"tree:{toy.path}")
    assert "CC=ccache gcc" in (kernel.path / "build.log").read_text()
    assert kernel.identity.compiler == "gcc (Toy) 12.2.0"


# --- alone, and ended ---------------------------------------------------------------------


def _start_build(toy: Toy) -> subprocess.Popen[str]:
    code = (
        "from vm.kernels import build, tools; tools.PROGRAMS, tools.HEADERS = {}, {}\n"
        "build.NEEDED = dict.fromkeys(build.NEEDED, 0)\n"
        "import sys; from harness.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, "kernel", "build", f"tree:{toy.path}"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def _make_of(toy: Toy) -> int:
    """The process id of the toy's make, once it sleeps."""
    file = tree_source(TreeSpec(toy.path)).workshop.path / "out-tiny/sleeping"
    deadline = time.monotonic() + 600
    while not (file.is_file() and file.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return int(file.read_text())


def _is_gone(pid: int) -> bool:
    for _ in range(6000):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_build_that_is_ended_leaves_nothing(toy: Toy, number: signal.Signals) -> None:
    toy.edit("fs/ext4/inode.c", "line 7\n", "SLEEP\n")
    process = _start_build(toy)
    make = _make_of(toy)
    process.send_signal(number)
    _, said = process.communicate(timeout=600)
    assert _is_gone(make)
    assert not list(store.built())
    if number != signal.SIGKILL:
        assert process.returncode == 130
        assert said.endswith("ext4diff: interrupted\n")
    toy.git("checkout", "-q", ".")
    assert build_text(f"tree:{toy.path}").image.is_file()


def test_two_builds_of_one_source_wait_for_each_other(
    toy: Toy, capsys: pytest.CaptureFixture[str]
) -> None:
    shop = tree_source(TreeSpec(toy.path)).workshop
    done: list[Built] = []
    said = ""
    deadline = time.monotonic() + 600
    threads = [
        threading.Thread(target=lambda: done.append(build_text(f"tree:{toy.path}")))
        for _ in range(2)
    ]
    with shop.locked():
        for thread in threads:
            thread.start()
        while said.count("waiting for another build") < 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)
            said += capsys.readouterr().err
        assert not done
    for thread in threads:
        thread.join(600)
    assert len(done) == 2 and done[0] == done[1]
    assert f"waiting for another build from {shop.path.name}" in said
    assert (said + capsys.readouterr().err).count("compiling with") == 1


def test_a_release_names_the_build(toy: Toy) -> None:
    kernel = build_text(f"tree:{toy.path}")
    assert store.find(kernel.identity.release.partition("-")[2]) == kernel


def test_a_damaged_entry_is_told_and_removed(toy: Toy) -> None:
    kernel = build_text(f"tree:{toy.path}")
    (kernel.path / "identity.json").write_text("{")
    with pytest.raises(CacheError, match="is damaged"):
        build_text(f"tree:{toy.path}")
