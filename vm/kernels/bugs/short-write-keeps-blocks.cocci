// nodelalloc: blocks past EOF that a short write allocated stay.
// file: fs/ext4/inode.c
// caught by: ?
// shows as: ?

@@
expression inode;
@@
ext4_write_end(...)
{
<...
- ext4_truncate_failed_write(inode);
...>
}
