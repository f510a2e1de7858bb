// Quota goes on counting delayed blocks that were given up.
// file: fs/ext4/inode.c
// caught by: quota/quota-across-limit on quota4k@delalloc,usrquota
// shows as: events of a

@@
expression inode, size;
@@
ext4_da_release_space(...)
{
<...
- dquot_release_reservation_block(inode, size);
...>
}
