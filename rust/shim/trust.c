// SPDX-License-Identifier: GPL-2.0
/* Tells which reads and writes the submit call may try, because they do not wait then. */
#include <linux/fs.h>
#include <linux/hash.h>
#include <linux/iversion.h>
#include <linux/jiffies.h>
#include <linux/log2.h>
#include <linux/magic.h>
#include <linux/mount.h>

#include "shim.h"

/*
 * Returns which transfers the submit call may try, as far as that depends on the type of
 * the file.
 *
 * FMODE_NOWAIT says that the methods of a file accept IOCB_NOWAIT. The flag does not say
 * that the methods then never wait. The list below names the files whose methods do not,
 * as read in the source of the file systems (7.2 and 7.3) and measured by
 * selftests/programs/submit_sleeps_test.sh. If a transfer is not on the list, a worker
 * does it, and the submit call does not try.
 *
 *  block devices
 *	All transfers: the kernel passes REQ_NOWAIT to the device. A buffered write is refused
 *	at once. A buffered read takes a lock (kaio_device_is_locked()).
 *  ext4
 *	All transfers: ext4 only tries its locks, and refuses a write that allocates, extends
 *	the file or is buffered. (If extents are not in memory, ext4 reads them from the
 *	disk: kaio_note_sleep().)
 *  xfs
 *	All transfers: xfs only tries its locks, and refuses a transfer whose extents are not
 *	in memory and a write that allocates. A buffered write reserves its space and takes
 *	only free memory. (On a full file system it first writes out what other tasks wrote:
 *	kaio_note_sleep().)
 *  btrfs
 *	Buffered reads: btrfs copies what is in the page cache. A direct read or write takes
 *	the inode's lock whatever the flags say, and reads the tree of extents from the disk.
 *	A buffered write waits for its page and for ordered extents.
 *  f2fs
 *	Buffered reads: f2fs copies what is in the page cache. Every other transfer reads the
 *	blocks that hold a file's nodes from the disk.
 *  files of a file system that no user can mount
 *	All transfers: a driver made these files for itself, and set FMODE_NOWAIT for each of
 *	them. (None of the kernel's own such files has the flag, memfd included.)
 *
 * These set FMODE_NOWAIT, and are not on the list:
 *
 *  ntfs
 *	Reads take the inode's lock, and writes expand the file, whatever the flags say.
 *  ntfs3
 *	Direct reads first allocate what was written before.
 *  nfs
 *	Buffered reads are always refused. Direct reads ask for a layout and wait for it.
 *  ocfs2
 *	Transfers ask other machines for locks.
 *  zonefs
 *	It has not been examined. Nor has any file system outside the kernel's source.
 *  files with DAX
 *	The data are memory, but the search for extents may read them from the disk.
 */
static u32 kaio_trust_by_type(const struct inode *inode, bool direct)
{
	if (S_ISBLK(inode->i_mode))
		return KAIO_FILE_TRY;
	if (IS_DAX(inode))
		return 0;
	switch (inode->i_sb->s_magic) {
	case EXT4_SUPER_MAGIC:
	case XFS_SUPER_MAGIC:
		return KAIO_FILE_TRY;
	case BTRFS_SUPER_MAGIC:
	case F2FS_SUPER_MAGIC:
		return direct ? 0 : KAIO_FILE_TRY_READ;
	default:
		return inode->i_sb->s_flags & SB_NOUSER ? KAIO_FILE_TRY : 0;
	}
}

/*
 * Returns whether a read or write must update the times of the file, and the file system
 * takes locks for that whatever the flags say. @inode has the times: it is that of the file,
 * or with overlayfs that of the file below.
 *
 * xfs and btrfs take locks for reads (file_accessed()), by a method of their own. They wait
 * for space in their log, or for a transaction, and xfs waits for its lock of the inode.
 * ext4 takes locks for direct writes on Linux 7.2. Where the update of a write looks at the
 * flags, the write would be refused. A read of ext4 joins the running transaction, and
 * seldom has to wait for it: kaio_note_sleep().
 *
 * The tests are those of atime_needs_update() and need_cmtime_update(), which the kernel
 * does not export. The times of a file change with the clock's ticks, so that of many reads
 * or writes within a tick only the first must update them.
 */
bool kaio_must_note_time(const struct file *file, const struct inode *inode, bool write)
{
	const struct super_block *sb = inode->i_sb;
	const struct vfsmount *mnt = file->f_path.mnt;
	struct timespec64 atime, mtime, ctime, now;

	if ((sb->s_flags & SB_LAZYTIME) ||
	    !(inode->i_op->update_time || (write && sb->s_op->dirty_inode)))
		return false;
	mtime = inode_get_mtime(inode);
	ctime = inode_get_ctime(inode);
	if (write) {
		if (IS_NOCMTIME(inode))
			return false;
	} else {
		if ((file->f_flags & O_NOATIME) || IS_NOATIME(inode) ||
		    (mnt->mnt_flags & MNT_NOATIME))
			return false;
		atime = inode_get_atime(inode);
		if ((mnt->mnt_flags & MNT_RELATIME) && timespec64_compare(&mtime, &atime) < 0 &&
		    timespec64_compare(&ctime, &atime) < 0 &&
		    ktime_get_real_seconds() - atime.tv_sec < 24 * 60 * 60)
			return false;
	}
	/* If a task has looked at the times meanwhile, the kernel takes a finer clock. */
	now = current_time((struct inode *)inode);
	if (!write)
		return !timespec64_equal(&now, &atime);
	return !timespec64_equal(&now, &mtime) || !timespec64_equal(&now, &ctime) ||
	       (IS_I_VERSION(inode) && inode_iversion_need_inc((struct inode *)inode));
}

/*
 * Each entry is for the inodes that have one hash. The submit call does not try
 * their files until the time in jiffies that the entry holds, because an attempt on one of
 * them slept; 0 means that it may try. If a CPU reads an old value, that costs one more
 * sleep, or one attempt less.
 */
static unsigned long kaio_doubts[64];
/* Any attempt has slept since the module was loaded. */
bool kaio_has_doubted;

/* A new inode often has the address of one that has just gone, but seldom its number, too. */
static unsigned long *kaio_doubt(const struct inode *inode)
{
	const unsigned long key = (unsigned long)inode + inode->i_ino;

	return &kaio_doubts[hash_long(key, ilog2(ARRAY_SIZE(kaio_doubts)))];
}

bool kaio_is_doubtful(const struct inode *inode)
{
	unsigned long *doubt, until;

	if (likely(!READ_ONCE(kaio_has_doubted)))
		return false;
	doubt = kaio_doubt(inode);
	until = READ_ONCE(*doubt);
	if (!until)
		return false;
	if (time_before(jiffies, until))
		return true;
	WRITE_ONCE(*doubt, 0);
	return false;
}

/* Attempts on a file may sleep for a hundredth of the time at most. */
#define KAIO_DOUBT_FACTOR	100UL
#define KAIO_DOUBT_MAX		(10UL * HZ)

/*
 * Leaves the file to workers for a while, because an attempt that must not wait has slept
 * since @start. With PREEMPT_RT, waiting for a spinlock is a sleep, too, but a short one.
 */
void kaio_note_sleep(const struct file *file, unsigned long start)
{
	const struct inode *inode = file_inode(file);
	const unsigned long now = jiffies;
	unsigned long slept = now - start;

	if (!kaio_is_disk(inode->i_mode))
		return;
	if (IS_ENABLED(CONFIG_PREEMPT_RT) && !slept)
		return;
	slept = clamp(slept, 1UL, KAIO_DOUBT_MAX / KAIO_DOUBT_FACTOR);
	WRITE_ONCE(*kaio_doubt(inode), (now + slept * KAIO_DOUBT_FACTOR) ?: 1);
	WRITE_ONCE(kaio_has_doubted, true);
}

/*
 * Returns whether a buffered read of the block device would wait for the lock of the
 * device's inode. The read takes that lock whatever the flags say, and a task that discards
 * or zeroes the device holds the lock until it is done. If a task takes the lock right
 * after this test, the read waits, and kaio_note_sleep() notices.
 */
static bool kaio_device_is_locked(const struct file *file)
{
	struct inode *inode = file->f_mapping->host;

	if (!inode_trylock_shared(inode))
		return true;
	inode_unlock_shared(inode);
	return false;
}

/*
 * Returns which transfers of a regular file or block device the submit call may try now.
 * The first direct transfer on a file system makes a workqueue, and a thread for it, which
 * serves the completions of all direct transfers; so a worker does the first one. A
 * buffered write that is refused at once does not update the times of the file.
 */
u32 kaio_trust_by_state(const struct file *file)
{
	const struct inode *inode = file_inode(file);
	const bool direct = file->f_iocb_flags & IOCB_DIRECT;
	u32 traits;

	if (!(file->f_mode & FMODE_NOWAIT) || kaio_is_doubtful(inode))
		return 0;
	traits = kaio_trust_by_type(inode, direct);
	if (S_ISREG(inode->i_mode)) {
		if (direct && !READ_ONCE(inode->i_sb->s_dio_done_wq) &&
		    !(inode->i_sb->s_flags & SB_NOUSER))
			return 0;
	} else if (!direct && kaio_device_is_locked(file)) {
		traits &= ~KAIO_FILE_TRY_READ;
	}
	if ((file->f_mode & FMODE_READ) && kaio_must_note_time(file, inode, false))
		traits &= ~KAIO_FILE_TRY_READ;
	if ((file->f_mode & FMODE_WRITE) &&
	    (direct || (file->f_op->fop_flags & FOP_BUFFER_WASYNC)) &&
	    kaio_must_note_time(file, inode, true))
		traits &= ~KAIO_FILE_TRY_WRITE;
	return traits;
}
