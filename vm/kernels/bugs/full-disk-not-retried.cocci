// A write that finds the disk full does not wait for the commit that frees blocks.
// file: fs/ext4/inode.c
// caught by: enospc/enospc-inside-folio on 1k@delalloc
// shows as: events of a

@@
@@
ext4_da_write_begin(...)
{
<...
- if (ret == -ENOSPC && ext4_should_retry_alloc(...))
- 	goto retry;
...>
}
