// An unwritten extent is merged with the written one beside it.
// file: fs/ext4/extents.c
// caught by: append-rename/append-after-everything on 1k@delalloc
// shows as: bfree, bavail, blocks of a, disk_blocks of a

@@
identifier one, other;
@@
ext4_can_extents_be_merged(...)
{
<...
- if (ext4_ext_is_unwritten(one) != ext4_ext_is_unwritten(other))
- 	return 0;
...>
}
