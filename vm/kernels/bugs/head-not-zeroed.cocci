// Unwritten blocks in front of a small write become written without being zeroed.
// file: fs/ext4/extents.c
// caught by: basic-writes/osync-into-unwritten on 4k@delalloc,dioread_lock
// shows as: result

@@
@@
ext4_ext_convert_to_initialized(...)
{
<...
ext4_ext_store_pblock(&zero_ex2, ...);
- err = ext4_ext_zeroout(inode, &zero_ex2);
...>
}
