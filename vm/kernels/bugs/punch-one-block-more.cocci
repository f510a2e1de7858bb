// Punching a hole frees the block behind it as well.
// file: fs/ext4/inode.c
// caught by: append-rename/append-after-everything on 1k@delalloc
// shows as: bfree, bavail, blocks of a, disk_blocks of a

@@
expression start, end;
@@
ext4_punch_hole(...)
{
<...
ext4_ext_remove_space(inode, start,
- end - 1
+ end
 )
...>
}
