// An append into an allocated block does not move i_disksize.
// file: fs/ext4/inode.c
// caught by: append-rename/append-after-everything on 1k@delalloc
// shows as: disksize of a

@@
expression inode, size;
@@
ext4_da_do_write_end(...)
{
<...
- ext4_update_i_disksize(inode, size);
...>
}
