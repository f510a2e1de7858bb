// fdatasync does not commit a punched hole.
// file: fs/ext4/inode.c
// caught by: ?
// shows as: ?

@@
expression handle, inode;
@@
ext4_punch_hole(...)
{
<...
- ext4_update_inode_fsync_trans(handle, inode, 1);
...>
}
