"""What importer and exporter of fsx operations share: the words of `ltp/fsx.c`.

A line of an operations file (`--record-ops`, `--replay-ops`) is

    [skip] WORD ARG... [keep_size] [close_open] [unshare] [*]

with the arguments OFFSET LENGTH SIZE, where SIZE is the file's before the operation (for
the copying words: OFFSET LENGTH DESTINATION SIZE). A truncation to N is
`truncate 0 N SIZE`. Numbers are as strtoul(3) with base 0 reads them.
"""

from __future__ import annotations

from workloads.ops import (
    Collapse,
    Falloc,
    FallocKeep,
    Insert,
    Op,
    Punch,
    Read,
    Write,
    Zero,
    ZeroKeep,
)

__all__ = ["ARGUMENTS", "CONTENT", "FILE", "FLAGS", "RANGES", "REFUSED", "WORDS"]

FILE = "testfile"
"""What imported logs call the file; fsx is given its name on the command line."""

CONTENT = "writes hold the workload's own patterns: fsx writes random bytes and keeps none"

RANGES: dict[tuple[str, bool], type[Op]] = {
    ("read", False): Read,
    ("write", False): Write,
    ("fallocate", False): Falloc,
    ("fallocate", True): FallocKeep,
    ("punch_hole", False): Punch,
    ("zero_range", False): Zero,
    ("zero_range", True): ZeroKeep,
    ("collapse_range", False): Collapse,
    ("insert_range", False): Insert,
}
"""Operations on a range, by fsx's word and whether `keep_size` is set."""

REFUSED = {
    "clone_range": "ext4 has no reflink",
    "dedupe_range": "ext4 has no reflink",
    "exchange_range": "ext4 does not exchange ranges",
}
"""Words that no workload has, and why."""

ARGUMENTS = {
    **dict.fromkeys(
        (
            "read", "read_dontcache", "write", "write_dontcache", "write_atomic", "mapread",
            "mapwrite", "truncate", "fallocate", "punch_hole", "zero_range", "collapse_range",
            "insert_range", "fsync",
        ),
        3,
    ),
    **dict.fromkeys(("copy_range", *REFUSED), 4),
}  # fmt: skip
"""Number of arguments of each word (op_args_count() in fsx.c)."""

WORDS = tuple(sorted(ARGUMENTS))
FLAGS = ("keep_size", "close_open", "unshare", "*")
