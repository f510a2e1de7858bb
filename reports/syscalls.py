"""Operations and fields as kernel developers call them."""

from __future__ import annotations

__all__ = ["CALLS", "call_name", "field_name"]

CALLS = {
    "pwrite": "pwrite",
    "append": "O_APPEND write",
    "pwrite_fault": "pwrite from an unmapped page",
    "pread": "pread",
    "dwrite": "O_DIRECT write",
    "mwrite": "mmap store",
    "mwrite_in": "mmap store",
    "mwrite_msync": "mmap store and msync",
    "copy_range": "copy_file_range",
    "falloc": "fallocate",
    "falloc_keep": "fallocate KEEP_SIZE",
    "fpunch": "PUNCH_HOLE",
    "fzero": "ZERO_RANGE",
    "fzero_keep": "ZERO_RANGE|KEEP_SIZE",
    "fcollapse": "COLLAPSE_RANGE",
    "finsert": "INSERT_RANGE",
    "write_zeroes": "WRITE_ZEROES",
    "truncate": "ftruncate",
    "fsync": "fsync",
    "fdatasync": "fdatasync",
    "sync_range": "sync_file_range",
    "sync": "sync",
    "drop_caches": "drop_caches",
    "remount": "umount and mount",
    "remount_opts": "mount -o remount",
    "close": "close",
    "otrunc": "open O_TRUNC",
    "unlink": "unlink",
    "rename": "rename",
    "pwritev": "pwritev",
    "rlimit_write": "pwrite under RLIMIT_FSIZE",
    "quota_set": "quotactl Q_SETQUOTA",
    "chown": "fchown",
    "user_write": "pwrite by another user",
    "pwrite_osync": "O_SYNC pwrite",
    "pwrite_odsync": "O_DSYNC pwrite",
    "seek": "SEEK_DATA/SEEK_HOLE",
    "shutdown": "EXT4_IOC_SHUTDOWN",
    "setflags": "FS_IOC_SETFLAGS",
    "sendfile": "sendfile",
    "splice": "splice",
    "parallel": "concurrent calls",
}
"""What each word of the text form calls."""

_FIELDS = {
    "size": "i_size",
    "blocks": "st_blocks",
    "disk_blocks": "i_blocks",
    "disk_blocks on disk": "i_blocks on disk",
    "disksize": "i_size in the inode table",
    "reserved": "i_reserved_data_blocks",
    "delalloc": "delayed_allocation_blocks",
    "bfree": "f_bfree",
    "bavail": "f_bavail",
    "result": "return value",
    "events": "reservation tracepoints",
    "fsck": "e2fsck",
    "image": "file system image",
    "content": "content after umount and mount",
    "dropped": "content after drop_caches",
    "kernel": "kernel",
    "exists": "existence",
}


def call_name(op: str) -> str:
    """The system call of an operation, given as a workload file writes it."""
    word = op.partition(" ")[0].rstrip(";")
    return CALLS.get(word, word)


def field_name(field: str) -> str:
    """A field of a mismatch as the kernel calls it; others as they are."""
    bare, comma, rest = field.partition(",")
    return _FIELDS.get(bare, bare) + comma + rest
