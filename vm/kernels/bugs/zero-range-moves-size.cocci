// ZERO_RANGE moves i_size though KEEP_SIZE is set.
// file: fs/ext4/extents.c
// caught by: fallocate/zero-range-keep-size on 4k@delalloc
// shows as: size of a, disksize of a

@@
expression E;
@@
ext4_zero_range(...)
{
<...
- !(mode & FALLOC_FL_KEEP_SIZE) && E
+ E
...>
}
