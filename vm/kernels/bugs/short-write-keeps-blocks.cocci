// nodelalloc: blocks past EOF that a short write allocated stay.
// file: fs/ext4/inode.c
// caught by: enospc/enospc-segments on small4k@nodelalloc
// shows as: bfree, bavail, blocks of a, disk_blocks of a, extents of a

@@
expression inode;
@@
ext4_write_end(...)
{
<...
- ext4_truncate_failed_write(inode);
...>
}
