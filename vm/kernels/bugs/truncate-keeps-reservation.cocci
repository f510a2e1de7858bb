// What truncate removes of delayed blocks stays reserved.
// file: fs/ext4/extents_status.c
// caught by: append-rename/rename-over-itself on 4k@delalloc
// shows as: delalloc, bfree, bavail, events of b

@@
expression inode, reserved;
@@
ext4_es_remove_extent(...)
{
<...
- ext4_da_release_space(inode, reserved);
+ if (end != EXT_MAX_BLOCKS - 1)
+ 	ext4_da_release_space(inode, reserved);
...>
}
