"""What --kernel takes, and which modules a kernel brings along."""

from __future__ import annotations

import gzip
import lzma
import struct
from pathlib import Path

import pytest
from binaries import make_bzimage, make_elf, make_module, make_vmlinux

from harness.errors import USAGE
from vm import kernel as kernels
from vm.errors import KernelError
from vm.kernel import find_modules, read_release, resolve_kernel
from vm.modules import ModuleTree
from vm.packages import Unpacked
from vm.vmlinux import boot_image, extract

RELEASE = "7.3.4-test"


pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.mark.parametrize("data", [make_bzimage(RELEASE), make_vmlinux(RELEASE)])
def test_release_is_read_from_bzimage_and_vmlinux(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "image").write_bytes(data)
    found = resolve_kernel(str(tmp_path / "image"))
    assert found.release == RELEASE
    assert found.source == str(tmp_path / "image")
    assert found.modules is None
    assert found.identity == f"{RELEASE}-{found.sha256[:12]}"


@pytest.mark.parametrize(
    "data",
    [
        b"", b"MZ", b"#!/bin/sh\n", bytes(70000), make_elf(_text=b"a program"),
        make_bzimage(RELEASE)[:0x300], make_bzimage(RELEASE).replace(b"HdrS", b"none"),
    ],
)  # fmt: skip
def test_what_is_no_kernel_is_refused_in_one_line(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "thing"
    file.write_bytes(data)
    with pytest.raises(KernelError, match="is no kernel: neither") as caught:
        resolve_kernel(str(file))
    assert caught.value.exit_status == USAGE
    assert str(file) in str(caught.value) and "\n" not in str(caught.value)


def test_a_bzimage_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    """QEMU starts it, and the guest resets itself without a word."""
    image = bytearray(make_bzimage(RELEASE, payload=bytes(3000)))
    whole = len(image)
    struct.pack_into("<I", image, 0x1F4, (whole - 1024) // 16)  # syssize
    (tmp_path / "bzImage").write_bytes(image)
    assert resolve_kernel(str(tmp_path / "bzImage")).release == RELEASE
    (tmp_path / "bzImage").write_bytes(image[:-1000])
    with pytest.raises(KernelError, match="is cut short: it has 3028 of 40"):
        resolve_kernel(str(tmp_path / "bzImage"))


def test_a_vmlinux_that_qemu_can_not_start_is_refused(tmp_path: Path) -> None:
    (tmp_path / "vmlinux").write_bytes(make_vmlinux(pvh=False))
    with pytest.raises(KernelError, match=r"without CONFIG_PVH; give the bzImage"):
        resolve_kernel(str(tmp_path / "vmlinux"))


def test_a_missing_file_and_a_directory_are_refused(tmp_path: Path) -> None:
    with pytest.raises(KernelError, match="No such file"):
        resolve_kernel(str(tmp_path / "none"))
    with pytest.raises(KernelError, match="is a directory"):
        resolve_kernel(str(tmp_path))


@pytest.mark.parametrize(
    ("image", "modules"),
    [
        ("boot/vmlinuz", f"lib/modules/{RELEASE}"),
        (f"usr/lib/modules/{RELEASE}/vmlinuz", f"usr/lib/modules/{RELEASE}"),
        ("bzImage", f"lib/modules/{RELEASE}"),
        ("bzImage", "modules"),
        ("bzImage", f"modules/lib/modules/{RELEASE}"),
    ],
)
def test_modules_are_found_beside_the_image(tmp_path: Path, image: str, modules: str) -> None:
    (tmp_path / modules / "kernel").mkdir(parents=True)
    (tmp_path / image).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / image).write_bytes(make_bzimage(RELEASE))
    assert find_modules(tmp_path / image, RELEASE) == tmp_path / modules


def test_modules_of_another_release_are_not_taken(tmp_path: Path) -> None:
    (tmp_path / "lib/modules/6.1.0/kernel").mkdir(parents=True)
    (tmp_path / "bzImage").write_bytes(make_bzimage(RELEASE))
    assert find_modules(tmp_path / "bzImage", RELEASE) is None


@pytest.mark.parametrize("place", [f"usr/lib/modules/{RELEASE}/vmlinuz", f"boot/vmlinuz-{RELEASE}"])
def test_the_default_kernel_is_found_in_its_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    unpacked = Unpacked("kernels/k", "debian:suite linux-image 1", ("a=1",))
    (unpacked.path / place).parent.mkdir(parents=True)
    (unpacked.path / place).write_bytes(make_bzimage(RELEASE))
    (unpacked.path / f"usr/lib/modules/{RELEASE}/kernel").mkdir(parents=True)
    monkeypatch.setattr(kernels, "unpacked_kernel", lambda mirror, refresh: unpacked)
    found = resolve_kernel(None)
    assert found.image == unpacked.path / place
    assert found.modules == unpacked.path / f"usr/lib/modules/{RELEASE}"
    assert found.source == "debian:suite linux-image 1"


# --- modules ------------------------------------------------------------------------------


def _tree(root: Path, builtin: str | None = "", **modules: str) -> ModuleTree:
    """A module tree; each keyword is a module, its value the modules it depends on."""
    for name, depends in modules.items():
        file = root / "kernel" / name / f"{name}.ko.xz"
        file.parent.mkdir(parents=True)
        file.write_bytes(lzma.compress(make_module(name, depends)))
    root.mkdir(exist_ok=True)
    if builtin is not None:
        names = (f"kernel/x/{name}.ko\n" for name in builtin.split())
        (root / "modules.builtin").write_text("".join(names))
    return ModuleTree(root)


def test_dependencies_load_first_and_once(tmp_path: Path) -> None:
    tree = _tree(tmp_path / "m", virtio_net="net_failover", net_failover="failover", failover="")
    assert tree.load_order(["virtio_net", "failover"]) == ["failover", "net_failover", "virtio_net"]


def test_builtin_modules_need_no_file(tmp_path: Path) -> None:
    tree = _tree(tmp_path / "m", "ext4 crc16", quota_v2="crc16")
    assert tree.load_order(["ext4", "quota_v2"]) == ["quota_v2"]


def test_hyphens_in_file_names_are_underscores_in_module_names(tmp_path: Path) -> None:
    tree = _tree(tmp_path / "m", "virtio-pci", **{"quota-tree": "", "quota_v2": "quota-tree"})
    assert tree.load_order(["virtio_pci", "quota_v2"]) == ["quota_tree", "quota_v2"]


def test_a_circle_of_dependencies_ends(tmp_path: Path) -> None:
    assert sorted(_tree(tmp_path / "m", a="b", b="a").load_order(["a"])) == ["a", "b"]


def test_a_kernel_without_a_needed_driver_is_refused_by_its_name(tmp_path: Path) -> None:
    tree = _tree(tmp_path / "m", "ext4 virtio_pci virtio_console")
    with pytest.raises(KernelError, match="the kernel has no virtio_blk"):
        tree.groups()


def test_a_group_that_is_not_required_may_be_missing(tmp_path: Path) -> None:
    tree = _tree(tmp_path / "m", "ext4 virtio_pci virtio_console", virtio_blk="")
    assert tree.groups() == {"block": ["virtio_blk"]}


def test_a_kernel_that_does_not_list_its_builtins_is_trusted(tmp_path: Path) -> None:
    tree = _tree(tmp_path / "m", None, virtio_blk="")
    assert tree.groups()["block"] == ["virtio_blk"]


@pytest.mark.parametrize(
    ("suffix", "pack"), [("", bytes), (".gz", gzip.compress), (".xz", lzma.compress)]
)
def test_modules_are_unpacked_whatever_packed_them(tmp_path: Path, suffix: str, pack) -> None:  # type: ignore[no-untyped-def]
    plain = make_module("a")
    (tmp_path / f"a.ko{suffix}").write_bytes(pack(plain))
    assert ModuleTree(tmp_path).content("a") == plain


def test_zstd_modules_go_through_the_given_program(tmp_path: Path) -> None:
    plain = make_module("a")
    (tmp_path / "plain").write_bytes(plain)
    (tmp_path / "a.ko.zst").write_bytes(b"\x28\xb5\x2f\xfd....")
    program = tmp_path / "zstd"
    program.write_text(f'#!/bin/sh\n[ "$*" = "-dcq --format=zstd" ] && cat {tmp_path}/plain\n')
    program.chmod(0o755)
    assert ModuleTree(tmp_path, [str(program)]).content("a") == plain
    with pytest.raises(KernelError, match="apt-get install zstd"):
        ModuleTree(tmp_path, ["/nonexistent/zstd"]).content("a")


@pytest.mark.parametrize("data", [b"", b"no module", lzma.compress(b"x" * 999)[:60]])
def test_damaged_modules_are_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.ko.xz").write_bytes(data)
    with pytest.raises(KernelError, match=r"damaged|no kernel module"):
        ModuleTree(tmp_path).content("a")


# --- vmlinux ------------------------------------------------------------------------------


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress])
def test_the_vmlinux_in_a_bzimage_is_found(tmp_path: Path, pack) -> None:  # type: ignore[no-untyped-def]
    vmlinux = make_vmlinux(RELEASE)
    image = tmp_path / "bzImage"
    image.write_bytes(make_bzimage(RELEASE, pack(vmlinux)))
    found = boot_image(image, "0" * 64)
    assert found != image
    assert found.read_bytes() == vmlinux
    assert read_release(found) == RELEASE


@pytest.mark.parametrize(
    "data",
    [
        make_bzimage(RELEASE, b"neither packed nor ELF"),
        make_bzimage(RELEASE, gzip.compress(b"packed, but no ELF")),
        make_bzimage(RELEASE, gzip.compress(make_vmlinux(pvh=False))),
        make_bzimage(RELEASE, b"\x1f\x8bdamaged"),
        make_vmlinux(RELEASE),
    ],
)
def test_a_kernel_that_can_not_start_faster_starts_as_it_is(tmp_path: Path, data: bytes) -> None:
    image = tmp_path / "image"
    image.write_bytes(data)
    assert extract(data) is None
    assert boot_image(image, "1" * 64) == image


# --- a tree in which a kernel was built ---------------------------------------------------


def _built_tree(root: Path, config: str = "CONFIG_EXT4_FS=y\n", modules: str = "") -> Path:
    image = root / "arch/x86/boot/bzImage"
    image.parent.mkdir(parents=True)
    (root / "kernel").mkdir()  # every kernel tree has one; it holds no modules
    image.write_bytes(make_bzimage(RELEASE))
    (root / ".config").write_text(config)
    (root / "modules.order").write_text(modules)
    (root / "modules.builtin").write_text("kernel/fs/ext4/ext4.ko\n")
    return root


def test_a_built_tree_with_everything_built_in_needs_no_modules(tmp_path: Path) -> None:
    found = resolve_kernel(str(_built_tree(tmp_path / "linux")))
    assert found.image == tmp_path / "linux/arch/x86/boot/bzImage"
    assert (found.modules, found.source) == (None, str(tmp_path / "linux"))


@pytest.mark.parametrize("suffix", [".o", ".ko"])  # before and since modules.order named objects
def test_the_modules_of_a_built_tree_are_those_in_it(tmp_path: Path, suffix: str) -> None:
    order = f"drivers/block/virtio_blk{suffix}\n"
    tree = _built_tree(tmp_path / "linux", "CONFIG_EXT4_FS=m\n", order)
    with pytest.raises(KernelError, match=r"1 of the modules .* were not built; run: make -C"):
        resolve_kernel(str(tree))
    (tree / "drivers/block").mkdir(parents=True)
    (tree / "drivers/block/virtio_blk.ko").write_bytes(make_module("virtio_blk"))
    found = resolve_kernel(str(tree))
    assert found.modules == tree
    assert ModuleTree(tree).load_order(["virtio_blk", "ext4"]) == ["virtio_blk"]


def test_a_tree_that_is_not_built_or_has_no_ext4_is_refused_with_the_remedy(
    tmp_path: Path,
) -> None:
    with pytest.raises(KernelError, match=r"without arch/x86/boot/bzImage; build a kernel .*tree:"):
        resolve_kernel(str(tmp_path))
    tree = _built_tree(tmp_path / "linux", "# CONFIG_EXT4_FS is not set\n")
    with pytest.raises(KernelError, match="was built without CONFIG_EXT4_FS"):
        resolve_kernel(str(tree))
