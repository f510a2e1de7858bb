"""Feature flags of the superblock, by the names that mke2fs and dumpe2fs use."""

from __future__ import annotations

__all__ = [
    "BIGALLOC", "CASEFOLD", "COMPAT", "CSUM_SEED", "DIR_NLINK", "EA_INODE", "EXTENTS",
    "EXTRA_ISIZE", "FILETYPE", "FLEX_BG", "GDT_CSUM", "HAS_JOURNAL", "HUGE_FILE",
    "INCOMPAT", "INLINE_DATA",
    "LARGE_DIR", "METADATA_CSUM", "META_BG", "MMP", "ORPHAN_FILE", "ORPHAN_PRESENT", "PROJECT",
    "QUOTA", "RECOVER", "RESIZE_INODE", "RO_COMPAT", "SHARED_BLOCKS", "SIXTY_FOUR",
    "SPARSE_SUPER", "SPARSE_SUPER2", "feature_names", "unreadable",
]  # fmt: skip

HAS_JOURNAL, RESIZE_INODE, SPARSE_SUPER2, ORPHAN_FILE = 0x4, 0x10, 0x200, 0x1000
COMPAT = {
    0x1: "dir_prealloc", 0x2: "imagic_inodes", HAS_JOURNAL: "has_journal", 0x8: "ext_attr",
    RESIZE_INODE: "resize_inode", 0x20: "dir_index", 0x40: "lazy_bg",
    SPARSE_SUPER2: "sparse_super2", 0x400: "fast_commit", 0x800: "stable_inodes",
    ORPHAN_FILE: "orphan_file",
}  # fmt: skip

FILETYPE, RECOVER, META_BG, EXTENTS, SIXTY_FOUR = 0x2, 0x4, 0x10, 0x40, 0x80
MMP, FLEX_BG, EA_INODE, CSUM_SEED = 0x100, 0x200, 0x400, 0x2000
LARGE_DIR, INLINE_DATA, CASEFOLD = 0x4000, 0x8000, 0x20000
INCOMPAT = {
    FILETYPE: "filetype", RECOVER: "needs_recovery", META_BG: "meta_bg", EXTENTS: "extent",
    SIXTY_FOUR: "64bit", MMP: "mmp", FLEX_BG: "flex_bg", EA_INODE: "ea_inode",
    CSUM_SEED: "metadata_csum_seed", LARGE_DIR: "large_dir", INLINE_DATA: "inline_data",
    CASEFOLD: "casefold",
}  # fmt: skip
_NOT_READ = {0x1: "compression", 0x8: "journal_dev", 0x1000: "dirdata", 0x10000: "encrypt"}

SPARSE_SUPER, HUGE_FILE, GDT_CSUM, DIR_NLINK, EXTRA_ISIZE = 0x1, 0x8, 0x10, 0x20, 0x40
QUOTA, BIGALLOC, METADATA_CSUM, PROJECT = 0x100, 0x200, 0x400, 0x2000
SHARED_BLOCKS, ORPHAN_PRESENT = 0x4000, 0x10000
RO_COMPAT = {
    SPARSE_SUPER: "sparse_super", 0x2: "large_file", HUGE_FILE: "huge_file",
    GDT_CSUM: "uninit_bg", DIR_NLINK: "dir_nlink", EXTRA_ISIZE: "extra_isize", QUOTA: "quota",
    BIGALLOC: "bigalloc", METADATA_CSUM: "metadata_csum", 0x1000: "read-only",
    PROJECT: "project", SHARED_BLOCKS: "shared_blocks", 0x8000: "verity",
    ORPHAN_PRESENT: "orphan_present",
}  # fmt: skip


def _names(word: int, known: dict[int, str], prefix: str) -> list[str]:
    bits = [1 << bit for bit in range(32) if word >> bit & 1]
    return [known.get(bit) or f"{prefix}{bit:#x}" for bit in bits]


def feature_names(compat: int, incompat: int, ro_compat: int) -> tuple[str, ...]:
    """The features' names, sorted; unknown bits as `compat_0x80000`."""
    names = _names(compat, COMPAT, "compat_")
    names += _names(incompat, INCOMPAT | _NOT_READ, "incompat_")
    names += _names(ro_compat, RO_COMPAT, "ro_compat_")
    return tuple(sorted(names))


def unreadable(incompat: int, ro_compat: int) -> tuple[str, ...]:
    """Features that this reader cannot read exactly; unknown compat ones do no harm."""
    names = _names(incompat & ~sum(INCOMPAT), _NOT_READ, "incompat_")
    return (*names, *_names(ro_compat & ~sum(RO_COMPAT), {}, "ro_compat_"))
