"""The on-disk records of ext4, field by field (fs/ext4/ext4.h, ext4_extents.h, xattr.h).

Names are the kernel's without their prefix (`s_`, `bg_`, `i_`, `eh_`, `ee_`). All are
little-endian; a field split in two halves keeps both (`blocks_count_lo`, `_hi`), and the
classes that read them join the halves.
"""

from typing import NamedTuple

from model.image.record import B4, B12, B16, B32, B60, B64, U8, U16, U32, U64, layout

__all__ = [
    "DIR_TAIL", "EXTENT", "EXTENT_HEADER", "EXTRA", "GROUP", "GROUP_HIGH", "INODE", "MMP",
    "SUPERBLOCK", "XATTR_ENTRY", "XATTR_HEADER", "ExtentHeader", "ExtentRecord", "ExtraInode",
    "GroupHigh", "GroupLow", "MmpRecord", "RawInode", "Superblock", "XattrEntry", "XattrHeader",
]  # fmt: skip


class Superblock(NamedTuple):
    """struct ext4_super_block, 1024 bytes at byte 1024."""

    inodes_count: U32
    blocks_count_lo: U32
    r_blocks_count_lo: U32
    free_blocks_count_lo: U32
    free_inodes_count: U32
    first_data_block: U32
    log_block_size: U32
    log_cluster_size: U32
    blocks_per_group: U32
    clusters_per_group: U32
    inodes_per_group: U32
    mtime: U32
    wtime: U32
    mnt_count: U16
    max_mnt_count: U16
    magic: U16
    state: U16
    errors: U16
    minor_rev_level: U16
    lastcheck: U32
    checkinterval: U32
    creator_os: U32
    rev_level: U32
    def_resuid: U16
    def_resgid: U16
    first_ino: U32
    inode_size: U16
    block_group_nr: U16
    feature_compat: U32
    feature_incompat: U32
    feature_ro_compat: U32
    uuid: B16
    volume_name: B16
    last_mounted: B64
    algorithm_usage_bitmap: U32
    prealloc_blocks: U8
    prealloc_dir_blocks: U8
    reserved_gdt_blocks: U16
    journal_uuid: B16
    journal_inum: U32
    journal_dev: U32
    last_orphan: U32
    hash_seed: B16
    def_hash_version: U8
    jnl_backup_type: U8
    desc_size: U16
    default_mount_opts: U32
    first_meta_bg: U32
    mkfs_time: U32
    jnl_blocks: B64
    jnl_blocks_size: U32
    blocks_count_hi: U32
    r_blocks_count_hi: U32
    free_blocks_count_hi: U32
    min_extra_isize: U16
    want_extra_isize: U16
    flags: U32
    raid_stride: U16
    mmp_update_interval: U16
    mmp_block: U64
    raid_stripe_width: U32
    log_groups_per_flex: U8
    checksum_type: U8
    encryption_level: U8
    reserved_pad: U8
    kbytes_written: U64
    snapshot_inum: U32
    snapshot_id: U32
    snapshot_r_blocks_count: U64
    snapshot_list: U32
    error_count: U32
    first_error_time: U32
    first_error_ino: U32
    first_error_block: U64
    first_error_func: B32
    first_error_line: U32
    last_error_time: U32
    last_error_ino: U32
    last_error_line: U32
    last_error_block: U64
    last_error_func: B32
    mount_opts: B64
    usr_quota_inum: U32
    grp_quota_inum: U32
    overhead_clusters: U32
    backup_bg_first: U32
    backup_bg_second: U32
    encrypt_algos: B4
    encrypt_pw_salt: B16
    lpf_ino: U32
    prj_quota_inum: U32
    checksum_seed: U32
    wtime_hi: U8
    mtime_hi: U8
    mkfs_time_hi: U8
    lastcheck_hi: U8
    first_error_time_hi: U8
    last_error_time_hi: U8
    first_error_errcode: U8
    last_error_errcode: U8
    encoding: U16
    encoding_flags: U16
    orphan_file_inum: U32
    def_resuid_hi: U16
    def_resgid_hi: U16


class GroupLow(NamedTuple):
    """struct ext4_group_desc, its first 32 bytes."""

    block_bitmap_lo: U32
    inode_bitmap_lo: U32
    inode_table_lo: U32
    free_blocks_count_lo: U16
    free_inodes_count_lo: U16
    used_dirs_count_lo: U16
    flags: U16
    exclude_bitmap_lo: U32
    block_bitmap_csum_lo: U16
    inode_bitmap_csum_lo: U16
    itable_unused_lo: U16
    checksum: U16


class GroupHigh(NamedTuple):
    """struct ext4_group_desc, the 32 bytes that only 64bit has."""

    block_bitmap_hi: U32
    inode_bitmap_hi: U32
    inode_table_hi: U32
    free_blocks_count_hi: U16
    free_inodes_count_hi: U16
    used_dirs_count_hi: U16
    itable_unused_hi: U16
    exclude_bitmap_hi: U32
    block_bitmap_csum_hi: U16
    inode_bitmap_csum_hi: U16
    reserved: U32


class RawInode(NamedTuple):
    """struct ext4_inode, its first 128 bytes, Linux's variant."""

    mode: U16
    uid: U16
    size_lo: U32
    atime: U32
    ctime: U32
    mtime: U32
    dtime: U32
    gid: U16
    links_count: U16
    blocks_lo: U32
    flags: U32
    version: U32
    block: B60
    generation: U32
    file_acl_lo: U32
    size_high: U32
    obso_faddr: U32
    blocks_high: U16
    file_acl_high: U16
    uid_high: U16
    gid_high: U16
    checksum_lo: U16
    reserved: U16


class ExtraInode(NamedTuple):
    """struct ext4_inode from byte 128; only `extra_isize` bytes of it are in use."""

    extra_isize: U16
    checksum_hi: U16
    ctime_extra: U32
    mtime_extra: U32
    atime_extra: U32
    crtime: U32
    crtime_extra: U32
    version_hi: U32
    projid: U32


class ExtentHeader(NamedTuple):
    """struct ext4_extent_header."""

    magic: U16
    entries: U16
    max: U16
    depth: U16
    generation: U32


class ExtentRecord(NamedTuple):
    """struct ext4_extent; in an index node `len` and the halves lie otherwise."""

    block: U32
    len: U16
    start_hi: U16
    start_lo: U32


class XattrHeader(NamedTuple):
    """struct ext4_xattr_header, at the start of an attribute block."""

    magic: U32
    refcount: U32
    blocks: U32
    hash: U32
    checksum: U32
    reserved: B12


class XattrEntry(NamedTuple):
    """struct ext4_xattr_entry without the name that follows it."""

    name_len: U8
    name_index: U8
    value_offs: U16
    value_inum: U32
    value_size: U32
    hash: U32


class MmpRecord(NamedTuple):
    """struct mmp_struct; its checksum is the last word of the first 1024 bytes."""

    magic: U32
    seq: U32
    time: U64
    nodename: B64
    bdevname: B32
    check_interval: U16


SUPERBLOCK = layout(Superblock, tail="372xI")
"""With the checksum as one more value at the end."""
GROUP = layout(GroupLow)
GROUP_HIGH = layout(GroupHigh)
INODE = layout(RawInode)
EXTRA = layout(ExtraInode)
EXTENT_HEADER = layout(ExtentHeader)
EXTENT = layout(ExtentRecord)
XATTR_HEADER = layout(XattrHeader)
XATTR_ENTRY = layout(XattrEntry)
MMP = layout(MmpRecord)
DIR_TAIL = b"\0\0\0\0\x0c\0\0\xde"
"""struct ext4_dir_entry_tail before its checksum: a fake entry of 12 bytes, type 0xde."""
