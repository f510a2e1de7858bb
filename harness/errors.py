"""The exception family, by the exit status that each member leads to."""

from __future__ import annotations

__all__ = [
    "AGREE", "INTERRUPTED", "MACHINERY", "MISMATCH", "USAGE",
    "EndlessError", "Ext4diffError", "MachineryError", "NotModelledError", "UsageError",
]  # fmt: skip

AGREE = 0
"""Every comparison agreed, or differed only by a known issue."""
MISMATCH = 1
"""A subject did what the other did not."""
USAGE = 2
"""The command, a workload or an image is not what it should be."""
MACHINERY = 3
"""Something below the file system failed: no QEMU, no boot, no disk space."""
INTERRUPTED = 130
"""Ctrl-C or a termination signal."""


class Ext4diffError(Exception):
    """Base of all errors that are told to the user in one line.

    `str(error)` says what is wrong and, where it can, what to do next.
    """

    exit_status = MACHINERY


class UsageError(Ext4diffError):
    """The user's input can't be used: an unknown operation, a file that is no kernel."""

    exit_status = USAGE


class MachineryError(Ext4diffError):
    """The machinery failed; it says nothing about the kernel's ext4. `vm` subclasses it."""

    exit_status = MACHINERY


class NotModelledError(Ext4diffError):
    """The model does not cover something that the workload uses; the message names it."""

    exit_status = MACHINERY


class EndlessError(NotModelledError):
    """The kernel never comes back from an operation, for a known bug; nothing is seen after it."""
