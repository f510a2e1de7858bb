// Writes stay with delayed allocation until free blocks are fewer than dirty ones.
// file: fs/ext4/inode.c
// caught by: enospc/enospc-large-write on small4k@delalloc
// shows as: events of a

@@
@@
ext4_nonda_switch(...)
{
<...
- 2 * free_clusters < 3 * dirty_clusters
+ free_clusters < dirty_clusters
...>
}
