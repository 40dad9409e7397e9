// SPDX-License-Identifier: LGPL-2.1-or-later

//! Asynchronous I/O through `/dev/kaio`.
