//! Where the bytes of nodes are: in pages of slots of equal length, one behind the other.
//!
//! An allocator of the process rounds a length up by a tenth or more and needs eight bytes to say where something is. Here
//! it is four at most, and lengths up to 256 bytes are rounded up to the next eight. What is longer than [`SMALL_MAX`] is
//! kept by itself.

/// The place of some bytes in an [`Arena`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place(u32);

impl Place {
    /// No place.
    pub(super) const NONE: Self = Self(u32::MAX);

    /// The place of what is kept by itself; none if so many are not told apart.
    fn of_large(number: usize) -> Option<Self> {
        u32::try_from(number)
            .ok()
            .filter(|number| *number < LARGE - 1)
            .map(|number| Self(LARGE | number))
    }

    const fn large(self) -> Option<usize> {
        if self.0 & LARGE == 0 {
            None
        } else {
            Some((self.0 & !LARGE) as usize)
        }
    }

    const fn page(self) -> usize {
        (self.0 >> UNIT_BITS) as usize
    }

    const fn offset(self) -> usize {
        (self.0 & ((1 << UNIT_BITS) - 1)) as usize * UNIT
    }
}

/// Bytes of many lengths.
#[derive(Debug, Default)]
pub(super) struct Arena {
    pages: Vec<Page>,
    // Pages without bytes.
    unused: Vec<u32>,
    // Of each class, the pages that may have a free slot; each stands here once at most (`Page::listed`).
    open: Vec<Vec<u32>>,
    large: Vec<Box<[u8]>>,
    large_free: Vec<u32>,
}

#[derive(Debug)]
struct Page {
    bytes: Vec<u8>,
    class: usize,
    // Slots in use.
    used: u32,
    // The first free slot below the end of `bytes`, in units; its first two bytes name the next one.
    free: u16,
    listed: bool,
}

impl Arena {
    /// Puts `head` and `tail`, one behind the other, somewhere.
    pub(super) fn insert(&mut self, head: &[u8], tail: &[u8]) -> Place {
        let len = head.len() + tail.len();
        let place = if len <= SMALL_MAX {
            self.take_slot(class_of(len))
        } else {
            None
        };
        match place {
            Some(place) => {
                write(self.bytes_mut(place), head, tail);
                place
            }
            None => self.insert_large([head, tail].concat().into()),
        }
    }

    /// Puts something else in the place of what was at `place`, there or elsewhere.
    pub(super) fn replace(&mut self, place: Place, head: &[u8], tail: &[u8]) -> Place {
        let len = head.len() + tail.len();
        let fits = match place.large() {
            Some(number) => self.large[number].len() == len,
            None => len <= SMALL_MAX && self.pages[place.page()].class == class_of(len),
        };
        if fits {
            write(self.bytes_mut(place), head, tail);
            return place;
        }
        self.remove(place);
        self.insert(head, tail)
    }

    /// Gives a place up.
    pub(super) fn remove(&mut self, place: Place) {
        if let Some(number) = place.large() {
            self.large[number] = Box::default();
            self.large_free.push(place.0 & !LARGE);
            return;
        }
        let number = place.page();
        let page = &mut self.pages[number];
        let next = page.free.to_le_bytes();
        let offset = place.offset();
        page.bytes[offset..offset + 2].copy_from_slice(&next);
        page.free = unit(offset);
        page.used -= 1;
        let index = u32::try_from(number).expect("a place holds the number of its page");
        let open = &mut self.open[page.class];
        if !page.listed {
            page.listed = true;
            open.push(index);
        }
        // One page stays, so that a node that comes and goes does not bring a page each time.
        if page.used == 0 && open.len() > 1 {
            open.retain(|candidate| *candidate != index);
            *page = Page::without_bytes();
            self.unused.push(index);
        }
    }

    /// What is at `place`, and possibly some bytes behind it that mean nothing.
    pub(super) fn bytes(&self, place: Place) -> &[u8] {
        match place.large() {
            Some(number) => &self.large[number],
            None => {
                let page = &self.pages[place.page()];
                let offset = place.offset();
                &page.bytes[offset..offset + class_bytes(page.class)]
            }
        }
    }

    /// As [`Self::bytes`].
    pub(super) fn bytes_mut(&mut self, place: Place) -> &mut [u8] {
        match place.large() {
            Some(number) => &mut self.large[number],
            None => {
                let page = &mut self.pages[place.page()];
                let offset = place.offset();
                &mut page.bytes[offset..offset + class_bytes(page.class)]
            }
        }
    }

    fn insert_large(&mut self, bytes: Box<[u8]>) -> Place {
        if let Some(number) = self.large_free.pop() {
            self.large[number as usize] = bytes;
            return Place(LARGE | number);
        }
        let place = Place::of_large(self.large.len());
        self.large.push(bytes);
        place.expect("memory ends before 2 billion nodes")
    }

    /// A slot; none if there are as many pages as places can tell apart.
    fn take_slot(&mut self, class: usize) -> Option<Place> {
        if self.open.is_empty() {
            self.open = vec![Vec::new(); CLASSES];
        }
        while let Some(&number) = self.open[class].last() {
            let page = &mut self.pages[number as usize];
            if let Some(unit) = page.take_slot() {
                return Some(Place(number << UNIT_BITS | u32::from(unit)));
            }
            page.listed = false;
            self.open[class].pop();
        }
        let mut page = Page {
            bytes: Vec::with_capacity(PAGE_BYTES),
            class,
            used: 0,
            free: NO_SLOT,
            listed: true,
        };
        let slot = page.take_slot()?;
        let number = match self.unused.pop() {
            Some(number) => {
                self.pages[number as usize] = page;
                number
            }
            None => {
                let number = u32::try_from(self.pages.len())
                    .ok()
                    .filter(|number| *number < PAGES_MAX)?;
                self.pages.push(page);
                number
            }
        };
        self.open[class].push(number);
        Some(Place(number << UNIT_BITS | u32::from(slot)))
    }
}

impl Page {
    const fn without_bytes() -> Self {
        Self {
            bytes: Vec::new(),
            class: 0,
            used: 0,
            free: NO_SLOT,
            listed: false,
        }
    }

    /// A free slot, in units; none if there is none.
    fn take_slot(&mut self) -> Option<u16> {
        let taken = if self.free == NO_SLOT {
            let begin = self.bytes.len();
            let end = begin + class_bytes(self.class);
            if end > PAGE_BYTES {
                return None;
            }
            self.bytes.resize(end, 0);
            unit(begin)
        } else {
            let slot = self.free;
            let offset = usize::from(slot) * UNIT;
            self.free = u16::from_le_bytes([self.bytes[offset], self.bytes[offset + 1]]);
            slot
        };
        self.used += 1;
        Some(taken)
    }
}

fn write(slot: &mut [u8], head: &[u8], tail: &[u8]) {
    let (first, rest) = slot.split_at_mut(head.len());
    first.copy_from_slice(head);
    rest[..tail.len()].copy_from_slice(tail);
}

fn unit(offset: usize) -> u16 {
    u16::try_from(offset / UNIT).expect("a page has fewer units")
}

/// The class of the shortest slots that take so many bytes, [`SMALL_MAX`] at most.
const fn class_of(len: usize) -> usize {
    if len <= FINE_MAX {
        return if len <= UNIT {
            0
        } else {
            len.div_ceil(UNIT) - 1
        };
    }
    // Sixteen steps for each doubling.
    let doubling = ((len - 1) / FINE_MAX).ilog2() as usize;
    let step = (FINE_MAX / STEPS) << doubling;
    let above = len - (FINE_MAX << doubling);
    FINE_MAX / UNIT + doubling * STEPS + above.div_ceil(step) - 1
}

/// How long the slots of a class are.
const fn class_bytes(class: usize) -> usize {
    if class < FINE_MAX / UNIT {
        return (class + 1) * UNIT;
    }
    let beyond = class - FINE_MAX / UNIT;
    let doubling = beyond / STEPS;
    (FINE_MAX << doubling) + (beyond % STEPS + 1) * ((FINE_MAX / STEPS) << doubling)
}

/// Slots begin at multiples of this, in bytes.
const UNIT: usize = 8;
const UNIT_BITS: u32 = 13;
const PAGE_BYTES: usize = UNIT << UNIT_BITS;
/// Places of what is kept by itself have this bit; the others have 31 bits for page and unit.
const LARGE: u32 = 1 << 31;
const PAGES_MAX: u32 = LARGE >> UNIT_BITS;
const NO_SLOT: u16 = u16::MAX;
/// Up to here each multiple of [`UNIT`] is a class.
const FINE_MAX: usize = 256;
const STEPS: usize = 16;
/// What is longer is kept by itself.
const SMALL_MAX: usize = 4096;
const CLASSES: usize = class_of(SMALL_MAX) + 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_length_has_a_class_that_takes_it_and_wastes_little() {
        for len in 1..=SMALL_MAX {
            let class = class_of(len);
            let bytes = class_bytes(class);
            assert!(class < CLASSES && len <= bytes, "{len} in {bytes}");
            assert!(bytes - len < UNIT.max(len / STEPS + 1), "{len} in {bytes}");
            assert!(class == 0 || class_bytes(class - 1) < len, "{len}");
        }
    }

    #[test]
    fn what_is_put_in_comes_out_whatever_happens_to_others() {
        let lengths = [2, 8, 9, 130, 131, 300, 4000, 4096, 4097, 100_000];
        let of = |number: usize| vec![u8::try_from(number % 251).unwrap(); lengths[number % 10]];
        let mut arena = Arena::default();
        let mut kept: Vec<(usize, Place)> = Vec::new();
        for number in 0..5000 {
            let bytes = of(number);
            let (head, tail) = bytes.split_at(bytes.len() / 3);
            kept.push((number, arena.insert(head, tail)));
            if number % 3 == 1 {
                let (_, place) = kept.swap_remove(number * 7 % kept.len());
                arena.remove(place);
            }
            if number % 3 == 2 {
                let chosen = number * 11 % kept.len();
                let (_, place) = kept[chosen];
                kept[chosen] = (number + 1, arena.replace(place, &of(number + 1), &[]));
            }
        }
        for (number, place) in &kept {
            let expected = of(*number);
            assert_eq!(&arena.bytes(*place)[..expected.len()], expected);
        }
        let most = arena.pages.len();
        for (_, place) in kept.drain(..) {
            arena.remove(place);
        }
        let left = arena.pages.iter().filter(|page| page.bytes.capacity() > 0);
        assert!(left.count() <= lengths.len() && most > 2 * lengths.len());
        assert!(arena.large.iter().all(|bytes| bytes.is_empty()));
    }
}
