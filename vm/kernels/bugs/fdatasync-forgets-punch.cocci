// fdatasync does not commit a punched hole.
// file: fs/ext4/inode.c
// caught by: shutdown/fdatasync-of-a-punch on 4k@delalloc
// shows as: bfree, bavail, blocks of a, disk_blocks of a, extents of a

@@
expression handle, inode;
@@
ext4_punch_hole(...)
{
<...
- ext4_update_inode_fsync_trans(handle, inode, 1);
...>
}
