"""What debugfs and dumpe2fs say of an image, and what our reader says, in the same words."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from image_maker import tool

from harness.image.survey import File, Survey
from model.image.content import inline_content, written
from model.image.features import feature_names
from model.image.filesystem import Filesystem
from model.image.usage import bit_ranges

TYPES = {
    0o10: "regular", 0o04: "directory", 0o12: "symlink", 0o02: "character special",
    0o06: "block special", 0o01: "FIFO", 0o14: "socket",
}  # fmt: skip


def ours(survey: Survey, number: int, file: File) -> dict[str, Any]:
    """An inode as our reader sees it."""
    inode = file.inode
    found: dict[str, Any] = {
        "type": TYPES[inode.mode >> 12], "mode": inode.mode & 0o7777, "flags": inode.flags,
        "size": inode.size, "uid": inode.uid, "gid": inode.gid, "links": inode.links,
        "acl": inode.xattr_block,
        "blockcount": inode.record.blocks_lo, "generation": inode.record.generation,
        "tree": sorted(file.mapping.tree), "extents": blocks_of(file),
        "xattrs": sorted((xattr.name.decode(), len(xattr.value)) for xattr in file.xattrs),
    }  # fmt: skip
    if file.directory is not None:
        names = [(entry.name.decode(), entry.inode) for entry in file.directory.entries]
        found["names"] = sorted([*names, (".", number), ("..", file.directory.parent)])
    if inode.is_regular and number in survey.files:
        found["content"] = read_whole(survey.fs, file)
    return found


def blocks_of(file: File) -> dict[int, tuple[int, bool]]:
    """Physical block and state of each block of a file."""
    return {
        extent.logical + at: (extent.physical + at, extent.written)
        for extent in file.mapping.extents
        for at in range(extent.length)
    }


def read_whole(fs: Filesystem, file: File) -> bytes:
    """All bytes of a file, holes as zeros."""
    if file.inode.is_inline:
        found = inline_content(fs.volume, file.inode, file.xattrs)
        return found.ljust(file.inode.size, b"\0")
    whole = bytearray(file.inode.size)
    for offset, data in written(fs.volume, file.mapping, "test"):
        whole[offset : offset + len(data)] = data
    return bytes(whole[: file.inode.size])


def debugfs_says(path: Path, survey: Survey, into: Path) -> dict[int, dict[str, Any]]:
    """The same of every inode, from one call of debugfs."""
    wanted = {**survey.files, **survey.system, **survey.values}
    commands = []
    for number, file in wanted.items():
        commands.append(f"stat <{number}>")
        if file.directory is not None:
            commands.append(f"ls -p <{number}>")
        elif file.inode.is_regular and number in survey.files:
            commands.append(f"dump <{number}> {into}/{number}")
    done = tool("debugfs", "-f", "-", str(path), stdin="\n".join(commands) + "\n")
    found: dict[int, dict[str, Any]] = {}
    parts = re.split(r"^debugfs: (stat|ls -p|dump) <(\d+)>.*\n", done.stdout, flags=re.M)[1:]
    for command, word, text in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
        number = int(word)
        if command == "stat":
            found[number] = parse_stat(text)
        elif command == "ls -p":
            lines = (line.split("/") for line in text.splitlines() if line)
            pairs = ((words[5], int(words[1])) for words in lines)
            found[number]["names"] = sorted(pair for pair in pairs if pair[1])
        else:
            content = (into / word).read_bytes()
            if wanted[number].inode.is_inline:  # debugfs dumps what there is room for
                size = found[number]["size"]
                content = content.ljust(size, b"\0")[:size]
            found[number]["content"] = content
    return found


def parse_stat(text: str) -> dict[str, Any]:
    """debugfs's stat."""

    def get(pattern: str, base: int = 10) -> int:
        match = re.search(pattern, text)
        assert match, (pattern, text)
        return int(match[1], base)

    found: dict[str, Any] = {
        "type": re.search(r"Type: (.*?)  ", text)[1].strip(),
        "mode": get(r"Mode: +0*(\d+)", 8) if "Mode:  0000" not in text else 0,
        "flags": get(r"Flags: 0x(\w+)", 16), "uid": get(r"User: +(\d+)"),
        "size": get(r"Size: (\d+)\nFile ACL"), "gid": get(r"Group: +(\d+)"),
        "links": get(r"Links: (\d+)"),
        "acl": get(r"File ACL: (\d+)"), "blockcount": get(r"Blockcount: (\d+)"),
        "generation": get(r"Generation: (\d+)"), "tree": [], "extents": {},
        "xattrs": sorted(
            (name, int(size)) for name, size in re.findall(r"^  (\S+) \((\d+)\)", text, re.M)
        ),
    }  # fmt: skip
    ranges = re.search(r"^(?:EXTENTS|BLOCKS):\n(.*?)(?:\nTOTAL|\n\n|\Z)", text, re.M | re.S)
    if ranges:
        parse_ranges(ranges[1], found)
    found["tree"].sort()
    return found


def parse_ranges(text: str, found: dict[str, Any]) -> None:
    for word, first, last in re.findall(r"\(([^)]*)\):(\d+)(?:-(\d+))?", text):
        if word.startswith(("ETB", "IND", "DIND", "TIND")):
            found["tree"] += range(int(first), int(last or first) + 1)
            continue
        start, _, _ = word.replace("[u]", "").partition("-")
        for at in range(int(last or first) - int(first) + 1):
            found["extents"][int(start) + at] = (int(first) + at, "[u]" not in word)


def dumpe2fs_says(path: Path) -> dict[str, Any]:
    """Counts, features and free ranges by dumpe2fs."""
    text = tool("dumpe2fs", str(path)).stdout

    def get(name: str) -> int:
        match = re.search(rf"^{name}:\s+(\d+)", text, re.M)
        return int(match[1]) if match else 0

    groups = []
    for part in re.split(r"^Group \d+: ", text, flags=re.M)[1:]:
        match = re.search(
            r"(\d+) free (?:blocks|clusters), (\d+) free inodes, (\d+) directories", part
        )
        groups.append(
            {
                "counts": tuple(int(word) for word in match.groups()),
                "inodes": ranges_of(part, "Free inodes"),
                "blocks": ranges_of(part, "Free blocks"),
            }
        )
    return {
        "blocks": get("Block count"), "free": get("Free blocks"), "inodes": get("Inode count"),
        "free_inodes": get("Free inodes"), "reserved": get("Reserved block count"),
        "block_size": get("Block size"), "inode_size": get("Inode size") or 128,
        "features": sorted(re.search(r"^Filesystem features: +(.*)", text, re.M)[1].split()),
        "groups": groups,
    }  # fmt: skip


def ranges_of(text: str, name: str) -> list[int]:
    found: list[int] = []
    match = re.search(rf"^  {name}: (.*)$", text, re.M)
    for word in match[1].split(", ") if match and match[1] else []:
        first, _, last = word.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def ours_of_groups(survey: Survey) -> dict[str, Any]:
    """The same by our reader."""
    volume, groups = survey.fs.volume, survey.fs.groups
    found = []
    for number in range(volume.groups_count):
        group = groups[number]
        total, inodes = volume.clusters_in(number), volume.sb.inodes_per_group
        marked = groups.block_bitmap(number)
        used = survey.usage.initial_bitmap(number)
        if marked is not None:
            used = int.from_bytes(marked, "little")
        marked = groups.inode_bitmap(number)
        inodes_used = 0 if marked is None else int.from_bytes(marked, "little")
        found.append(
            {
                "counts": (group.free_clusters, group.free_inodes, group.used_dirs),
                "inodes": numbers(~inodes_used & (1 << inodes) - 1, number * inodes + 1),
                "blocks": numbers(~used & (1 << total) - 1, volume.group_start(number)),
            }
        )
    sb = volume.sb
    return {
        "blocks": volume.blocks_count, "free": volume.free_blocks, "inodes": sb.inodes_count,
        "free_inodes": sb.free_inodes_count, "reserved": volume.reserved_blocks,
        "block_size": volume.block_size, "inode_size": volume.inode_size,
        "features": sorted(
            feature_names(sb.feature_compat, sb.feature_incompat, sb.feature_ro_compat)
        ),
        "groups": found,
    }  # fmt: skip


def numbers(bits: int, first: int) -> list[int]:
    return [first + at + n for at, count in bit_ranges(bits) for n in range(count)]
