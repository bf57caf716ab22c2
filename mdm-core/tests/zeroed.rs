//! A secret that is dropped is nowhere in this process's memory any more: all of it is looked through, as whoever reads a core file or
//! a swapped page would do.
#![cfg(target_os = "linux")]

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use mdm_core::secret::Secret;

/// How long the secrets here are. What the allocator writes into freed memory is shorter than the half of it.
const LENGTH: usize = 192;
/// What is looked for is kept in this disguise: else it would be found in the looking.
const MASK: u8 = 0xa5;

/// Bytes that stand nowhere else, and never in the program: made anew from a number.
fn pattern(number: u64) -> impl Iterator<Item = u8> {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..LENGTH).map(move |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    })
}

/// Whether the second half of a pattern stands anywhere in memory that this process may write to.
fn is_in_memory(number: u64) -> bool {
    let wanted: Vec<u8> = pattern(number).skip(LENGTH / 2).map(|b| b ^ MASK).collect();
    let memory = File::open("/proc/self/mem").expect("our own memory");
    let maps = std::fs::read_to_string("/proc/self/maps").expect("our own map");
    let mut piece = vec![0_u8; 1 << 20];
    let mut found = false;
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        let range = words.next().and_then(|range| range.split_once('-'));
        let (Some((from, to)), Some(rights)) = (range, words.next()) else {
            continue;
        };
        if !rights.starts_with("rw") {
            continue;
        }
        let number = |hex| u64::from_str_radix(hex, 16).expect("an address");
        let (mut at, end) = (number(from), number(to));
        while at < end && !found {
            let most = usize::try_from(end - at).unwrap_or(usize::MAX);
            let most = most.min(piece.len());
            // What cannot be read is the system's own.
            let Ok(count) = memory.read_at(&mut piece[..most], at) else {
                break;
            };
            if count == 0 {
                break;
            }
            let first = wanted[0] ^ MASK;
            found = piece[..count].windows(wanted.len()).any(|here| {
                here[0] == first && here.iter().zip(&wanted).all(|(b, w)| b ^ MASK == *w)
            });
            // What lies across the border is met again.
            let overlap = if count == most && at + (most as u64) < end {
                wanted.len()
            } else {
                0
            };
            at += (count - overlap) as u64;
        }
    }
    // Nor may what was read here be met by the next search.
    piece.fill(0);
    std::hint::black_box(&piece);
    found
}

#[test]
fn a_secret_that_is_dropped_is_nowhere_in_memory() {
    // The search finds what is there.
    let kept = Secret::new(pattern(1).collect::<Vec<u8>>());
    assert!(is_in_memory(1), "the search finds nothing at all");
    assert_eq!(kept.len(), LENGTH);

    let dropped = Secret::new(pattern(2).collect::<Vec<u8>>());
    let copy = dropped.clone();
    assert!(is_in_memory(2));
    drop(dropped);
    assert!(is_in_memory(2), "its copy is still there");
    drop(copy);
    assert!(!is_in_memory(2), "a secret outlives its end");
    // The search has not gone blind meanwhile.
    assert!(is_in_memory(1));
    drop(kept);
}
