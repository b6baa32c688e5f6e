//! An allocator that ends the process when a small input asks for much memory at once.

use std::alloc::{GlobalAlloc, Layout, System};

/// More than anything here may need for an input of a few kilobytes.
const LARGEST_BYTES: usize = 64 << 20;

struct Limited;

// SAFETY: everything is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Limited {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        check(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        check(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        check(bytes);
        unsafe { System.realloc(at, layout, bytes) }
    }
}

#[global_allocator]
static ALLOCATOR: Limited = Limited;

fn check(bytes: usize) {
    if bytes > LARGEST_BYTES {
        // No text with the number in it: making one would allocate.
        eprintln!("an allocation of more than 64 MiB");
        std::process::abort();
    }
}
