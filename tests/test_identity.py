"""A result can be led back to the exact kernel: build id, configuration, source, series."""

from __future__ import annotations

import gzip
import hashlib
import struct
from pathlib import Path

import msgspec
import pytest
from fakes import make_trace

from harness.trace import VERSION, Complaint, ComplaintKind, decode, encode
from vm.agent.identity import build_id, config_sha256
from vm.errors import KernelError
from vm.identity import config_file, facts_of, identify
from vm.kernel import Kernel
from vm.kernels.identity import KernelIdentity

RELEASE = "7.3.4-test"
HELLO = {"release": RELEASE, "build_id": "ab12", "config_sha256": ""}
CONFIG = b"CONFIG_EXT4_FS=y\n"
SHA = hashlib.sha256(CONFIG).hexdigest()


def kernel(tmp_path: Path, image: str = "vmlinuz", **fields: object) -> Kernel:
    path = tmp_path / image
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return Kernel(path, RELEASE, None, "a package", "0" * 64, **fields)  # type: ignore[arg-type]


def note(name: bytes, kind: int, content: bytes) -> bytes:
    def padded(data: bytes) -> bytes:
        return data + bytes(-len(data) % 4)

    return struct.pack("<III", len(name), len(content), kind) + padded(name) + padded(content)


def test_the_build_id_is_found_among_the_kernels_notes(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    notes.write_bytes(
        note(b"Xen\0", 3, b"not it!") + note(b"GNU\0", 1, b"x") + note(b"GNU\0", 3, b"\xab\x12")
    )
    assert build_id(str(notes)) == "ab12"
    notes.write_bytes(note(b"Linux\0", 257, b"\1\0\0\0") + b"\0" * 8)
    assert build_id(str(notes)) == ""
    assert build_id(str(tmp_path / "none")) == ""


def test_the_running_kernels_configuration_is_hashed_unpacked(tmp_path: Path) -> None:
    packed = tmp_path / "config.gz"
    packed.write_bytes(gzip.compress(CONFIG))
    assert config_sha256(str(packed)) == SHA
    assert config_sha256(str(tmp_path / "none")) == ""


@pytest.mark.parametrize(
    ("image", "config"),
    [
        ("boot/vmlinuz-7", f"boot/config-{RELEASE}"),
        ("usr/lib/modules/7/vmlinuz", "usr/lib/modules/7/config"),
        ("tree/arch/x86/boot/bzImage", "tree/.config"),
    ],
)
def test_the_configuration_is_found_where_packages_and_trees_keep_it(
    tmp_path: Path, image: str, config: str
) -> None:
    found = kernel(tmp_path, image)
    assert config_file(found) is None
    (tmp_path / config).write_bytes(CONFIG)
    assert identify(found, HELLO).config_sha256 == SHA


def test_what_the_running_kernel_says_comes_before_what_its_files_say(tmp_path: Path) -> None:
    origin = KernelIdentity(RELEASE, build_id="ab12", config_sha256="old", source="tree:x",
                            base="c0ffee", series=("one", "two"))  # fmt: skip
    found = identify(kernel(tmp_path, origin=origin), {**HELLO, "config_sha256": SHA})
    assert found == msgspec.structs.replace(origin, config_sha256=SHA)
    assert facts_of(found)["series"] == ("one", "two")
    assert "flavour" not in facts_of(found), "what is not known is left out"


def test_files_of_another_kernel_are_refused(tmp_path: Path) -> None:
    origin = KernelIdentity(RELEASE, build_id="cd34")
    with pytest.raises(KernelError, match=r"ab12.*cd34"):
        identify(kernel(tmp_path, origin=origin), HELLO)


def test_a_trace_carries_the_identity_and_the_complaints_through_its_file() -> None:
    said = Complaint(ComplaintKind.KASAN, "KASAN: x", ("a", "b"), "f", ("f+1",), step=2, count=3)
    trace = make_trace(kernel=RELEASE)
    assert trace.final is not None
    trace = msgspec.structs.replace(
        trace,
        identity={"build_id": "ab12", "series": ("one", "two")},
        final=msgspec.structs.replace(trace.final, log=(said,)),
    )
    assert decode(encode(trace)) == trace


def test_a_trace_of_the_first_version_is_still_read() -> None:
    raw = msgspec.json.decode(encode(make_trace(kernel=RELEASE)))
    raw["version"] = 1
    raw["final"]["log"] = ["JBD2: Spotted dirty metadata buffer (dev = vda, blocknr = 1)."]
    del raw["identity"]
    trace = decode(msgspec.json.encode(raw))
    assert trace.version == VERSION
    assert trace.identity == {}
    assert trace.final is not None
    assert [(said.kind, said.title) for said in trace.final.log or ()] == [
        (ComplaintKind.OTHER, "JBD2: Spotted dirty metadata buffer (dev = vda, blocknr = 1).")
    ]


def test_a_trace_of_a_later_version_is_refused_by_name() -> None:
    raw = msgspec.json.decode(encode(make_trace()))
    raw["version"] = VERSION + 1
    with pytest.raises(msgspec.ValidationError, match=f"version {VERSION + 1}"):
        decode(msgspec.json.encode(raw))
