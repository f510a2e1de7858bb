// Truncate leaves the old bytes behind EOF in the last block.
// file: fs/ext4/inode.c
// caught by: bigalloc/truncate-inside-a-cluster on bigalloc16k@delalloc
// shows as: image

@@
expression inode, from, end;
@@
ext4_truncate(...)
{
<...
err =
- ext4_block_zero_eof(inode, from, end)
+ 0
 ;
...>
}
