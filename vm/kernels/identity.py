"""Which kernel it was: what every result carries so that it can be traced to its source."""

from __future__ import annotations

import msgspec

__all__ = ["KernelIdentity"]


class KernelIdentity(msgspec.Struct, frozen=True, omit_defaults=True):
    """A kernel as exactly as it is known; a field is "" (or empty) where it is not.

    A stock package's kernel or a bzImage from elsewhere has a release and perhaps a build
    id; a kernel that was built here has all of them.
    """

    release: str = ""
    """What `uname -r` says."""
    build_id: str = ""
    """The linker's GNU build id of the vmlinux, in hex; a running kernel has it in
    /sys/kernel/notes."""
    config_sha256: str = ""
    """SHA-256 of the .config that it was built with, in hex."""
    source: str = ""
    """Where the source or the image came from: a specification, a package, a path."""
    base: str = ""
    """The git commit (or, for uncommitted changes, the tree) that a series was applied on."""
    series: tuple[str, ...] = ()
    """Subjects of the patches on top of `base`, in order."""
    compiler: str = ""
    """The first line of the compiler's --version."""
    flavour: str = ""
    """`tiny`, `debug` or `config:FILE`, with `+symbols` where there are any."""
