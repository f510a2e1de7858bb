// Collapsing a range of several blocks shifts what follows by one block less.
// file: fs/ext4/extents.c
// caught by: append-rename/append-after-everything on 1k@delalloc
// shows as: extents of a

@@
expression inode, handle, start, end;
@@
ext4_collapse_range(...)
{
<...
ext4_ext_shift_extents(inode, handle, end,
- end - start
+ end - start > 1 ? end - start - 1 : 1
 , SHIFT_LEFT)
...>
}
