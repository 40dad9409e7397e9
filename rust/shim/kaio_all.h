/* SPDX-License-Identifier: GPL-2.0 */
/* What bindgen reads: the contract with user space, and the shim. */
#include <linux/kaio.h>
#include "kaio_shim.h"
