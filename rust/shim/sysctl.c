// SPDX-License-Identifier: GPL-2.0
/* Holds the module parameters, and serves the sysctls. */
#include <linux/module.h>
#include <linux/sysctl.h>

#include "kaio_shim.h"

MODULE_VERSION("0.1.0");

static ushort mode = 0666;
module_param(mode, ushort, 0444);
MODULE_PARM_DESC(mode, "Access mode of /dev/kaio (default 0666)");

static unsigned long max_nr = 4UL << 20;
module_param(max_nr, ulong, 0644);
MODULE_PARM_DESC(max_nr, "Requests that all contexts together may hold (default 4194304)");

static unsigned long max_user_nr = 1UL << 18;
module_param(max_user_nr, ulong, 0644);
MODULE_PARM_DESC(max_user_nr, "Requests that the contexts of one user may hold (default 262144)");

static unsigned int end_seconds = 10;
module_param(end_seconds, uint, 0644);
MODULE_PARM_DESC(end_seconds, "Seconds for which an exit waits for requests in flight, which then are given up (default 10)");

unsigned int kaio_param_mode(void)
{
	return mode & 0777;
}

unsigned int kaio_param_end_seconds(void)
{
	return READ_ONCE(end_seconds);
}

u64 kaio_param_max_nr(void)
{
	return READ_ONCE(max_nr);
}

u64 kaio_param_max_user_nr(void)
{
	return READ_ONCE(max_user_nr);
}

/* Shows these numbers as a sysctl that programs can only read. */
static int kaio_show(const struct ctl_table *table, unsigned long *numbers, size_t size, int write,
		     void *buffer, size_t *lenp, loff_t *ppos)
{
	const struct ctl_table now = {
		.data	= numbers,
		.maxlen	= size,
		.mode	= table->mode,
	};

	return proc_doulongvec_minmax(&now, write, buffer, lenp, ppos);
}

static const u64 *kaio_nr;

static int kaio_nr_handler(const struct ctl_table *table, int write, void *buffer,
			   size_t *lenp, loff_t *ppos)
{
	unsigned long nr = READ_ONCE(*kaio_nr);

	return kaio_show(table, &nr, sizeof(nr), write, buffer, lenp, ppos);
}

static void (*kaio_read_stat)(struct kaio_stat *sum);

static int kaio_stat_handler(const struct ctl_table *table, int write, void *buffer,
			     size_t *lenp, loff_t *ppos)
{
	struct kaio_stat sum = {};
	unsigned long numbers[3];

	kaio_read_stat(&sum);
	numbers[0] = sum.submitted;
	numbers[1] = sum.completed;
	numbers[2] = sum.cancelled;
	return kaio_show(table, numbers, sizeof(numbers), write, buffer, lenp, ppos);
}

static const struct ctl_table kaio_sysctls[] = {
	{
		.procname	= "kaio-nr",
		.mode		= 0444,
		.proc_handler	= kaio_nr_handler,
	},
	{
		.procname	= "kaio-stat",
		.mode		= 0444,
		.proc_handler	= kaio_stat_handler,
	},
	{
		.procname	= "kaio-max-nr",
		.data		= &max_nr,
		.maxlen		= sizeof(max_nr),
		.mode		= 0644,
		.proc_handler	= proc_doulongvec_minmax,
	},
	{
		.procname	= "kaio-max-user-nr",
		.data		= &max_user_nr,
		.maxlen		= sizeof(max_user_nr),
		.mode		= 0644,
		.proc_handler	= proc_doulongvec_minmax,
	},
};

struct ctl_table_header *kaio_sysctl_register(const u64 *nr,
					      void (*read_stat)(struct kaio_stat *sum))
{
	kaio_nr = nr;
	kaio_read_stat = read_stat;
	return register_sysctl("fs", kaio_sysctls);
}
