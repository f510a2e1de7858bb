"""Damaged ext4 images: the reader answers with an error or the truth, soon, and in little memory.

On demand, from the top of the checkout (tests/test_image_fuzz.py runs a short one):

    python tests/fuzz_images.py [--count 100000] [--seed 0] [--fsck 0]

`--fsck N` shows each Nth damaged image to e2fsck as well, and lists what it finds in
images that we call clean. Exit status 1 if an image gave a traceback, took more than
`SECONDS` or was silently misread.
"""

from __future__ import annotations

import argparse
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

import msgspec

TOP = Path(__file__).parent
sys.path[:0] = [str(TOP), str(TOP.parent)]

from image_maker import Recipe, make, recipe, tool  # noqa: E402

from harness.image.canonical import canonical_of  # noqa: E402
from harness.image.check import problems  # noqa: E402
from harness.image.difference import differences  # noqa: E402
from harness.image.form import Canonical  # noqa: E402
from harness.image.survey import Survey  # noqa: E402
from model.image import Filesystem, ImageError, MemorySource  # noqa: E402

SECONDS = 10
MEMORY = 2 << 30
BASES = (0, 1, 2, 3, 4, 6, 7, 9, 11, 13, 17, 22)
NUMBERS = (0, 1, 2, 7, 8, 11, 12, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)


class Patched:
    """An image in memory with a few bytes replaced, and perhaps cut."""

    def __init__(self, data: bytes, size: int, patches: list[tuple[int, bytes]]) -> None:
        self.name, self.size, self._data, self.patches = "damaged", size, data, patches

    def read(self, offset: int, length: int) -> bytes:
        end = min(offset + length, self.size)
        found = self._data[offset:end]
        for at, patch in self.patches:
            if at < end and at + len(patch) > offset:
                found = bytearray(found)
                first, last = max(at, offset), min(at + len(patch), end)
                found[first - offset : last - offset] = patch[first - at : last - at]
        return bytes(found)

    def whole(self) -> bytes:
        return self.read(0, self.size)

    def close(self) -> None:
        pass


class Base(msgspec.Struct):
    """A sound image: its bytes, where its metadata lies, its canonical form."""

    made: Recipe
    data: bytes
    metadata: list[tuple[int, int]]
    """Byte ranges (offset, length)."""
    canonical: Canonical
    block_size: int
    verified: bool


class Outcome(msgspec.Struct):
    """What the reader made of a damaged image."""

    kind: str
    text: str = ""
    seconds: float = 0.0


def base(folder: Path, seed: int) -> Base:
    """A sound image."""
    made = recipe(seed)
    path = folder / "base"
    assert make(path, made)
    data = path.read_bytes()
    fs = Filesystem(MemorySource(data))
    survey = Survey(fs)
    assert not problems(survey)
    return Base(
        made, data, metadata(survey), canonical_of(survey), fs.volume.block_size, fs.volume.verify
    )


def metadata(survey: Survey) -> list[tuple[int, int]]:
    """Byte ranges of all that carries a checksum where the feature metadata_csum is on."""
    fs, volume = survey.fs, survey.fs.volume
    size = volume.block_size
    blocks: list[int] = []
    found = [(1024, 1024)]
    files = {**survey.files, **survey.system, **survey.values}
    for group in range(volume.groups_count):
        descriptor = fs.groups[group]
        bitmaps = (
            (descriptor.block_bitmap, volume.sb.clusters_per_group // 8),
            (descriptor.inode_bitmap, volume.sb.inodes_per_group // 8),
        )
        if not descriptor.flags & 2:
            found.append((bitmaps[0][0] * size, bitmaps[0][1]))
        if not descriptor.flags & 1:
            found.append((bitmaps[1][0] * size, bitmaps[1][1]))
    table = (volume.superblock_block + 1) * size
    found.append((table, min(volume.groups_count * volume.descriptor_size, size)))
    for number, file in files.items():
        if number == 1:
            continue
        group, index = divmod(number - 1, volume.sb.inodes_per_group)
        at = fs.groups[group].inode_table * size + index * volume.inode_size
        found += [(at, volume.inode_size)] * 3
        if number != 7:
            blocks += file.mapping.tree if file.inode.flags & 0x80000 else ()
        if file.directory is not None:
            for extent in file.mapping.extents:
                blocks += range(extent.physical, extent.physical + extent.length)
        if file.inode.xattr_block:
            blocks.append(file.inode.xattr_block)
    for number in {volume.sb.journal_inum, volume.sb.orphan_file_inum} & survey.system.keys():
        blocks.append(survey.system[number].mapping.extents[0].physical)
    return found + [(block * size, size) for block in blocks]


def damage(chance: random.Random, sound: Base) -> tuple[Patched, bool]:
    """A damaged image, and whether the damage is one flipped bit under a checksum."""
    if chance.random() < 0.3:
        at, length = chance.choice(sound.metadata)
        at += chance.randrange(length)
        flipped = bytes([sound.data[at] ^ 1 << chance.randrange(8)])
        return Patched(sound.data, len(sound.data), [(at, flipped)]), True
    patches: list[tuple[int, bytes]] = []
    for _ in range(chance.choice((1, 1, 2, 4))):
        at, length = chance.choice(sound.metadata)
        patches.append(one_patch(chance, sound, at, length))
    size = len(sound.data)
    if chance.random() < 0.03:
        size = chance.choice((0, 1024, 1500, 2048, chance.randrange(size)))
    return Patched(sound.data, size, patches), False


def one_patch(chance: random.Random, sound: Base, at: int, length: int) -> tuple[int, bytes]:
    """Bytes in one structure: flipped, random, a telling number, another block's content."""
    kind = chance.randrange(10)
    if kind == 0:
        other, size = chance.choice(sound.metadata)
        return at, sound.data[other : other + min(size, length)]
    if kind == 1:
        return at, bytes(length)
    if kind == 2:
        start = chance.randrange(length)
        return at + start, chance.randbytes(min(chance.randrange(1, 64), length - start))
    if kind < 6:
        where = at + chance.randrange(length)
        return where, bytes([sound.data[where] ^ 1 << chance.randrange(8)])
    width = chance.choice((1, 2, 4))
    where = at + chance.randrange(max(1, length // width)) * width
    number = chance.choice((*NUMBERS, chance.randrange(len(sound.data) // sound.block_size)))
    return where, (number & (1 << 8 * width) - 1).to_bytes(width, "little")


class TooSlowError(Exception):
    """The reader took too long."""


def _too_slow(signal_number: int, frame: object) -> None:
    raise TooSlowError


def judge(sound: Base, damaged: Patched, flip: bool, verify: bool) -> Outcome:
    """Read a damaged image; `kind` is `traceback`, `slow` or `misread` where we failed."""
    start = time.perf_counter()
    try:
        signal.alarm(SECONDS)
        outcome = _read(sound, damaged, flip, verify)
    except ImageError as error:
        outcome = Outcome("error", str(error))
        if not error.structure or not error.reason:
            outcome = Outcome("traceback", f"an error that names nothing: {error}")
    except TooSlowError:
        outcome = Outcome("slow", traceback.format_exc())
    except Exception:
        outcome = Outcome("traceback", traceback.format_exc())
    finally:
        signal.alarm(0)
    outcome.seconds = time.perf_counter() - start
    return outcome


def _read(sound: Base, damaged: Patched, flip: bool, verify: bool) -> Outcome:
    fs = Filesystem(damaged, verify=verify)
    survey = Survey(fs)
    found = problems(survey)
    try:
        whole = canonical_of(survey)
    except ImageError:
        assert found, "blocks used twice, but the check finds nothing"
        raise
    changed = differences(sound.canonical, whole)
    if flip and verify and sound.verified and changed:
        # One flipped bit always changes a crc32c: it must not pass for another truth.
        return Outcome("misread", f"{changed[:3]}")
    if found:
        return Outcome("problem", str(found[0]))
    return Outcome("differs" if changed else "equal")


def campaign(count: int, seed: int, bases: list[Base], fsck: int = 0) -> Counter[str]:
    """Damage and read `count` images; prints what went wrong, returns outcomes by kind."""
    chance = random.Random(seed)
    outcomes: Counter[str] = Counter()
    slowest = 0.0
    before = signal.signal(signal.SIGALRM, _too_slow)
    try:
        for number in range(count):
            sound = chance.choice(bases)
            damaged, flip = damage(chance, sound)
            verify = chance.random() < 0.5
            outcome = judge(sound, damaged, flip, verify)
            outcomes[outcome.kind] += 1
            slowest = max(slowest, outcome.seconds)
            if outcome.kind in ("traceback", "slow", "misread"):
                where = [(at, patch.hex()) for at, patch in damaged.patches]
                print(f"{outcome.kind}: image {number}, {sound.made}, {where}\n{outcome.text}")
            sane = verify and outcome.kind in ("differs", "equal")
            if fsck and number % fsck == 0 and sane:
                _second_opinion(number, sound, damaged, outcomes)
    finally:
        signal.signal(signal.SIGALRM, before)
    print(f"{count} images: {dict(outcomes)}; the slowest took {slowest * 1000:.0f} ms")
    return outcomes


def _second_opinion(number: int, sound: Base, damaged: Patched, outcomes: Counter[str]) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(damaged.whole())
        file.flush()
        done = tool("e2fsck", "-fn", file.name)
    if done.returncode & 4:
        outcomes["only e2fsck complains"] += 1
        lines = [line for line in done.stdout.splitlines() if line and not line.startswith("Pass ")]
        at = [(at, patch.hex()[:16]) for at, patch in damaged.patches]
        print(f"only e2fsck complains: image {number}, seed {sound.made.seed}, {at}: {lines[:2]}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fsck", type=int, default=0, metavar="N")
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    with tempfile.TemporaryDirectory() as folder:
        bases = [base(Path(folder), seed) for seed in BASES]
    start = time.perf_counter()
    outcomes = campaign(options.count, options.seed, bases, options.fsck)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"{time.perf_counter() - start:.0f} s, peak of {peak} MiB of memory")
    return 1 if outcomes["traceback"] or outcomes["slow"] or outcomes["misread"] else 0


if __name__ == "__main__":
    sys.exit(main())
