// bigalloc: the last cluster of a write is reserved although it is there already.
// file: fs/ext4/inode.c
// caught by: ?
// shows as: ?

@@
@@
ext4_insert_delayed_blocks(...)
{
<...
- resv_clu--;
end_allocated = (ret == 2);
...>
}
