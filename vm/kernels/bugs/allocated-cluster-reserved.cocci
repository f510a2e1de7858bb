// bigalloc: a delayed block in a cluster that is allocated reserves the cluster again.
// file: fs/ext4/inode.c
// caught by: append-rename/append-after-everything on bigalloc16k@delalloc
// shows as: delalloc, bfree, bavail, blocks of a, reserved of a, events of a

@@
@@
ext4_insert_delayed_blocks(...)
{
<...
- resv_clu--;
+ if (ret == 1)
+ 	resv_clu--;
lclu_allocated = (ret == 2);
...>
}
