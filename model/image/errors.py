"""What is wrong with an image, told with the structure and the block that hold it."""

from __future__ import annotations

from harness.errors import UsageError

__all__ = ["ImageError"]


class ImageError(UsageError):
    """An image cannot be read as ext4, or not exactly.

    `structure` names the on-disk structure (`inode 12`, `group 3's descriptor`), `block`
    its file system block if it has one, `reason` what is wrong there.
    """

    def __init__(self, image: str, structure: str, reason: str, block: int | None = None) -> None:
        self.image, self.structure, self.reason, self.block = image, structure, reason, block
        where = structure if block is None else f"{structure} (block {block})"
        super().__init__(f"{image}: {where}: {reason}")
