// SPDX-License-Identifier: GPL-2.0
/* Tells what a file can do, and takes and puts references to files. */
#include <linux/blk-mq.h>
#include <linux/blkdev.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <linux/percpu-refcount.h>
#include <linux/rcupdate.h>
#include <net/inet_connection_sock.h>
#include <net/sock.h>

#include "shim.h"

/*
 * Returns whether the methods of the socket may wait for a mutex in spite of MSG_DONTWAIT.
 * Kernel TLS and KCM hold a mutex while they wait, and take it before they look at the flag.
 */
static bool kaio_socket_has_mutex(struct file *file)
{
	const struct sock *sk = kaio_sock(file);

	if (!sk)
		return false;
#ifdef CONFIG_INET
	if (sk_is_inet(sk) && inet_csk_has_ulp(sk))
		return true;
#endif
	return sk->sk_family == AF_KCM;
}

/* Returns whether sk_stream_error() or unix_stream_sendmsg() may raise SIGPIPE. */
static bool kaio_socket_raises_sigpipe(struct file *file)
{
	const struct sock *sk = kaio_sock(file);

	return sk && sk->sk_type == SOCK_STREAM && (sk->sk_family == AF_UNIX || sk_is_inet(sk));
}

/*
 * Returns the traits for which only files are examined that are neither regular files nor
 * block devices. Most requests are about regular files, and do without this call.
 */
static u32 kaio_special_traits(struct file *file, umode_t type)
{
	u32 traits = 0;

	if (S_ISCHR(type)) {
		traits |= KAIO_FILE_CHAR;
		/*
		 * The current task is the submitter, since only the submit call
		 * gets here.
		 */
		if (kaio_reads_are_audited(file))
			traits |= KAIO_FILE_AUDITED;
	}
	if (S_ISFIFO(type))
		traits |= KAIO_FILE_FIFO;
	if (S_ISFIFO(type) || kaio_socket_raises_sigpipe(file))
		traits |= KAIO_FILE_SIGPIPE;
	if ((file->f_mode & FMODE_NOWAIT) && !kaio_socket_has_mutex(file))
		traits |= KAIO_FILE_NOWAIT;
	if (file->f_op->read && kaio_file_is_plain(file))
		traits |= KAIO_FILE_HAS_READ;
	if (file->f_op->write && kaio_file_is_plain(file))
		traits |= KAIO_FILE_HAS_WRITE;
	return traits;
}

u32 kaio_file_traits(struct file *file)
{
	const struct file_operations *fop = file->f_op;
	const umode_t type = file_inode(file)->i_mode;
	u32 traits = 0;

	if (file->f_mode & FMODE_READ)
		traits |= KAIO_FILE_READ;
	if (file->f_mode & FMODE_WRITE)
		traits |= KAIO_FILE_WRITE;
	traits |= fop->read_iter ? KAIO_FILE_HAS_READ : KAIO_FILE_PLAIN_READ;
	traits |= fop->write_iter ? KAIO_FILE_HAS_WRITE : KAIO_FILE_PLAIN_WRITE;
	if (fop->fsync)
		traits |= KAIO_FILE_HAS_FSYNC;
	if (fop->poll)
		traits |= KAIO_FILE_POLL;
	if (file_inode(file)->i_sb->s_magic == FUSE_SUPER_MAGIC)
		traits |= KAIO_FILE_ASKS;
	if (file->f_flags & O_NONBLOCK)
		traits |= KAIO_FILE_NONBLOCK;
	if (kaio_is_disk(type)) {
		traits |= KAIO_FILE_DISK;
		if (S_ISREG(type))
			traits |= KAIO_FILE_REGULAR;
		traits |= kaio_trust(file);
		/* The request must ask for a permission event, and only once. */
		if ((traits & KAIO_FILE_TRY_READ) && kaio_reads_pages(file, file->f_iocb_flags) &&
		    !FMODE_FSNOTIFY_HSM(file->f_mode))
			traits |= KAIO_FILE_PAGES;
		/* Most files are O_DIRECT, or are read only and have that trait. */
		if (S_ISREG(type) && !(file->f_iocb_flags & IOCB_DIRECT) &&
		    ((file->f_mode & FMODE_WRITE) || !(traits & KAIO_FILE_PAGES)))
			traits |= kaio_trust_in_memory(file);
		if (file->f_mode & FMODE_NOWAIT)
			return traits | KAIO_FILE_NOWAIT;
	} else {
		traits |= kaio_special_traits(file, type);
	}
	if (kaio_file_is_task_bound(file))
		traits |= KAIO_FILE_OF_TASK;
	if (kaio_file_is_anon(file, "[signalfd]"))
		traits |= KAIO_FILE_SIGNALS;
	return traits;
}

/*
 * Returns the file of the descriptor, and in @word what kaio_fdput() takes. Returns NULL if
 * there is no such descriptor.
 */
struct file *kaio_fdget(unsigned int fd, unsigned long *word)
{
	struct fd f = fdget(fd);

	*word = f.word;
	return fd_file(f);
}

void kaio_fdput(unsigned long word)
{
	fdput((struct fd) { .word = word });
}

unsigned long kaio_file_identity(struct file *file)
{
	return (unsigned long)file_inode(file);
}

bool kaio_at_eof(struct file *file, loff_t pos)
{
	return pos >= i_size_read(file->f_mapping->host);
}

/*
 * Returns how many requests from one CPU the device below the file can have in flight at
 * once; each CPU uses one of the device's queues. Returns U32_MAX if that is not known.
 */
u32 kaio_file_tags(struct file *file)
{
	struct inode *inode = file->f_mapping->host;
	struct block_device *bdev;
	struct request_queue *q;
	u32 tags = U32_MAX;

	/*
	 * A file system of several devices may give this device up at any moment. What
	 * is left of a block device, its disk and its queue is freed after a grace period.
	 */
	guard(rcu)();
	bdev = S_ISBLK(inode->i_mode) ? I_BDEV(inode) : READ_ONCE(inode->i_sb->s_bdev);
	q = bdev ? bdev_get_queue(bdev) : NULL;
	/* The driver frees its tag set once the disk is dead and its queue has drained. */
	if (!q || !percpu_ref_tryget_live(&q->q_usage_counter))
		return tags;
	if (queue_is_mq(q) && !test_bit(GD_DEAD, &bdev->bd_disk->state))
		tags = READ_ONCE(q->tag_set->queue_depth);
	percpu_ref_put(&q->q_usage_counter);
	return tags;
}

bool kaio_file_is_last(struct file *file)
{
	return file_count(file) == 1;
}

/*
 * Puts a reference, and closes the file at once if it was the last one. In a kworker fput()
 * would close the file a jiffy later. But programs expect the file to be closed once they
 * have the event (exec, umount).
 */
void kaio_fput_now(struct file *file)
{
	__fput_sync(file);
}
