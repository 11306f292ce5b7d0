//! The allocator and the panic handler of a guest that has no `std`.

use alloc::string::ToString as _;

#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    crate::log::error(&info.to_string());
    core::arch::wasm32::unreachable()
}
