// SPDX-License-Identifier: GPL-2.0
/*
 * Reads and writes regular files whose data are in memory, in the submit call, with methods
 * that do not know IOCB_NOWAIT, or refuse it.
 *
 * Such a method waits for a lock, for a page, for space or for the disk if it must. So the
 * submit call first looks at all of these, and leaves the transfer to a worker if it would
 * have to wait for one. Another task can change what was found, in the moment before the
 * method gets there. Then the attempt sleeps, and kaio_note_sleep() leaves the file to
 * workers for a while.
 */
#include <linux/backing-dev.h>
#include <linux/fs.h>
#include <linux/hash.h>
#include <linux/jiffies.h>
#include <linux/log2.h>
#include <linux/magic.h>
#include <linux/pagemap.h>
#include <linux/statfs.h>
#include <linux/uio.h>
#include <linux/writeback.h>

#include "shim.h"

/* A transfer that is to be made in memory, and where its data are. */
struct kaio_in_memory {
	struct file	*file;
	struct inode	*data;
	loff_t		pos;
	size_t		len;
};

/*
 * Returns the inode whose page cache has the data of the file. With overlayfs it is that of
 * the file below.
 */
static struct inode *kaio_data_inode(const struct file *file)
{
	return d_real_inode(file_dentry(file));
}

/*
 * Returns which transfers of a regular file the submit call may make if their data are in
 * memory. The file systems were read in the source of 7.2 and 7.3.
 *
 *  tmpfs
 *	Reads and writes lock the page, and bring it back from swap if it is there.
 *  ext4
 *	Buffered writes only: for reads there is IOCB_NOWAIT. If blocks are allocated late
 *	(delalloc, which is usual), a write to a page in memory needs the journal only for
 *	the times of the file.
 *  overlayfs
 *	It calls the method of the file below. Reads may be of any file whose page cache is
 *	the usual one, writes of one of the two above.
 *
 * The write of btrfs waits for earlier writes of the same range. xfs, btrfs and f2fs have
 * IOCB_NOWAIT for reads, and xfs has it for writes.
 */
u32 kaio_trust_in_memory(const struct file *file)
{
	const struct inode *inode = file_inode(file), *data;
	u32 traits = 0;

	if ((file->f_iocb_flags & IOCB_DIRECT) || FMODE_FSNOTIFY_HSM(file->f_mode))
		return 0;
	data = kaio_data_inode(file);
	if (IS_DAX(data) || !S_ISREG(data->i_mode))
		return 0;
	switch (data->i_sb->s_magic) {
	case TMPFS_MAGIC:
		traits = KAIO_FILE_MEMORY_READ | KAIO_FILE_MEMORY_WRITE;
		break;
	case EXT4_SUPER_MAGIC:
		traits = KAIO_FILE_MEMORY_WRITE;
		fallthrough;
	case XFS_SUPER_MAGIC:
	case BTRFS_SUPER_MAGIC:
	case F2FS_SUPER_MAGIC:
		if (data != inode)
			traits |= KAIO_FILE_MEMORY_READ;
		break;
	}
	return traits && kaio_is_doubtful(inode) ? 0 : traits;
}

static bool kaio_is_tmpfs(const struct inode *inode)
{
	return inode->i_sb->s_magic == TMPFS_MAGIC;
}

static bool kaio_is_page(const struct folio *folio)
{
	return folio && !xa_is_value(folio);
}

/*
 * Returns whether a write to an absent page of a file of @size bytes needs nothing but memory.
 * The file system looks up the blocks of such a page. Behind the end there are none, which
 * the file system knows without the disk if it has just written there. A task that allocates
 * blocks of the same file keeps others from that while it reads the disk.
 */
static bool kaio_page_can_be_added(struct inode *data, pgoff_t page, loff_t size)
{
	struct address_space *mapping = data->i_mapping;
	const pgoff_t first = DIV_ROUND_UP_ULL(size, PAGE_SIZE);

	return page >= first &&
	       (!first || kaio_is_page(xa_load(&mapping->i_pages, first - 1))) &&
	       !(inode_state_read_once(data) & I_SYNC) &&
	       !mapping_tagged(mapping, PAGECACHE_TAG_WRITEBACK) &&
	       !mapping_tagged(mapping, PAGECACHE_TAG_TOWRITE);
}

/* Returns whether a read of this page, NULL if it is absent, needs nothing but memory. */
static bool kaio_page_can_be_read(const struct inode *data, const struct folio *folio)
{
	if (kaio_is_tmpfs(data))
		return !folio || (kaio_is_page(folio) && !folio_test_locked(folio));
	/* A read of a page that has the mark of readahead begins to read ahead. */
	return kaio_is_page(folio) && folio_test_uptodate(folio) && !folio_test_readahead(folio);
}

/* Returns whether a write to this page, NULL if it is absent, needs nothing but memory. */
static bool kaio_page_can_be_written(struct inode *data, const struct folio *folio,
				     pgoff_t page, loff_t size)
{
	if (kaio_is_tmpfs(data))
		return !folio || (kaio_is_page(folio) && !folio_test_locked(folio));
	/* The value of an absent page tells when the page was evicted. */
	if (!kaio_is_page(folio))
		return kaio_page_can_be_added(data, page, size);
	return !folio_test_locked(folio) && folio_test_uptodate(folio) &&
	       !(folio_test_writeback(folio) && mapping_stable_writes(data->i_mapping));
}

/* Returns whether all pages of the transfer are such that it needs nothing but memory. */
static bool kaio_pages_are_ready(const struct kaio_in_memory *m, bool write)
{
	struct inode *data = m->data;
	/* Unsigned, since the last page ends where loff_t does. */
	const u64 size = i_size_read(data), begin = m->pos;
	const u64 end = write ? begin + m->len : min(begin + m->len, size);
	pgoff_t page;

	/* A folio may go away at any moment, but what was one remains readable. */
	guard(rcu)();
	for (page = begin >> PAGE_SHIFT; (u64)page << PAGE_SHIFT < end; page++) {
		const struct folio *folio = xa_load(&data->i_mapping->i_pages, page);

		if (write ? !kaio_page_can_be_written(data, folio, page, size) :
			    !kaio_page_can_be_read(data, folio))
			return false;
	}
	return true;
}

/*
 * Returns whether the kernel would make the current task wait now, since it has made more
 * pages dirty than the disk has taken meanwhile.
 */
static bool kaio_is_throttled(struct address_space *mapping)
{
	const int pause = current->nr_dirtied_pause;
	bool is_throttled;

	/* With 0 the kernel looks now, and not only after some more pages. */
	current->nr_dirtied_pause = 0;
	is_throttled = balance_dirty_pages_ratelimited_flags(mapping, BDP_ASYNC);
	if (!current->nr_dirtied_pause)
		current->nr_dirtied_pause = pause;
	return is_throttled;
}

/*
 * What was last found about each file system, by a hash of its address: 31 bits of the
 * address's hash, 32 of the time in jiffies, and whether it was nearly full.
 */
static u64 kaio_full[16];

/* Below this part of all blocks a file system counts as nearly full. */
#define KAIO_FULL_PART	64

/*
 * Returns whether the file system has so few free blocks that a write may have to look for
 * them. The question sums up counters of all CPUs, so it is asked once in a jiffy.
 */
static bool kaio_is_nearly_full(struct file *file, const struct inode *data)
{
	const u32 hash = hash_ptr(data->i_sb, 31);
	const u64 key = (u64)hash << 33 | (u64)(u32)jiffies << 1;
	u64 *entry = &kaio_full[hash % ARRAY_SIZE(kaio_full)], found = READ_ONCE(*entry);
	struct kstatfs stat = {};
	bool is_full;

	if ((found & ~1ULL) == key)
		return found & 1;
	is_full = vfs_statfs(&file->f_path, &stat) || stat.f_bfree < stat.f_blocks / KAIO_FULL_PART;
	WRITE_ONCE(*entry, key | is_full);
	return is_full;
}

/* Returns whether a write to this file waits for no lock and no other task. */
static bool kaio_inode_can_be_written(const struct inode *inode, const struct inode *data)
{
	return !inode_is_locked((struct inode *)inode) && !inode_is_locked((struct inode *)data) &&
	       !atomic_read(&data->i_dio_count) && !IS_SYNC(data) &&
	       data->i_sb->s_writers.frozen == SB_UNFROZEN;
}

/* Returns whether the write needs nothing but memory. */
static bool kaio_write_is_quick(const struct kaio_in_memory *m)
{
	struct inode *data = m->data;

	if (!kaio_inode_can_be_written(file_inode(m->file), data))
		return false;
	if (!kaio_is_tmpfs(data)) {
		/*
		 * The first write looks for extended attributes, which may be in a block of
		 * their own. A write behind the end fills the last page with zeros.
		 */
		if ((!IS_NOSEC(data) && data->i_blocks) || m->pos > i_size_read(data))
			return false;
		if (kaio_must_note_time(m->file, data, true) ||
		    kaio_is_nearly_full(m->file, data))
			return false;
	}
	return kaio_pages_are_ready(m, true) && !kaio_is_throttled(data->i_mapping);
}

static ssize_t kaio_write_in_memory(struct kiocb *iocb, struct iov_iter *iter)
{
	struct super_block *sb = file_inode(iocb->ki_filp)->i_sb;
	const int pause = current->nr_dirtied_pause;
	ssize_t ret;

	if (!sb_start_write_trylock(sb))
		return -EAGAIN;
	/* kaio_is_throttled() has asked for this write, too. */
	current->nr_dirtied_pause = INT_MAX;
	iocb->ki_flags |= IOCB_WRITE;
	ret = iocb->ki_filp->f_op->write_iter(iocb, iter);
	current->nr_dirtied_pause = pause;
	sb_end_write(sb);
	return ret;
}

/*
 * Makes a transfer without a request, if it needs nothing but memory: the transfer is over
 * when this function returns. Returns -EAGAIN if the transfer may have to wait, and
 * -EOPNOTSUPP if a request must make it, because it is refused or is to be synchronous.
 */
ssize_t kaio_transfer_in_memory(struct file *file, unsigned long addr, size_t len, loff_t pos,
				bool write)
{
	struct kiocb iocb = {
		.ki_filp	= file,
		.ki_pos		= pos,
		.ki_flags	= file->f_iocb_flags,
	};
	struct kaio_in_memory m = { .file = file, .data = kaio_data_inode(file), .pos = pos };
	const struct kaio_watch watch = kaio_watch_sleeps();
	struct iov_iter iter;
	ssize_t ret;

	if ((iocb.ki_flags & (IOCB_DIRECT | IOCB_DSYNC | IOCB_SYNC)) ||
	    import_ubuf(write ? ITER_SOURCE : ITER_DEST, (void __user *)addr, len, &iter))
		return -EOPNOTSUPP;
	m.len = iov_iter_count(&iter);
	/* The request repeats the check, and reports what is wrong. */
	if (!m.len || rw_verify_area(write ? WRITE : READ, file, &pos, m.len))
		return -EOPNOTSUPP;
	if (!write) {
		if (kaio_must_note_time(file, m.data, false) || !kaio_pages_are_ready(&m, false))
			return -EAGAIN;
		/* overlayfs passes the flag on. tmpfs does not look at it. */
		if (!kaio_is_tmpfs(m.data))
			iocb.ki_flags |= IOCB_NOWAIT;
		ret = file->f_op->read_iter(&iocb, &iter);
		/* The file below an overlayfs may not know the flag. */
		if (ret == -EOPNOTSUPP)
			ret = -EAGAIN;
	} else {
		if (iocb.ki_flags & IOCB_APPEND)
			m.pos = i_size_read(m.data);
		/* A write holds locks while it reads the caller's memory. */
		if (!kaio_iter_is_present(&iter) || !kaio_write_is_quick(&m))
			return -EAGAIN;
		ret = kaio_write_in_memory(&iocb, &iter);
	}
	kaio_note_if_slept(&watch, file);
	return ret;
}
