// SPDX-License-Identifier: GPL-2.0
/* Tells which files only the submitter itself may read and write, and no kworker. */
#include <linux/audit.h>
#include <linux/backing-dev.h>
#include <linux/fs.h>
#include <linux/kallsyms.h>
#include <linux/magic.h>
#include <linux/major.h>
#include <linux/miscdevice.h>
#include <linux/sched/signal.h>
#include <net/sock.h>

#include "shim.h"

/*
 * Returns whether this is an inotify file or an eventfd. The read and write methods of
 * these files do not look at their caller, so a kworker that acts for the submitter can
 * call them even if the file has no read_iter or write_iter. (The kernel's own AIO does
 * not read or write files without these methods at all. A kworker cannot do so for any
 * other such file: fanotify installs descriptors, and input devices ask whether the caller
 * is a 32-bit task.)
 */
bool kaio_file_is_plain(struct file *file)
{
	return kaio_file_is_anon(file, "inotify") || kaio_file_is_anon(file, "[eventfd]");
}

/*
 * A kworker that acts for a task has the memory, the credentials and the cgroups of that
 * task, but not its namespaces, its signals or its pid. If a read or write looks at one of
 * those, the task itself must do it, in the submit call. kaio cannot tell from a file
 * whether its methods look at their caller. So this is a list of files whose methods do
 * not, and every other file is task-bound. What an entry says of reads also holds for
 * writes.
 *
 *  regular files
 *	On a file system with a device or server behind it (with a bdi of its own), the open
 *	file and its credentials decide what may be read. So they do for each file with
 *	FMODE_NOWAIT, and kaio does not look at the file system of such a file. Three things
 *	are the kworker's then, and not the submitter's (README): FUSE and Coda tell their
 *	daemon its pid; NFSv4 (by current->files), SMB (by its tgid) and FUSE with direct I/O
 *	(by current->files) tell by it whose byte-range locks cover the read.
 *	tmpfs and ramfs are memory. For overlayfs the answer is that of the file below.
 *	Files of FunctionFS and gadgetfs are end points of a USB device.
 *  block devices
 *	A read depends on the device alone.
 *  pipes, FIFOs
 *	They are memory. kaio itself sends SIGPIPE to the process.
 *  eventfd, timerfd, inotify
 *	They are a number, a number and a queue. (A timer got its clock when it was made.)
 *  AF_UNIX
 *	A write appends to a queue of the other socket. The write does look at its caller if
 *	either end asked for SO_PASSCRED or SO_PASSPIDFD: a message that waited for room
 *	carries the submitter's uid and gid, but the pid (or pidfd) of a kernel thread
 *	(README). The family is on the list all the same, because a write that only the
 *	submitter may do cannot wait.
 *  AF_INET, AF_INET6 (TCP, UDP, raw, ping, SCTP, MPTCP)
 *	The socket got its network namespace, and the permission for what it does, when it
 *	was made.
 *  AF_PACKET, AF_VSOCK
 *	The socket got its namespace when it was made. Neither family looks at its caller
 *	when it sends or receives.
 *  /dev/null, zero, full, random, urandom
 *	There is nothing to look at.
 *  terminals
 *	They are a queue. Job control does not stop a kworker (README). If the kernel records
 *	what a task reads (pam_tty_audit), only that task may read: kaio_reads_are_audited().
 *  /dev/net/tun, /dev/fuse
 *	An ioctl or a mount bound the open file to its interface or connection before.
 *  files of drivers that registered with kaio
 *	Their drivers say that the methods do not look at their caller.
 *
 * These files are not on the list, for what a kworker would do there:
 *
 *  procfs, sysfs, cgroupfs and other file systems that nothing backs
 *	Their files show, and change, properties of the caller.
 *  signalfd, userfaultfd, other anonymous files
 *	They give the caller's signals, install descriptors for the caller, or have not been
 *	examined.
 *  AF_NETLINK
 *	A write runs the kernel's handler within the call, and the handler looks for pids and
 *	descriptors of the caller. A read continues a dump, that is, it runs more of the
 *	handler.
 *  AF_ALG
 *	A write runs an algorithm, of any module.
 *  other families
 *	They have not been examined. Bluetooth's control socket, for one, notes its caller.
 *  /dev/cuse, and other character devices
 *	A write to /dev/cuse makes a device. Any driver may look at its caller.
 *
 * Kworkers poll every file for POLL, as those of the kernel's own AIO do, and sync every
 * file for FSYNC: neither request gives the caller anything, or takes anything from it.
 */
static bool kaio_inode_is_task_bound(const struct inode *inode)
{
	switch (inode->i_sb->s_magic) {
	case TMPFS_MAGIC:
	case RAMFS_MAGIC:
	case 0xa647361:	/* FunctionFS; the name of this number is in a C file only */
	case 0xaee71ee7: /* gadgetfs; the name of this number is in a C file only */
		return false;
	default:
		return inode->i_sb->s_bdi == &noop_backing_dev_info;
	}
}

static bool kaio_regular_is_task_bound(struct file *file)
{
	const struct inode *inode = file_inode(file);

	if (file->f_mode & FMODE_NOWAIT)
		return false;
	if (inode->i_sb->s_magic == OVERLAYFS_SUPER_MAGIC)
		inode = d_real_inode(file->f_path.dentry);
	return !inode || kaio_inode_is_task_bound(inode);
}

/*
 * Returns whether the function at this address has this name. If it is in a module, the
 * module's name follows in brackets. Functions that the kernel does not export are
 * recognized by this, and from the second time on by the address, which is kept in @known.
 * Without kallsyms no function is recognized.
 */
bool kaio_is_symbol(const void *address, const char *name, const void **known)
{
	char found[KSYM_SYMBOL_LEN];

	if (!address || address == READ_ONCE(*known))
		return address != NULL;
	sprint_symbol_no_offset(found, (unsigned long)address);
	if (strcmp(found, name))
		return false;
	WRITE_ONCE(*known, address);
	return true;
}

/*
 * Returns whether the file has the read_iter of terminals, which all terminals have in
 * common, whatever their file_operations are.
 */
static bool kaio_reads_as_terminal(const struct file *file)
{
	static const void *known;

	return kaio_is_symbol(file->f_op->read_iter, "tty_read", &known);
}

/*
 * Returns whether this is the master side of a pseudoterminal. The master side shows what
 * the terminal displays, so what a program reads there was not typed.
 */
static bool kaio_is_terminal_master(const struct inode *inode)
{
	switch (imajor(inode)) {
	case TTYAUX_MAJOR:
		return iminor(inode) == 2; /* ptmx */
	case PTY_MASTER_MAJOR:
	case UNIX98_PTY_MASTER_MAJOR ... UNIX98_PTY_MASTER_MAJOR + UNIX98_PTY_MAJOR_COUNT - 1:
		return true;
	default:
		return false;
	}
}

static bool kaio_is_terminal(const struct file *file)
{
	const struct inode *inode = file_inode(file);

	switch (imajor(inode)) {
	case TTY_MAJOR:
	case TTYAUX_MAJOR:
	case PTY_SLAVE_MAJOR:
	case UNIX98_PTY_SLAVE_MAJOR ... UNIX98_PTY_SLAVE_MAJOR + UNIX98_PTY_MAJOR_COUNT - 1:
	case 166:	/* ttyACM */
	case 188:	/* ttyUSB */
	case 204:	/* ttyAMA and others, low-density serial ports */
	case 207:	/* ttymxc and others */
	case 216:	/* rfcomm */
	case 229:	/* hvc */
		return true;
	default:
		return kaio_is_terminal_master(inode) || kaio_reads_as_terminal(file);
	}
}

/*
 * Returns whether the kernel records what the current task reads from this file.
 * tty_audit_add_data() records a read for the task that does it, so a kworker must not do
 * the submitter's read.
 */
bool kaio_reads_are_audited(const struct file *file)
{
	unsigned int audited = 0;

#ifdef CONFIG_AUDIT
	audited = READ_ONCE(current->signal->audit_tty);
#endif
	return audited & AUDIT_TTY_ENABLE && !kaio_is_terminal_master(file_inode(file)) &&
	       kaio_is_terminal(file);
}

static bool kaio_character_is_task_bound(const struct file *file)
{
	const struct inode *inode = file_inode(file);

	switch (imajor(inode)) {
	case MEM_MAJOR:
		switch (iminor(inode)) {
		case 3:	/* null */
		case 5:	/* zero */
		case 7:	/* full */
		case 8:	/* random */
		case 9:	/* urandom */
			return false;
		}
		return true;
	case MISC_MAJOR:
		return iminor(inode) != TUN_MINOR && iminor(inode) != FUSE_MINOR;
	default:
		return !kaio_is_terminal(file);
	}
}

static bool kaio_socket_is_task_bound(struct file *file)
{
	const struct sock *sk = kaio_sock(file);

	switch (sk ? READ_ONCE(sk->sk_family) : AF_UNSPEC) {
	case AF_UNIX:
	case AF_INET:
	case AF_INET6:
	case AF_PACKET:
	case AF_VSOCK:
		return false;
	default:
		return true;
	}
}

bool kaio_file_is_task_bound(struct file *file)
{
	const struct inode *inode = file_inode(file);
	bool is_task_bound;

	switch (inode->i_mode & S_IFMT) {
	case S_IFREG:
		is_task_bound = kaio_regular_is_task_bound(file);
		break;
	case S_IFBLK:
	case S_IFIFO:
		is_task_bound = false;
		break;
	case S_IFSOCK:
		is_task_bound = kaio_socket_is_task_bound(file);
		break;
	case S_IFCHR:
		is_task_bound = kaio_character_is_task_bound(file);
		break;
	default:
		is_task_bound = !(kaio_file_is_plain(file) || kaio_file_is_anon(file, "[timerfd]"));
	}
	return is_task_bound && !kaio_provider_vouches(file);
}
