/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Defines a fixture with a file of the mock module that acts in three contexts:
 * it wakes, unlocks or completes by a task, by a kworker or by an interrupt. The
 * program defines WHEN_NODE, which is the node of that file, before it includes
 * this header.
 */
#ifndef KAIO_WHEN_FIXTURE_H
#define KAIO_WHEN_FIXTURE_H

#include "mock_fixture.h"

FIXTURE(when)
{
	struct mock m;
};

FIXTURE_VARIANT(when)
{
	enum kaio_mock_when when;
};

/* clang-format off */
FIXTURE_VARIANT_ADD(when, by_task) { .when = KAIO_MOCK_NOW };
FIXTURE_VARIANT_ADD(when, by_kworker) { .when = KAIO_MOCK_WORK };
FIXTURE_VARIANT_ADD(when, by_interrupt) { .when = KAIO_MOCK_IRQ };
/* clang-format on */

MOCK_FIXTURE_SETUP(when, WHEN_NODE)

#endif /* KAIO_WHEN_FIXTURE_H */
