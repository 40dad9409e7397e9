// SPDX-License-Identifier: GPL-2.0

//! Suite `kaio_uapi`: the user interface as Rust sees it. Layouts and numbers come from the C
//! header through bindgen; these tests check the rules that the header must keep.

use kernel::prelude::*;

#[kunit_tests(kaio_uapi)]
mod suite {
    use crate::{
        ops,
        sys::uapi::{
            self,
            Cancel,
            Destroy,
            GetEvents,
            IoEvent,
            Iocb,
            Query,
            RingHeader,
            Setup,
            Submit,
            SubmitWait, //
        },
    };
    use core::mem::{
        align_of,
        offset_of,
        size_of,
        size_of_val, //
    };
    use kernel::ioctl::{
        _IOC_NR,
        _IOC_SIZE,
        _IOC_TYPE, //
    };

    const IOCTLS: [(u32, usize); 7] = [
        (uapi::QUERY, size_of::<Query>()),
        (uapi::SETUP, size_of::<Setup>()),
        (uapi::DESTROY, size_of::<Destroy>()),
        (uapi::SUBMIT, size_of::<Submit>()),
        (uapi::GETEVENTS, size_of::<GetEvents>()),
        (uapi::CANCEL, size_of::<Cancel>()),
        (uapi::SUBMIT_WAIT, size_of::<SubmitWait>()),
    ];

    #[test]
    fn numbers_carry_the_size_and_differ() {
        for (i, (cmd, size)) in IOCTLS.iter().enumerate() {
            assert_eq!(_IOC_SIZE(*cmd), *size);
            assert_eq!(_IOC_TYPE(*cmd), _IOC_TYPE(uapi::QUERY));
            assert_eq!(_IOC_NR(*cmd), i as u32);
        }
    }

    #[test]
    fn layouts_are_the_same_for_32_bit_callers() {
        // 64-bit fields have 64-bit places, and there is no padding at the end.
        for (_, size) in IOCTLS {
            assert_eq!(size % 8, 0);
        }
        assert_eq!(offset_of!(Query, features) % 8, 0);
        assert_eq!(offset_of!(Setup, ctx_id) % 8, 0);
        assert_eq!(offset_of!(Destroy, ctx_id) % 8, 0);
        assert_eq!(offset_of!(Submit, iocbpp) % 8, 0);
        assert_eq!(offset_of!(GetEvents, sigsetsize) % 8, 0);
        assert_eq!(align_of::<Iocb>(), align_of::<u64>());
    }

    /// Returns the sum of the sizes of the fields of a struct.
    fn getevents_fields(g: &GetEvents) -> usize {
        size_of_val(&g.ctx_id)
            + size_of_val(&g.min_nr)
            + size_of_val(&g.nr)
            + size_of_val(&g.events)
            + size_of_val(&g.timeout)
            + size_of_val(&g.sigmask)
            + size_of_val(&g.sigsetsize)
            + size_of_val(&g.flags)
            + size_of_val(&g.__reserved)
    }

    #[test]
    fn first_versions_are_no_longer_than_ours() {
        assert!(uapi::QUERY_SIZE_VER0 <= size_of::<Query>());
        assert!(uapi::SETUP_SIZE_VER0 <= size_of::<Setup>());
        assert!(uapi::DESTROY_SIZE_VER0 <= size_of::<Destroy>());
        assert!(uapi::SUBMIT_SIZE_VER0 <= size_of::<Submit>());
        assert!(uapi::GETEVENTS_SIZE_VER0 <= size_of::<GetEvents>());
        assert!(uapi::CANCEL_SIZE_VER0 <= size_of::<Cancel>());
        assert!(uapi::SUBMIT_WAIT_SIZE_VER0 <= size_of::<SubmitWait>());
    }

    #[test]
    fn there_is_no_padding() {
        let g: GetEvents = pin_init::zeroed();
        assert_eq!(getevents_fields(&g), size_of::<GetEvents>());
        let s: Submit = pin_init::zeroed();
        assert_eq!(
            size_of_val(&s.ctx_id)
                + size_of_val(&s.nr)
                + size_of_val(&s.iocbpp)
                + size_of_val(&s.flags)
                + size_of_val(&s.error),
            size_of::<Submit>()
        );
        let s: Setup = pin_init::zeroed();
        assert_eq!(
            size_of_val(&s.nr_events) + size_of_val(&s.flags) + size_of_val(&s.ctx_id),
            size_of::<Setup>()
        );
    }

    #[test]
    fn the_ring_is_the_native_one() {
        // Four words are shared with user space, and four describe the ring: libaio and fio read
        // these.
        let words = [
            offset_of!(RingHeader, id),
            offset_of!(RingHeader, nr),
            offset_of!(RingHeader, head),
            offset_of!(RingHeader, tail),
            offset_of!(RingHeader, magic),
            offset_of!(RingHeader, compat_features),
            offset_of!(RingHeader, incompat_features),
            offset_of!(RingHeader, header_length),
        ];
        for (i, offset) in words.iter().enumerate() {
            assert_eq!(*offset, i * size_of::<u32>());
        }
        assert_eq!(size_of::<RingHeader>(), size_of::<IoEvent>());
        assert_eq!(offset_of!(RingHeader, io_events), size_of::<RingHeader>());
        // The order in which the words of an event are written (ctx/ring.rs).
        assert_eq!(offset_of!(IoEvent, data), 0);
        assert_eq!(offset_of!(IoEvent, obj), 8);
        assert_eq!(offset_of!(IoEvent, res), 16);
        assert_eq!(offset_of!(IoEvent, res2), 24);
    }

    #[test]
    fn every_known_opcode_has_an_operation() {
        for opcode in 0..64u16 {
            let known = ops::OPCODES & (1 << opcode) != 0;
            assert_eq!(known, ops::find(opcode).is_some());
        }
        assert!(ops::find(u16::MAX).is_none());
    }
}
