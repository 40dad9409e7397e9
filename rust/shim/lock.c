// SPDX-License-Identifier: GPL-2.0
/* Takes spinlocks, and disables preemption. */
#include <linux/lockdep.h>
#include <linux/preempt.h>
#include <linux/spinlock.h>

#include "kaio_shim.h"

unsigned long kaio_spin_lock_irqsave(spinlock_t *lock)
{
	unsigned long flags;

	spin_lock_irqsave(lock, flags);
	return flags;
}

bool kaio_spin_trylock_irqsave(spinlock_t *lock, unsigned long *flags)
{
	return spin_trylock_irqsave(lock, *flags);
}

void kaio_spin_unlock_irqrestore(spinlock_t *lock, unsigned long flags)
{
	spin_unlock_irqrestore(lock, flags);
}

void kaio_spin_assert_held(spinlock_t *lock)
{
	lockdep_assert_held(lock);
}

void kaio_preempt_disable(void)
{
	preempt_disable();
}

void kaio_preempt_enable(void)
{
	preempt_enable();
}
