"""Truncate: what goes with the blocks, and what stays (ext4_setattr)."""

from __future__ import annotations

from modelled import file, run


def test_folios_that_a_short_write_left_past_eof_go_with_a_truncate_to_the_same_size() -> None:
    """ext4_setattr always calls truncate_pagecache: the next write maps their blocks anew."""
    line = "pwrite_fault a 0 32k fault=8k; fsync a; truncate a 8k; pwrite_fault a 8k 32k fault=0"
    last = run(line).steps[-1]
    assert file(last).reserved == 2
    up = run(line.replace("truncate a 8k", "truncate a 12k").replace("8k 32k", "12k 32k")).steps[-1]
    assert file(up).reserved == 6
