// An unwritten extent is merged with the written one beside it.
// file: fs/ext4/extents.c
// caught by: ?
// shows as: ?

@@
identifier one, other;
@@
ext4_can_extents_be_merged(...)
{
<...
- if (ext4_ext_is_unwritten(one) != ext4_ext_is_unwritten(other))
- 	return 0;
...>
}
