"""The on-disk format of ext4: its structures and a reader of images.

Part of the specification, so it follows the kernel's source, and imports nothing of the
model's state. `Filesystem.open(path)` is where to start.
"""

from model.image.errors import ImageError
from model.image.filesystem import Filesystem
from model.image.source import FileSource, MemorySource, Source

__all__ = ["FileSource", "Filesystem", "ImageError", "MemorySource", "Source"]
