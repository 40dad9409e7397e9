// SPDX-License-Identifier: GPL-2.0

//! The objects: context, request, operation. The one knot of the module: a context lists its
//! requests, a request belongs to a context and has an operation, an operation works on
//! requests. It is tied here and nowhere else.

pub(crate) mod kiocb;
pub(crate) mod kioctx;
pub(crate) mod op;
pub(crate) mod table;
pub(crate) mod tray;
pub(crate) mod user;
