"""mount(2) with MS_REMOUNT: options that change on a mounted file system
(fs/ext4/super.c `ext4_reconfigure`)."""

from __future__ import annotations

from harness.errors import NotModelledError
from model.errors import OpError
from model.mount import Mount

__all__ = ["remount_options"]

_DATA = ("data=ordered", "data=writeback", "data=journal")
_READ_ONLY = ("ro", "rw")
_PAIRS = (
    ("dioread_lock", "dioread_nolock"),
    ("auto_da_alloc", "noauto_da_alloc"),
)
"""Options that take effect at once and exclude each other."""
_IGNORED = frozenset({
    "nodiscard", "noinit_itable", "barrier", "nobarrier", "errors=remount-ro",
    "errors=continue", "usrquota", "quota",
})  # fmt: skip
"""Accepted; nothing that can be observed changes."""
_DELALLOC = ("delalloc", "nodelalloc")
_PATHS = ("buffered_iomap", "nobuffered_iomap")
_KNOWN = _IGNORED.union(_READ_ONLY, _DATA, _DELALLOC, *_PAIRS)


def remount_options(mount: Mount, text: str) -> None:
    """Change the mount options to `text`, a comma-separated list (ext4_reconfigure). Raises
    `OpError` where the kernel refuses, `NotModelledError` for an option that the model lacks."""
    sb = mount.sb
    words = [word for word in text.split(",") if word]
    fresh = set(sb.options)
    for word in words:
        _check_known(mount, word)
    lasting = _lasting(words)
    read_only = "ro" in lasting
    if read_only and not sb.read_only and mount.open:
        sb.rule("files open for writing: sb_prepare_remount_readonly")
        raise OpError("EBUSY")
    if sb.data_journal and "delalloc" in words:  # whatever replaces it (EXPLICIT_DELALLOC)
        raise OpError("EINVAL")
    for word in lasting:
        _change(mount, fresh, word)
    if sb.shut_down and read_only != sb.read_only:
        raise OpError("EROFS")
    if read_only and not sb.read_only:
        mount.sync_filesystem()
        mount.settled()
    sb.read_only = read_only
    sb.set_options(fresh)
    sb.rule("options changed: ext4_reconfigure")


def _lasting(words: list[str]) -> list[str]:
    """Those of `words` that no later one of the same choice replaces: they are looked at when
    all have been read (vfs_parse_sb_flag, ext4_check_opt_consistency)."""
    choices = (_READ_ONLY, _DATA, _DELALLOC, _PATHS, *_PAIRS)
    last = {next((choice for choice in choices if word in choice), word): word for word in words}
    return list(last.values())


def _check_known(mount: Mount, word: str) -> None:
    """Raise `OpError` for an option that the kernel lacks, `NotModelledError` for one that
    the model lacks."""
    if word in _PATHS:
        if not mount.sb.behaviour.iomap:
            raise OpError("EINVAL")
    elif word not in _KNOWN and not word.startswith("commit="):
        raise NotModelledError(f"the mount option {word} is not modelled on a remount")


def _change(mount: Mount, options: set[str], word: str) -> None:
    """Apply one option to `options`."""
    sb = mount.sb
    pair = next((pair for pair in _PAIRS if word in pair), None)
    if word in _DELALLOC:
        _change_delalloc(mount, options, word)
    elif word in _PATHS:
        _replace(options, _PATHS, word)
    elif word in _DATA:
        current = next((mode for mode in _DATA if mode in options), "data=ordered")
        if sb.journal and word != current:  # without a journal it is ignored
            sb.rule("data mode stays: ext4_check_opt_consistency")
            raise OpError("EINVAL")
    elif pair is not None:
        if word == "dioread_nolock" and sb.data_journal:
            raise OpError("EINVAL")
        _replace(options, pair, word)


def _change_delalloc(mount: Mount, options: set[str], word: str) -> None:
    """Delayed allocation can be switched on, off only by kernels that allow it."""
    sb = mount.sb
    if word == "nodelalloc" and sb.delalloc:
        sb.rule("delalloc stays on: ext4_check_opt_consistency")
        raise OpError("EINVAL")
    _replace(options, _DELALLOC, word)


def _replace(options: set[str], pair: tuple[str, str], word: str) -> None:
    options.difference_update(pair)
    options.add(word)
