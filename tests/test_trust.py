"""What comes from elsewhere can only be read: workloads, artifacts, stores, names of kernels.

docs/security.md names these tests.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import itertools
import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fakes import make_trace, make_workload

from harness.artifacts.archive import ArtifactError
from harness.artifacts.manifest import Manifest, SideNote
from harness.artifacts.pair import recorded_pair
from harness.campaign.store import Store
from harness.cli import main
from harness.errors import USAGE
from harness.trace import decode, encode
from vm.errors import KernelError
from vm.kernels.spec import SeriesSpec, TreeSpec, parse_spec
from vm.qemu import Machine
from workloads.images import IMAGES, Image
from workloads.workload import Workload

HERE = Path(__file__).parent.parent
PACKAGES = ("harness", "model", "reports", "vm", "workloads")
IMAGE = msgspec.to_builtins(IMAGES["4k"])

# --- workloads in artifacts, traces and recordings --------------------------------------


def _workload(**image: Any) -> dict[str, Any]:
    raw: dict[str, Any] = msgspec.to_builtins(make_workload("fsync a"))
    raw["config"]["image"] |= image
    return raw


@pytest.mark.parametrize(
    "options",
    [
        ["-z", "/home/someone/.profile"],  # an undo file, written anywhere
        ["-d", "/home/someone/.ssh"],  # a folder of the host, copied into the image
        ["-b", "4096", "-J", "device=/dev/sda1"],  # a disk, written to
        ["-b", "4096", "-E", "offset=1"],
        ["-b", "4096", "-l", "/etc/shadow"],
        ["-b", "4096 -d /home"],
        ["-b", "4096\n-d"],
        ["-O", "^resize_inode", "/dev/sda"],
        ["-b"],
    ],
    ids=" ".join,
)
def test_options_of_mke2fs_that_reach_files_of_the_host_are_refused(options: list[str]) -> None:
    for raw in (_workload(options=options), _workload(options=options, name="other")):
        with pytest.raises(msgspec.ValidationError, match="options of mke2fs that none may have"):
            msgspec.convert(raw, Workload)


def test_options_of_all_images_of_ours_are_taken() -> None:
    for image in IMAGES.values():
        assert msgspec.json.decode(msgspec.json.encode(image), type=Image) == image


@pytest.mark.parametrize(
    "name", ["../etc/passwd", "/etc/passwd", "..", ".", "", "a\n", "a b", "$x"]
)
@pytest.mark.parametrize("operation", ["fsync", "rename", "copy_range"])
def test_names_that_leave_the_file_system_or_a_word_of_a_script_are_refused(
    name: str, operation: str
) -> None:
    line = {"fsync": "fsync a", "rename": "rename b a", "copy_range": "copy_range b 0 1 a 0"}
    raw = msgspec.to_builtins(make_workload(line[operation]))
    field = "file" if operation == "fsync" else "to"
    raw["ops"][0][field] = name
    with pytest.raises(msgspec.ValidationError, match="regex"):
        msgspec.convert(raw, Workload)


@pytest.mark.parametrize("mount", ["delalloc;reboot", "a b", "$(reboot)", "x\n", "é"])
def test_mount_options_that_are_none_are_refused(mount: str) -> None:
    raw = _workload()
    raw["config"]["mount"] = mount
    with pytest.raises(msgspec.ValidationError, match="no list of mount options"):
        msgspec.convert(raw, Workload)


def test_a_trace_is_checked_as_a_workload_is() -> None:
    raw = json.loads(encode(make_trace()))
    raw["workload"]["config"]["image"]["options"] += ["-z", "/tmp/undo"]
    with pytest.raises(msgspec.ValidationError):
        decode(json.dumps(raw).encode())


# --- artifacts ----------------------------------------------------------------------------


@pytest.mark.parametrize("spec", ["tree:{}", "series:{}/x.mbox on tree:{}", "debian-source:7.3"])
def test_what_an_artifact_names_is_not_built(tmp_path: Path, spec: str) -> None:
    """A kernel's makefile runs on the host: whoever builds one has named it himself."""
    (tmp_path / "Makefile").write_text(f"$(shell touch {tmp_path}/built)\n")
    named = spec.replace("{}", str(tmp_path))
    identity = {"release": "7.3", "sha256": "0" * 64, "kernel": named}
    options = argparse.Namespace(
        kernel=None, against=None, accel="tcg", mirror=None, refresh=False, strict_model=False,
        always_boot=True, observe="steps",
    )  # fmt: skip
    for note in (SideNote(identity, named), SideNote(identity, None)):
        manifest = Manifest(
            harness="1", created="", workload="x", said="", signature="", against=named,
            strict=False, sides={"base": note, "kernel": SideNote(identity, str(tmp_path / "no"))},
        )  # fmt: skip
        with pytest.raises(ArtifactError):
            recorded_pair(manifest, options)
    assert not (tmp_path / "built").exists()


# --- stores -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "schema",
    [
        "CREATE VIEW v AS SELECT load_extension('/tmp/evil.so') AS night",
        "CREATE TRIGGER t AFTER INSERT ON nights BEGIN DELETE FROM rows; END",
        "CREATE VIRTUAL TABLE x USING fts5(y)",
    ],
    ids=["view", "trigger", "virtual table"],
)
def test_a_store_of_a_stranger_runs_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], schema: str
) -> None:
    """Views, triggers and virtual tables call what SQLite can do."""
    path = tmp_path / "results.sqlite"
    Store.open(path).close()
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute(schema)
        db.commit()
    assert main(["report", str(path), "-o", str(tmp_path / "page.html")]) == USAGE
    assert "has views, triggers or tables that ours has not" in capsys.readouterr().err


def test_a_store_is_read_without_being_written(tmp_path: Path) -> None:
    path = tmp_path / "results.sqlite"
    Store.open(path).close()
    with Store.read(path) as store, pytest.raises(Exception, match="readonly"):
        store._db.execute("CREATE TABLE x (y)")


# --- names of kernels, and programs -------------------------------------------------------


@pytest.mark.parametrize("text", ["series:-o/tmp@x on tree:/x", "series:--apply@x on tree:/x"])
def test_a_message_id_is_no_option_of_b4(text: str) -> None:
    with pytest.raises(KernelError, match="a message id looks like"):
        parse_spec(text)


@pytest.mark.parametrize(
    "name", ["/x;touch pwned", "/$(touch pwned)", "/`touch pwned`", "--upload-pack=touch pwned"]
)
def test_a_name_of_a_tree_is_one_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(folder)
    for text in (f"tree:{name}", f"tree:.@{name}", f"series:a@b on tree:{name}", name):
        assert main(["kernel", "probe", text]) != 0
    assert "Traceback" not in capsys.readouterr().err
    assert list(folder.iterdir()) == []
    assert isinstance(parse_spec(f"tree:{name}"), TreeSpec)
    assert not isinstance(parse_spec("tree:a"), SeriesSpec)


def _calls(tree: ast.AST) -> list[ast.Call]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call)]


def _sources() -> list[Path]:
    return [path for package in PACKAGES for path in sorted((HERE / package).rglob("*.py"))]


def test_no_program_is_started_by_a_shell_of_the_host() -> None:
    for path in _sources():
        for call in _calls(ast.parse(path.read_text("utf-8"))):
            name, words = ast.unparse(call.func), {keyword.arg for keyword in call.keywords}
            assert name not in ("os.system", "os.popen", "subprocess.getoutput"), path
            assert not (name.startswith("subprocess.") and "shell" in words), path


def test_nothing_that_is_read_is_run() -> None:
    """No pickle, no eval: data is decoded into types. Mutants and coverage compile the model's
    own source."""
    compiled = {"harness/mutants/planted.py", "harness/coverage/probe.py"}
    for path in _sources():
        if str(path.relative_to(HERE)) in compiled:
            continue
        tree = ast.parse(path.read_text("utf-8"))
        names = {ast.unparse(call.func) for call in _calls(tree)}
        assert not names & {"eval", "exec", "compile", "__import__"}, path
        imported = {
            name.name.partition(".")[0]
            for node in ast.walk(tree)
            if isinstance(node, ast.Import)
            for name in node.names
        }
        assert not imported & {"pickle", "marshal", "shelve", "dill", "cloudpickle"}, path


# --- guests -------------------------------------------------------------------------------


def test_a_guest_has_nothing_of_the_host_but_what_is_made_for_it() -> None:
    """A disk in memory, three sockets, at most a TAP device by its descriptor."""
    machine = Machine(Path("vmlinux"), Path("initramfs"), "/proc/1/fd/9", tap=7)
    fds = {"qmp": 3, "console": 4, "agent": 5, "log": 6}
    words = machine.arguments(fds)
    assert {"-nodefaults", "-no-user-config"} <= set(words)
    options = dict(itertools.pairwise(words))
    assert options["-netdev"] == "tap,id=net,fd=7,vhost=off"
    assert words.count("-netdev") == 1
    assert words.count("-drive") == 1
    assert options["-drive"].startswith("file=/proc/1/fd/9,format=raw,")
    sockets = [word for word in words if word.startswith("socket,")]
    assert all(",fd=" in word and "host=" not in word and "port=" not in word for word in sockets)
    shared = ("-virtfs", "-fsdev", "-usbdevice", "-net", "-vnc", "-spice", "-gdb", "-s")
    assert not set(words) & set(shared)


def test_a_command_of_a_guest_is_never_one_of_the_host() -> None:
    """The agent, which runs programs for `ext4diff shell`, is not imported by anything here."""
    for path in _sources():
        if path.is_relative_to(HERE / "vm" / "agent"):
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module is not None:
                assert not node.module.startswith("vm.agent"), path


def test_ext4diff_starts_without_a_home_to_write_to(tmp_path: Path) -> None:
    """An account of a service may have none."""
    done = subprocess.run(
        [sys.executable, "-m", "harness", "lint", "/dev/stdin"], input="sync\n", text=True,
        cwd=HERE, env={"HOME": "/nonexistent", "PATH": "/usr/bin:/bin"}, capture_output=True,
        check=False, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
