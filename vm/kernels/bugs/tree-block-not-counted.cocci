// A block of the extent tree that writeback allocates is missing from st_blocks.
// file: fs/ext4/balloc.c
// caught by: append-rename/unlink-written on 4k@delalloc
// shows as: blocks of a, disk_blocks of a

@@
@@
ext4_new_meta_blocks(...)
{
<...
- if (!(*errp) && (flags & EXT4_MB_DELALLOC_RESERVED)) { ... }
...>
}
