/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Declares what the files of this folder share among themselves. bindgen does not read this
 * header, but kaio_shim.h, so Rust does not see these names.
 */
#ifndef KAIO_SHIM_PRIVATE_H
#define KAIO_SHIM_PRIVATE_H

#include <linux/fs.h>
#include <linux/jiffies.h>
#include <linux/magic.h>
#include <linux/net.h>
#include <linux/sched.h>
#include <linux/string.h>

#include "kaio_shim.h"

static inline bool kaio_file_is_anon_named(struct file *file, const char *name, size_t len)
{
	const struct qstr *its = &file->f_path.dentry->d_name;

	return file_inode(file)->i_sb->s_magic == ANON_INODE_FS_MAGIC && its->len == len &&
	       !memcmp(its->name, name, len);
}

/* Returns whether this is an anonymous file with this name, which must be a literal. */
#define kaio_file_is_anon(file, name) kaio_file_is_anon_named(file, name, sizeof(name) - 1)

static inline const struct sock *kaio_sock(struct file *file)
{
	const struct socket *sock = sock_from_file(file);

	return sock ? sock->sk : NULL;
}

/* Returns whether a file of this mode is a regular file or a block device. */
static inline bool kaio_is_disk(umode_t mode)
{
	return S_ISREG(mode) || S_ISBLK(mode);
}

/*
 * Returns whether a cold read with these ki_flags can return at once and continue when its
 * page is unlocked. A file system that can do so also tells what is in memory without
 * touching a disk (IOCB_NOIO).
 */
static inline bool kaio_reads_pages(const struct file *file, int flags)
{
	return (file->f_mode & FMODE_NOWAIT) && (file->f_op->fop_flags & FOP_BUFFER_RASYNC) &&
	       !(flags & IOCB_DIRECT);
}

/* task_bound.c */
bool kaio_file_is_plain(struct file *file);
bool kaio_reads_are_audited(const struct file *file);
bool kaio_file_is_task_bound(struct file *file);
bool kaio_is_symbol(const void *address, const char *name, const void **known);

/* iocb.c */
ssize_t kaio_no_restart(ssize_t ret);

/* trust.c */
#define KAIO_FILE_TRY	(KAIO_FILE_TRY_READ | KAIO_FILE_TRY_WRITE)
extern bool kaio_has_doubted;
u32 kaio_trust_by_state(const struct file *file);
bool kaio_is_doubtful(const struct inode *inode);
bool kaio_must_note_time(const struct file *file, const struct inode *inode, bool write);
void kaio_note_sleep(const struct file *file, unsigned long start);

/* Remembers when an attempt began, and how often its task had slept before. */
struct kaio_watch {
	unsigned long sleeps;
	unsigned long start;
};

static inline struct kaio_watch kaio_watch_sleeps(void)
{
	return (struct kaio_watch) { .sleeps = current->nvcsw, .start = jiffies };
}

/* Leaves the file to workers for a while if the task has slept in the attempt. */
static inline void kaio_note_if_slept(const struct kaio_watch *watch, const struct file *file)
{
	if (unlikely(current->nvcsw != watch->sleeps))
		kaio_note_sleep(file, watch->start);
}

/* Returns what kaio_trust_by_state() does, most often without that call. */
static inline u32 kaio_trust(const struct file *file)
{
	const struct inode *inode = file_inode(file);

	/* Most reads are about such files, which need no other test. */
	if ((file->f_mode & FMODE_NOWAIT) && !(file->f_iocb_flags & IOCB_DIRECT) &&
	    inode->i_sb->s_magic == EXT4_SUPER_MAGIC && !IS_DAX(inode) &&
	    !READ_ONCE(kaio_has_doubted))
		return KAIO_FILE_TRY;
	return kaio_trust_by_state(file);
}

/* memory.c */
u32 kaio_trust_in_memory(const struct file *file);

/* kaio_provider.c */
bool kaio_provider_vouches(const struct file *file);

/* task.c */
void kaio_signal_owner(int sig);

#endif /* KAIO_SHIM_PRIVATE_H */
