// Unwritten blocks in front of a small write become written without being zeroed.
// file: fs/ext4/extents.c
// caught by: ?
// shows as: ?

@@
@@
ext4_ext_convert_to_initialized(...)
{
<...
ext4_ext_store_pblock(&zero_ex2, ...);
- err = ext4_ext_zeroout(inode, &zero_ex2);
...>
}
