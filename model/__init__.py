"""The model: an executable specification of ext4's buffered write paths.

One kernel concern a module, with the kernel's names:

* `behaviour`: every switch and known bug; `units`: shared sizes and states
* `superblock`, `balloc`, `placement`: counters, low-space decisions, where blocks go
* `inode`, `extent_status`, `extent_tree`, `indirect_tree`: a file's map and its tree
* `page_cache`, `content`: folios, and the bytes that a reader sees
* `map_blocks`: reserving, allocating and converting blocks
* `file_write`, `buffer_head`, `iomap_write`: the write paths; `source` is the user's buffer
* `writeback_bh`, `writeback_iomap`: writeback of both paths
* `truncate`, `fallocate`, `mmap`, `direct_io`, `copy_range`: the other operations
* `mount`, `run`, `observe`: files, dispatch, and what can be seen
"""

from model.behaviour import QUIRKS, Behaviour, Quirk
from model.run import Model

__all__ = ["QUIRKS", "Behaviour", "Model", "Quirk"]
