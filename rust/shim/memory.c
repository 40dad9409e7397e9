// SPDX-License-Identifier: GPL-2.0
/*
 * Reads and writes regular files whose data are in memory, in the submit call, with methods
 * that do not know IOCB_NOWAIT, or refuse it.
 *
 * Such a method waits for a lock, for a page, for space or for the disk if it must. So the
 * submit call first looks at what such a transfer mostly waits for, and leaves the transfer
 * to a worker if it would have to wait. Another task can change what was found, in the
 * moment before the method gets there, and a few things cannot be seen from outside:
 * whether ext4 knows the blocks of a page without reading the disk or keeps the data in the
 * inode, whether there is memory for a new page, and whether the file system below an
 * overlayfs is about to be frozen. If the attempt sleeps for one of these, kaio_note_sleep() leaves
 * the file to workers for a while.
 */
#include <linux/backing-dev.h>
#include <linux/fs.h>
#include <linux/fsnotify.h>
#include <linux/hash.h>
#include <linux/jiffies.h>
#include <linux/log2.h>
#include <linux/magic.h>
#include <linux/mmzone.h>
#include <linux/pagemap.h>
#include <linux/statfs.h>
#include <linux/uio.h>
#include <linux/vmstat.h>
#include <linux/writeback.h>

#include "shim.h"

/* A transfer that is to be made in memory, and the inode whose page cache has its data. */
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
 * Returns whether the file system reserves blocks when it is written to, and allocates them
 * when it writes the pages out (delalloc). Otherwise each write begins a transaction.
 */
static bool kaio_allocates_late(const struct inode *data)
{
	static const void *late, *other;
	const void *method = data->i_mapping->a_ops->write_begin;

	if (method == READ_ONCE(other))
		return false;
	if (kaio_is_symbol(method, "ext4_da_write_begin", &late) ||
	    kaio_is_symbol(method, "ext4_da_write_begin [ext4]", &late))
		return true;
	WRITE_ONCE(other, method);
	return false;
}

/*
 * Returns which transfers of a regular file, which is not O_DIRECT, the submit call may make
 * if their data are in memory. The file systems were read in the source of 7.2 and 7.3.
 *
 *  tmpfs
 *	Reads and writes lock the page, and bring it back from swap if it is there.
 *  ext4
 *	Buffered writes only, if blocks are allocated late: for reads there is IOCB_NOWAIT.
 *	A write to a page in memory then needs the journal only for the times of the file.
 *  overlayfs
 *	It calls the method of the file below. Reads may be of any file whose page cache is
 *	the usual one, writes of one of the two above.
 *
 * The write of btrfs waits for earlier writes of the same range. xfs, btrfs and f2fs have
 * IOCB_NOWAIT for reads, and xfs has it for writes.
 */
u32 kaio_trust_in_memory(const struct file *file)
{
	const struct inode *inode = file_inode(file);
	struct inode *data;
	u32 traits = 0;

	if (FMODE_FSNOTIFY_HSM(file->f_mode))
		return 0;
	data = kaio_data_inode(file);
	if (IS_DAX(data) || !S_ISREG(data->i_mode))
		return 0;
	/*
	 * A listener on the file below an overlayfs may have to permit the transfer. If there
	 * are two overlayfs, the upper one does not pass IOCB_NOWAIT on.
	 */
	if (data != inode &&
	    (inode->i_sb->s_stack_depth > 1 ||
	     fsnotify_sb_has_priority_watchers(data->i_sb, FSNOTIFY_PRIO_CONTENT)))
		return 0;
	switch (data->i_sb->s_magic) {
	case TMPFS_MAGIC:
		traits = KAIO_FILE_MEMORY_READ;
		if (file->f_mode & FMODE_WRITE)
			traits |= KAIO_FILE_MEMORY_WRITE;
		break;
	case EXT4_SUPER_MAGIC:
		if ((file->f_mode & FMODE_WRITE) && kaio_allocates_late(data))
			traits = KAIO_FILE_MEMORY_WRITE;
		fallthrough;
	case XFS_SUPER_MAGIC:
	case BTRFS_SUPER_MAGIC:
	case F2FS_SUPER_MAGIC:
		if (data != inode)
			traits |= KAIO_FILE_MEMORY_READ;
		break;
	}
	return traits;
}

static bool kaio_is_tmpfs(const struct inode *inode)
{
	return inode->i_sb->s_magic == TMPFS_MAGIC;
}

/*
 * What is in a place of a page cache. A page can leave the page cache at any moment, and its
 * memory can be used for something else. So its flags are read once, and never with the
 * kernel's functions, which expect that the page stays.
 */
struct kaio_place {
	bool		absent;	/* nothing, or the value that tells when the page was evicted */
	bool		value;	/* the latter, or where tmpfs has put the page in swap */
	unsigned long	flags;
};

static struct kaio_place kaio_look_at(struct address_space *mapping, pgoff_t page)
{
	const struct folio *folio;

	/* The memory that describes pages never goes away, but a folio could be split. */
	guard(rcu)();
	folio = xa_load(&mapping->i_pages, page);
	if (!folio || xa_is_value(folio))
		return (struct kaio_place) { .absent = true, .value = folio };
	return (struct kaio_place) { .flags = READ_ONCE(folio->flags.f) };
}

static bool kaio_has(const struct kaio_place *place, enum pageflags flag)
{
	return place->flags & BIT(flag);
}

/*
 * Returns whether a task writes the file to the disk, or is about to. Such a task allocates
 * blocks, and keeps others from looking up blocks of the same file while it reads the disk.
 */
static bool kaio_is_written_out(struct inode *data)
{
	return (inode_state_read_once(data) & I_SYNC) ||
	       mapping_tagged(data->i_mapping, PAGECACHE_TAG_WRITEBACK) ||
	       mapping_tagged(data->i_mapping, PAGECACHE_TAG_TOWRITE);
}

/*
 * Returns whether a write to an absent page of a file of @size bytes needs nothing but
 * memory. The file system looks up the blocks of such a page. Behind the end there are none.
 * The file system knows this without the disk if the last page of the file is in memory.
 */
static bool kaio_page_can_be_added(struct inode *data, pgoff_t page, loff_t size)
{
	const pgoff_t first = DIV_ROUND_UP_ULL(size, PAGE_SIZE);

	return page >= first &&
	       (!first || !kaio_look_at(data->i_mapping, first - 1).absent) &&
	       !kaio_is_written_out(data);
}

/* Returns whether a write to this page needs nothing but memory. */
static bool kaio_page_can_be_written(struct inode *data, pgoff_t page, loff_t size)
{
	const struct kaio_place place = kaio_look_at(data->i_mapping, page);

	if (kaio_is_tmpfs(data))
		return place.absent ? !place.value : !kaio_has(&place, PG_locked);
	if (place.absent)
		return kaio_page_can_be_added(data, page, size);
	if (kaio_has(&place, PG_locked) || !kaio_has(&place, PG_uptodate) ||
	    (kaio_has(&place, PG_writeback) && mapping_stable_writes(data->i_mapping)))
		return false;
	/* The blocks of a dirty page have been looked up. */
	return kaio_has(&place, PG_dirty) || !kaio_is_written_out(data);
}

/* Returns whether a read of this page needs nothing but memory. */
static bool kaio_page_can_be_read(struct inode *data, pgoff_t page)
{
	const struct kaio_place place = kaio_look_at(data->i_mapping, page);

	if (kaio_is_tmpfs(data))
		return place.absent ? !place.value : !kaio_has(&place, PG_locked);
	/* A read of a page that has the mark of readahead begins to read ahead. */
	return !place.absent && kaio_has(&place, PG_uptodate) && !kaio_has(&place, PG_readahead);
}

/* Returns whether all pages of the transfer are such that it needs nothing but memory. */
static bool kaio_pages_are_ready(const struct kaio_in_memory *m, bool write)
{
	/* Unsigned, since the last page ends where loff_t does. */
	const u64 size = i_size_read(m->data), begin = m->pos;
	const u64 end = write ? begin + m->len : min(begin + m->len, size);
	pgoff_t page;

	for (page = begin >> PAGE_SHIFT; (u64)page << PAGE_SHIFT < end; page++)
		if (write ? !kaio_page_can_be_written(m->data, page, size) :
			    !kaio_page_can_be_read(m->data, page))
			return false;
	return true;
}

/*
 * Returns whether the kernel lets the current task make pages dirty without looking further:
 * there are few dirty pages, for the system, the cgroup and the disk (free run).
 */
static bool kaio_may_make_dirty(struct address_space *mapping)
{
	const int pause = current->nr_dirtied_pause;
	bool is_free;

	if (!mapping_can_writeback(mapping))
		return true;
	/* With 0 the kernel looks now, and not only after some more pages. */
	current->nr_dirtied_pause = 0;
	balance_dirty_pages_ratelimited_flags(mapping, BDP_ASYNC);
	/* Only in free run it begins to count anew, up to another number. */
	is_free = current->nr_dirtied_pause && !current->nr_dirtied;
	if (!is_free)
		current->nr_dirtied_pause = pause;
	return is_free;
}

/*
 * What was last found about some file systems: 31 bits of a hash of its address, 32 of the
 * time in jiffies, and whether it was nearly full.
 */
static u64 kaio_full[16];

/* A file system counts as nearly full if less than this part of it is free. */
#define KAIO_FULL_PART	64

static bool kaio_find_whether_full(const struct inode *data)
{
	struct super_block *sb = data->i_sb;
	struct kstatfs stat = {};
	u64 dirty;

	if (!sb->s_op->statfs || sb->s_op->statfs(sb->s_root, &stat) ||
	    stat.f_bavail < stat.f_blocks / KAIO_FULL_PART)
		return true;
	/* ext4 writes pages out, and waits for that, if they could need half of the rest. */
	dirty = (u64)global_node_page_state(NR_FILE_DIRTY) << PAGE_SHIFT;
	return stat.f_bfree * stat.f_bsize < 2 * dirty;
}

/*
 * Returns whether the file system has so few free blocks that a write may have to look for
 * them. The question sums up counters of all CPUs, so it is asked once in a jiffy.
 */
static bool kaio_is_nearly_full(const struct inode *data)
{
	const u32 hash = hash_ptr(data->i_sb, 31);
	const u32 now = jiffies;
	const u64 key = (u64)hash << 33 | (u64)now << 1;
	u64 *entry = &kaio_full[hash % ARRAY_SIZE(kaio_full)], found = READ_ONCE(*entry);

	if ((found & ~1ULL) != key) {
		found = key | kaio_find_whether_full(data);
		WRITE_ONCE(*entry, found);
	}
	return found & 1;
}

/* Returns whether a write to this file waits for no lock and no other task. */
static bool kaio_inode_can_be_written(struct inode *inode, struct inode *data)
{
	return !inode_is_locked(inode) && !inode_is_locked(data) &&
	       !atomic_read(&data->i_dio_count) && !IS_SYNC(data) &&
	       data->i_sb->s_writers.frozen == SB_UNFROZEN;
}

/*
 * Returns whether the first write since the inode came into memory is over. That one looks
 * for extended attributes, which may be in a block of their own if the file has any block.
 */
static bool kaio_has_no_privileges(const struct inode *inode, const struct inode *data)
{
	return (IS_NOSEC(data) || !data->i_blocks) && (inode == data || IS_NOSEC(inode));
}

/*
 * Returns whether the write makes the file longer within a block that is allocated: then
 * ext4 writes the new size to its journal.
 */
static bool kaio_extends_a_block(const struct kaio_in_memory *m)
{
	const u64 size = i_size_read(m->data), end = (u64)m->pos + m->len;
	const unsigned int bits = m->data->i_blkbits;

	return end > size && (size & (i_blocksize(m->data) - 1)) &&
	       (end - 1) >> bits == (size - 1) >> bits;
}

/* Returns whether the write needs nothing but memory. */
static bool kaio_write_is_quick(const struct kaio_in_memory *m)
{
	struct inode *inode = file_inode(m->file), *data = m->data;

	if (!kaio_inode_can_be_written(inode, data))
		return false;
	/* A write behind the end fills the last page with zeros. */
	if (!kaio_is_tmpfs(data) &&
	    (!kaio_has_no_privileges(inode, data) || m->pos > i_size_read(data) ||
	     kaio_extends_a_block(m) || kaio_must_note_time(m->file, data, true) ||
	     kaio_is_nearly_full(data)))
		return false;
	return kaio_pages_are_ready(m, true) && kaio_may_make_dirty(data->i_mapping);
}

static bool kaio_read_is_quick(const struct kaio_in_memory *m)
{
	return !kaio_must_note_time(m->file, m->data, false) && kaio_pages_are_ready(m, false);
}

static ssize_t kaio_write_in_memory(struct kiocb *iocb, struct iov_iter *iter)
{
	struct super_block *sb = file_inode(iocb->ki_filp)->i_sb;
	ssize_t ret;

	if (!sb_start_write_trylock(sb))
		return -EAGAIN;
	iocb->ki_flags |= IOCB_WRITE;
	ret = iocb->ki_filp->f_op->write_iter(iocb, iter);
	sb_end_write(sb);
	return ret;
}

static ssize_t kaio_read_in_memory(struct kiocb *iocb, struct iov_iter *iter, bool nowait)
{
	ssize_t ret;

	if (nowait)
		iocb->ki_flags |= IOCB_NOWAIT;
	ret = iocb->ki_filp->f_op->read_iter(iocb, iter);
	/* The file below an overlayfs may not know the flag. */
	return nowait && ret == -EOPNOTSUPP ? -EAGAIN : ret;
}

/*
 * Makes a transfer without a request, if it needs nothing but memory: the transfer is over
 * when this function returns. Returns -EAGAIN if the transfer may have to wait. Returns
 * -EOPNOTSUPP if a request must make it: its length is 0, it is refused, or the file is
 * O_DIRECT or synchronous by now.
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
	ssize_t ret = -EAGAIN;

	if ((iocb.ki_flags & (IOCB_DIRECT | IOCB_DSYNC | IOCB_SYNC)) ||
	    import_ubuf(write ? ITER_SOURCE : ITER_DEST, (void __user *)addr, len, &iter))
		return -EOPNOTSUPP;
	m.len = iov_iter_count(&iter);
	/* The request repeats the check, and reports what is wrong. */
	if (!m.len || rw_verify_area(write ? WRITE : READ, file, &pos, m.len))
		return -EOPNOTSUPP;
	/* An earlier transfer of this call may have slept. */
	if (kaio_is_doubtful(file_inode(file)))
		return -EAGAIN;
	if (write) {
		if (iocb.ki_flags & IOCB_APPEND)
			m.pos = i_size_read(m.data);
		/* A write holds locks while it reads the caller's memory. */
		if (kaio_iter_is_present(&iter) && kaio_write_is_quick(&m))
			ret = kaio_write_in_memory(&iocb, &iter);
	} else if (kaio_read_is_quick(&m)) {
		/* tmpfs does not know IOCB_NOWAIT, and overlayfs passes it on. */
		ret = kaio_read_in_memory(&iocb, &iter, !kaio_is_tmpfs(m.data));
	}
	kaio_note_if_slept(&watch, file);
	return kaio_no_restart(ret);
}
