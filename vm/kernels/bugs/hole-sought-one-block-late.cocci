// SEEK_HOLE begins to look one block behind the offset.
// file: fs/ext4/file.c
// caught by: seek-data/seek-behind-a-written-eof on 1k@delalloc
// shows as: result

@@
expression inode, offset, ops;
@@
ext4_llseek(...)
{
<...
iomap_seek_hole(inode,
- offset
+ offset + i_blocksize(inode)
 , ops)
...>
}
