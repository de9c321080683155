//! Memory for text that is being written, used again by whoever writes next on the same thread.
//!
//! What is kept is copied from here, at the size that it has: so it costs one allocation, and takes no more than it needs.

use std::cell::Cell;

/// More is given back.
const MOST_KEPT: usize = 16 * 1024;

thread_local! {
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Lends empty memory. Whoever asks again meanwhile, or while the thread ends, gets other memory.
pub(crate) fn with<T>(write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    let mut memory = SPARE.try_with(Cell::take).unwrap_or_default();
    memory.clear();
    let written = write(&mut memory);
    if memory.capacity() <= MOST_KEPT {
        let _ = SPARE.try_with(|spare| spare.set(memory));
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_empty_whoever_wrote_before_or_writes_meanwhile() {
        with(|memory| memory.extend_from_slice(b"before"));
        with(|outer| {
            assert!(outer.is_empty());
            outer.extend_from_slice(b"outer");
            with(|inner| assert!(inner.is_empty()));
            assert_eq!(outer, b"outer");
        });
    }

    #[test]
    fn what_is_large_is_given_back() {
        with(|memory| memory.resize(MOST_KEPT + 1, 0));
        with(|memory| assert!(memory.capacity() <= MOST_KEPT));
    }
}
