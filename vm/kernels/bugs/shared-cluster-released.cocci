// bigalloc: punching delayed blocks also releases for clusters that are allocated.
// file: fs/ext4/extents_status.c
// caught by: append-rename/append-after-everything on bigalloc16k@delalloc
// shows as: events of a

@@
@@
get_rsvd(...)
{
<...
while (pr && ...) {
- rc->ndelayed--;
...
}
...>
}
