"""Bitmaps and counts against what is really in use."""

from __future__ import annotations

from collections.abc import Iterator

from harness.image.problem import Problem
from harness.image.survey import Survey
from model.image.groups import Group
from model.image.usage import bit_ranges

__all__ = ["check_groups"]

_SHOWN = 4


def check_groups(survey: Survey) -> Iterator[Problem]:
    """Double use, bitmaps, and the free counts of groups and superblock."""
    for block, first, second in survey.usage.overlaps():
        who = " and ".join(f"inode {by}" if by else "metadata" for by in (first, second))
        yield Problem(f"block {block}", f"used twice, by {who}")
    blocks, inodes = survey.usage.bitmaps(), _inode_bitmaps(survey)
    directories = _directories(survey)
    free_clusters = free_inodes = 0
    for number in range(survey.fs.volume.groups_count):
        group = survey.fs.groups[number]
        clusters, problems = _check_blocks(survey, group, blocks.get(number, 0))
        yield from problems
        free, problems = _check_inodes(survey, group, inodes.get(number, 0))
        yield from problems
        free_clusters, free_inodes = free_clusters + clusters, free_inodes + free
        if group.used_dirs != directories.get(number, 0):
            reason = f"counts {group.used_dirs} directories, {directories.get(number, 0)} are there"
            yield Problem(f"group {number}", reason)
    yield from _check_totals(survey, free_clusters, free_inodes)


def _check_totals(survey: Survey, free_clusters: int, free_inodes: int) -> Iterator[Problem]:
    volume = survey.fs.volume
    blocks = free_clusters * volume.ratio
    if volume.free_blocks != blocks:
        yield Problem(
            "superblock", f"counts {volume.free_blocks} free blocks, the bitmaps {blocks}"
        )
    if volume.sb.free_inodes_count != free_inodes:
        yield Problem(
            "superblock",
            f"counts {volume.sb.free_inodes_count} free inodes, the bitmaps {free_inodes}",
        )


def _ranges(bits: int, start: int, step: int) -> str:
    """Runs of bits as numbers of blocks or inodes; the first few of them."""
    runs = bit_ranges(bits)
    words = [
        f"{start + first * step}-{start + (first + count) * step - 1}"
        if count * step > 1
        else f"{start + first * step}"
        for first, count in runs[:_SHOWN]
    ]
    more = f" and {len(runs) - _SHOWN} more ranges" if len(runs) > _SHOWN else ""
    return ", ".join(words) + more


def _compare(
    where: str, what: str, marked: int, used: int, place: tuple[int, int]
) -> Iterator[Problem]:
    """`place` is the number of the first bit's block or inode, and of how many a bit counts."""
    if used & ~marked:
        yield Problem(
            where, f"{what} in use but free in the bitmap: {_ranges(used & ~marked, *place)}"
        )
    if marked & ~used:
        yield Problem(
            where, f"{what} marked in the bitmap but not in use: {_ranges(marked & ~used, *place)}"
        )


def _check_blocks(survey: Survey, group: Group, used: int) -> tuple[int, list[Problem]]:
    """Free clusters by the bitmap, and what is wrong with it."""
    volume = survey.fs.volume
    where = f"group {group.number}"
    total = volume.clusters_in(group.number)
    bitmap = survey.fs.groups.block_bitmap(group.number)
    problems: list[Problem] = []
    if bitmap is None:
        marked = survey.usage.initial_bitmap(group.number)
    else:
        whole = int.from_bytes(bitmap, "little")
        marked = whole & ((1 << total) - 1)
        if whole >> total != (1 << (8 * len(bitmap) - total)) - 1:
            problems.append(Problem(where, "the padding of the block bitmap is not set"))
    place = (volume.group_start(group.number), volume.ratio)
    problems += _compare(where, "blocks", marked, used, place)
    free = total - marked.bit_count()
    if group.free_clusters != free:
        name = "blocks" if volume.ratio == 1 else "clusters"
        reason = f"counts {group.free_clusters} free {name}, its bitmap {free}"
        problems.append(Problem(where, reason))
    return free, problems


def _inode_bitmaps(survey: Survey) -> dict[int, int]:
    """What each group's inode bitmap should say."""
    volume = survey.fs.volume
    used = set(range(1, volume.first_inode)) | survey.system.keys() | survey.files.keys()
    used |= survey.values.keys() | survey.orphans.keys()
    found: dict[int, int] = {}
    for number in used:
        group, bit = divmod(number - 1, volume.sb.inodes_per_group)
        found[group] = found.get(group, 0) | 1 << bit
    return found


def _check_inodes(survey: Survey, group: Group, used: int) -> tuple[int, list[Problem]]:
    """Free inodes by the bitmap, and what is wrong with it."""
    volume = survey.fs.volume
    where = f"group {group.number}"
    total = volume.sb.inodes_per_group
    bitmap = survey.fs.groups.inode_bitmap(group.number)
    problems: list[Problem] = []
    marked = 0
    if bitmap is not None:
        whole = int.from_bytes(bitmap, "little")
        marked = whole & ((1 << total) - 1)
        if whole >> total != (1 << (8 * len(bitmap) - total)) - 1:
            problems.append(Problem(where, "the padding of the inode bitmap is not set"))
    place = (group.number * total + 1, 1)
    problems += _compare(where, "inodes", marked, used, place)
    free = total - marked.bit_count()
    if group.free_inodes != free:
        reason = f"counts {group.free_inodes} free inodes, its bitmap {free}"
        problems.append(Problem(where, reason))
    if volume.group_checksums and marked.bit_length() > total - group.unused_inodes:
        problems.append(Problem(where, f"{group.unused_inodes} inodes at the end count as unused"))
    return free, problems


def _directories(survey: Survey) -> dict[int, int]:
    """Directories by group, those that wait for deletion too."""
    found: dict[int, int] = {}
    orphans = [file for file in survey.orphans.values() if file is not None]
    for file in [*survey.files.values(), *orphans]:
        if file.inode.is_directory:
            group = (file.inode.number - 1) // survey.fs.volume.sb.inodes_per_group
            found[group] = found.get(group, 0) + 1
    return found
