/* Made up: as much of each function as a seeded bug looks for, and nothing that ext4 does. */

void ext4_es_remove_extent(struct inode *inode, unsigned from, unsigned len)
{
	unsigned end = from + len - 1;
	int freed = drop(inode, from, end);

	ext4_da_release_space(inode, freed);
}

int get_rsvd(struct tally *rc)
{
	struct item *pr = first();

	rc->ndelayed--;
	while (pr && pr->number < 7) {
		rc->ndelayed--;
		pr = next(pr);
	}
	return rc->ndelayed;
}

long ext4_new_meta_blocks(struct inode *inode, unsigned flags, int *errp)
{
	long block = find(inode, errp);

	if (!(*errp) && (flags & EXT4_MB_DELALLOC_RESERVED)) {
		count(inode);
	}
	return block;
}

long ext4_llseek(struct file *file, long offset, int whence)
{
	struct inode *inode = file->inode;

	if (whence == SEEK_HOLE)
		return iomap_seek_hole(inode, offset, &report);
	return iomap_seek_data(inode, offset, &report);
}

int ext4_can_extents_be_merged(struct extent *left, struct extent *right)
{
	if (ext4_ext_is_unwritten(left) != ext4_ext_is_unwritten(right))
		return 0;
	return adjacent(left, right);
}

int ext4_ext_convert_to_initialized(struct inode *inode)
{
	struct extent zero_ex1, zero_ex2;
	int err;

	ext4_ext_store_pblock(&zero_ex1, 5);
	err = ext4_ext_zeroout(inode, &zero_ex1);
	if (err)
		return err;
	ext4_ext_store_pblock(&zero_ex2, 6);
	err = ext4_ext_zeroout(inode, &zero_ex2);
	return err;
}

int ext4_convert_unwritten_extents(long offset, long len, unsigned blkbits)
{
	struct ext4_map_blocks map;
	unsigned max_blocks;

	map.m_len = max_blocks = EXT4_MAX_BLOCKS(len, offset, blkbits);
	return convert(&map);
}

long ext4_zero_range(struct inode *inode, long end, int mode)
{
	if (!(mode & FALLOC_FL_KEEP_SIZE) && end > inode->i_size)
		return grow(inode, end);
	return 0;
}

int ext4_collapse_range(struct inode *inode, void *handle, unsigned from, unsigned to)
{
	int ret = ext4_ext_shift_extents(inode, handle, to, to - from, SHIFT_LEFT);

	return ret;
}

int ext4_da_do_write_end(struct inode *inode, long new_size)
{
	if (new_size > inode->i_size) {
		ext4_update_i_disksize(inode, new_size);
		return 1;
	}
	return 0;
}

int ext4_da_write_begin(struct inode *inode)
{
	int ret, retries = 0;

retry:
	ret = reserve(inode);
	if (ret == -ENOSPC && ext4_should_retry_alloc(inode->i_sb, &retries))
		goto retry;
	return ret;
}

int ext4_write_end(struct inode *inode, long end)
{
	if (end > inode->i_size) {
		ext4_truncate_failed_write(inode);
		return 1;
	}
	return 0;
}

void ext4_da_release_space(struct inode *inode, int to_free)
{
	take_back(inode, to_free);
	dquot_release_reservation_block(inode, EXT4_C2B(sbi, to_free));
}

int ext4_insert_delayed_blocks(struct inode *inode, int ret)
{
	unsigned resv_clu = 3;
	bool lclu_allocated = false, end_allocated = false;

	if (ret > 0) {
		resv_clu--;
		lclu_allocated = (ret == 2);
	}
	if (ret > 1) {
		resv_clu--;
		end_allocated = (ret == 2);
	}
	return ext4_da_reserve_space(inode, resv_clu);
}

int ext4_nonda_switch(long free_clusters, long dirty_clusters)
{
	if (2 * free_clusters < 3 * dirty_clusters || free_clusters < MARK)
		return 1;
	return 0;
}

int ext4_truncate(struct inode *inode)
{
	int err = ext4_inode_attach_jinode(inode);

	if (err)
		return err;
	err = ext4_block_zero_eof(inode, inode->i_size, LLONG_MAX);
	return err;
}

int ext4_punch_hole(struct inode *inode, void *handle, unsigned from, unsigned to)
{
	int ret = ext4_ext_remove_space(inode, from, to - 1);

	ext4_update_inode_fsync_trans(handle, inode, 1);
	return ret;
}
