// Of several blocks that were written, the last one stays unwritten.
// file: fs/ext4/extents.c
// caught by: append-rename/append-after-everything on 1k@delalloc
// shows as: extents of a

@@
@@
ext4_convert_unwritten_extents(...)
{
<...
map.m_len = max_blocks = EXT4_MAX_BLOCKS(len, offset, blkbits);
+ if (max_blocks > 1)
+ 	map.m_len = --max_blocks;
...>
}
