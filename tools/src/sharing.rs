// SPDX-License-Identifier: GPL-2.0

//! Tells which descriptors share an open file.

use std::cmp::Ordering;
use std::io;

use crate::procfs::Descriptor;

/// Why two descriptors cannot be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// One of them is closed by now.
    Gone,
    /// The kernel does not tell this process.
    Refused,
}

/// Compares the open files of two descriptors by kcmp(2), in an order that the kernel chooses. They
/// are equal if the descriptors share an open file.
///
/// # Errors
///
/// One of the descriptors is closed, or the kernel does not tell.
pub fn compare(a: &Descriptor, b: &Descriptor) -> Result<Ordering, Unknown> {
    const KCMP_FILE: libc::c_int = 0;
    // SAFETY: kcmp(2) takes five numbers and touches no memory of this process.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_kcmp,
            a.tid as libc::pid_t,
            b.tid as libc::pid_t,
            KCMP_FILE,
            libc::c_ulong::from(a.fd),
            libc::c_ulong::from(b.fd),
        )
    };
    match answer {
        0 => Ok(Ordering::Equal),
        1 => Ok(Ordering::Less),
        2 => Ok(Ordering::Greater),
        _ => match io::Error::last_os_error().raw_os_error() {
            Some(libc::ESRCH | libc::EBADF) => Err(Unknown::Gone),
            _ => Err(Unknown::Refused),
        },
    }
}

/// Puts descriptors that share an open file together, each group in the order of `all`. Descriptors
/// that cannot be compared come last, in groups of their own. The second value is false if the kernel
/// refused a comparison.
pub fn group<T>(
    all: Vec<T>,
    mut compare: impl FnMut(&T, &T) -> Result<Ordering, Unknown>,
) -> (Vec<Vec<T>>, bool) {
    // The groups, sorted by their first descriptors.
    let mut groups: Vec<Vec<T>> = Vec::new();
    let mut alone = Vec::new();
    let mut told = true;
    for one in all {
        loop {
            match find(&groups, &one, &mut compare) {
                Ok(Ok(index)) => groups[index].push(one),
                Ok(Err(index)) => groups.insert(index, vec![one]),
                Err((_, Unknown::Refused)) => {
                    told = false;
                    alone.push(vec![one]);
                }
                Err((index, Unknown::Gone)) => {
                    let first = &groups[index][0];
                    if compare(first, first).is_err() {
                        // The next descriptor of the group takes the place of the one that is
                        // closed.
                        alone.push(vec![groups[index].remove(0)]);
                        groups.retain(|group| !group.is_empty());
                        continue;
                    }
                    alone.push(vec![one]);
                }
            }
            break;
        }
    }
    groups.append(&mut alone);
    (groups, told)
}

/// Returns the index of the group of `one`, or the one at which a new group belongs.
///
/// # Errors
///
/// The descriptor cannot be compared with the group of this index.
fn find<T>(
    groups: &[Vec<T>],
    one: &T,
    compare: &mut impl FnMut(&T, &T) -> Result<Ordering, Unknown>,
) -> Result<Result<usize, usize>, (usize, Unknown)> {
    let (mut low, mut high) = (0, groups.len());
    while low < high {
        let middle = low + (high - low) / 2;
        match compare(&groups[middle][0], one).map_err(|unknown| (middle, unknown))? {
            Ordering::Less => low = middle + 1,
            Ordering::Equal => return Ok(Ok(middle)),
            Ordering::Greater => high = middle,
        }
    }
    Ok(Err(low))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::AsRawFd;

    /// A name for the test, and the open file.
    type Fake = (char, u32);

    fn names(groups: &[Vec<Fake>]) -> Vec<String> {
        let mut names: Vec<String> = groups
            .iter()
            .map(|group| group.iter().map(|(name, _)| name).collect())
            .collect();
        names.sort();
        names
    }

    fn grouped(all: &[Fake]) -> Vec<String> {
        let (groups, told) = group(all.to_vec(), |a, b| Ok(a.1.cmp(&b.1)));
        assert!(told);
        names(&groups)
    }

    const MANY: [Fake; 7] = [
        ('a', 5),
        ('b', 2),
        ('c', 9),
        ('d', 2),
        ('e', 7),
        ('f', 9),
        ('g', 5),
    ];

    #[test]
    fn shared_files() {
        assert_eq!(grouped(&[]), [""; 0]);
        assert_eq!(grouped(&[('a', 1), ('b', 1), ('c', 1)]), ["abc"]);
        assert_eq!(grouped(&MANY), ["ag", "bd", "cf", "e"]);
    }

    /// Groups [`MANY`], of which the descriptor `closed` is closed after so many comparisons.
    fn grouped_with_closed(closed: char, mut comparisons: u32) -> Vec<String> {
        let (groups, told) = group(MANY.to_vec(), |a, b| {
            if comparisons == 0 && (a.0 == closed || b.0 == closed) {
                return Err(Unknown::Gone);
            }
            comparisons = comparisons.saturating_sub(1);
            Ok(a.1.cmp(&b.1))
        });
        assert!(told);
        names(&groups)
    }

    #[test]
    fn closed_meanwhile() {
        assert_eq!(grouped_with_closed('b', 0), ["ag", "b", "cf", "d", "e"]);
        // The group of `b` and `d` keeps its place without `b`, and `cf` and `ag` are still found.
        for comparisons in 0..20 {
            for closed in 'a'..='g' {
                let names = grouped_with_closed(closed, comparisons);
                for group in ["ag", "bd", "cf"] {
                    if !group.contains(closed) {
                        assert!(names.contains(&group.to_owned()), "{closed}: {names:?}");
                    }
                }
                assert_eq!(names.concat().len(), MANY.len(), "{closed}: {names:?}");
            }
        }
    }

    #[test]
    fn next_of_a_group() {
        let all = vec![('a', 1), ('b', 1), ('c', 1)];
        let (groups, _) = group(all, |a, b| match (a.0, b.0) {
            ('a', 'c' | 'a') => Err(Unknown::Gone),
            _ => Ok(a.1.cmp(&b.1)),
        });
        assert_eq!(names(&groups), ["a", "bc"]);
    }

    #[test]
    fn not_told() {
        let all = vec![('a', 1), ('b', 1), ('c', 1)];
        let (groups, told) = group(all, |_, _| Err(Unknown::Refused));
        assert!(!told);
        assert_eq!(names(&groups), ["a", "b", "c"]);
    }

    #[test]
    fn descriptors_of_this_process() {
        let file = File::open("/dev/null").unwrap();
        let shared = file.try_clone().unwrap();
        let other = File::open("/dev/null").unwrap();
        let descriptor = |file: &File| Descriptor {
            pid: std::process::id(),
            tid: std::process::id(),
            start: 0,
            fd: file.as_raw_fd() as u32,
        };
        let (a, b, c) = (descriptor(&file), descriptor(&shared), descriptor(&other));
        if compare(&a, &b) == Err(Unknown::Refused) {
            // A sandbox may forbid kcmp(2).
            let (groups, told) = group(vec![a, b, c], compare);
            assert!(!told && groups.len() == 3);
            return;
        }
        assert_eq!(compare(&a, &b), Ok(Ordering::Equal));
        assert_ne!(compare(&a, &c), Ok(Ordering::Equal));
        assert_eq!(compare(&c, &a).map(Ordering::reverse), compare(&a, &c));
        drop(shared);
        let (groups, told) = group(vec![a, b, c], compare);
        assert!(told);
        assert_eq!(groups.len(), 3, "a closed descriptor shares nothing");
    }
}
