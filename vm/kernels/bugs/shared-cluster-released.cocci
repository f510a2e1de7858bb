// bigalloc: punching delayed blocks also releases for clusters that are allocated.
// file: fs/ext4/extents_status.c
// caught by: ?
// shows as: ?

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
