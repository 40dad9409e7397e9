// SPDX-License-Identifier: LGPL-2.1-or-later

//! POSIX AIO: `aio_read()` and its kin.
