//! The board: QEMU's mps2-an386, a Cortex-M4. Its vectors, its UART, its clock, and the way out of
//! QEMU.

use core::arch::asm;
use core::convert::Infallible;
use core::ptr::{read_volatile, write_volatile};
use core::sync::atomic::{AtomicU32, Ordering};

use embedded_io::{ErrorType, Read, ReadReady, Write};

/// The CMSDK APB UART 0.
const UART: usize = 0x4000_4000;
const DATA: usize = 0x0;
const STATE: usize = 0x4;
const CONTROL: usize = 0x8;
const BAUD_DIVIDER: usize = 0x10;
/// Bits of `STATE`.
const TX_FULL: u32 = 1;
const RX_FULL: u32 = 2;

/// SysTick of each Cortex-M.
const SYSTICK: usize = 0xe000_e010;
const CLOCK_HZ: u32 = 25_000_000;
const BAUD: u32 = 115_200;

/// What the stack is filled with, to see later how much of it was used.
const PAINT: u32 = 0xcccc_cccc;

static MS: AtomicU32 = AtomicU32::new(0);

unsafe extern "C" {
    static mut _data_start: u32;
    static mut _data_end: u32;
    static _data_load: u32;
    static mut _bss_start: u32;
    static mut _bss_end: u32;
    static mut _stack_top: u32;
}

/// A vector: the initial stack, or a handler.
#[repr(C)]
union Vector {
    stack: *const u32,
    handler: extern "C" fn(),
    reserved: usize,
}

// SAFETY: the table is only read, by the processor.
unsafe impl Sync for Vector {}

#[unsafe(link_section = ".vectors")]
#[used]
static VECTORS: [Vector; 16] = {
    const FAULT: Vector = Vector { handler: fault };
    const NONE: Vector = Vector { reserved: 0 };
    let stack = Vector {
        stack: &raw const _stack_top,
    };
    let reset = Vector { handler: reset };
    let tick = Vector { handler: tick };
    [
        stack, reset, FAULT, FAULT, FAULT, FAULT, FAULT, NONE, NONE, NONE, NONE, FAULT, NONE, NONE,
        FAULT, tick,
    ]
};

/// Prepares the memory and the clock, and runs the firmware.
#[unsafe(no_mangle)]
extern "C" fn reset() {
    // SAFETY: the linker's script gives the bounds, and nothing uses the memory yet. What is
    // painted is below this function's own stack.
    unsafe {
        let here: *mut u32;
        asm!("mov {}, sp", out(reg) here);
        let mut at = &raw mut _bss_start;
        while at < here.sub(16) {
            let fill = if at < &raw mut _bss_end { 0 } else { PAINT };
            write_volatile(at, fill);
            at = at.add(1);
        }
        let (mut to, mut from) = (&raw mut _data_start, &raw const _data_load);
        while to < &raw mut _data_end {
            write_volatile(to, read_volatile(from));
            (to, from) = (to.add(1), from.add(1));
        }
    }
    put(SYSTICK + 4, CLOCK_HZ / 1000 - 1);
    put(SYSTICK + 8, 0);
    put(SYSTICK, 7);
    crate::run()
}

extern "C" fn tick() {
    // No instruction of this processor adds atomically, and only this handler writes.
    MS.store(
        MS.load(Ordering::Relaxed).wrapping_add(1),
        Ordering::Relaxed,
    );
}

extern "C" fn fault() {
    exit(1)
}

fn put(address: usize, value: u32) {
    // SAFETY: the callers name registers of this board.
    unsafe { write_volatile(address as *mut u32, value) }
}

fn get(address: usize) -> u32 {
    // SAFETY: the callers name registers of this board.
    unsafe { read_volatile(address as *const u32) }
}

/// Returns the milliseconds since the start.
pub fn now_ms() -> u32 {
    MS.load(Ordering::Relaxed)
}

/// Sleeps until the next tick, or another interrupt.
pub fn sleep() {
    // SAFETY: the instruction only waits.
    unsafe { asm!("wfi") }
}

/// Returns the bytes of RAM that hold variables, and those that the stack has used.
pub fn memory() -> (u32, u32) {
    let (start, end) = (&raw const _data_start as u32, &raw const _bss_end as u32);
    let top = &raw const _stack_top as u32;
    let mut at = end;
    while at < top && get(at as usize) == PAINT {
        at += 4;
    }
    (end - start, top - at)
}

/// Writes a text that ends in a zero byte to QEMU's console.
pub fn print(text: &[u8]) {
    semihosting(0x04, text.as_ptr() as u32);
}

/// Ends QEMU: with success if `code` is 0.
pub fn exit(code: u32) -> ! {
    // ADP_Stopped_ApplicationExit, or a run-time error.
    semihosting(0x18, if code == 0 { 0x2_0026 } else { 0x2_0023 });
    loop {
        sleep();
    }
}

fn semihosting(operation: u32, argument: u32) {
    // SAFETY: QEMU answers this breakpoint, and changes only r0.
    unsafe { asm!("bkpt 0xab", inout("r0") operation => _, in("r1") argument) }
}

/// The UART with the wire to the gateway.
#[derive(Debug)]
pub struct Uart(());

impl Uart {
    pub fn open() -> Self {
        put(UART + BAUD_DIVIDER, CLOCK_HZ / BAUD);
        put(UART + CONTROL, 3);
        Self(())
    }
}

impl ErrorType for Uart {
    type Error = Infallible;
}

impl ReadReady for Uart {
    fn read_ready(&mut self) -> Result<bool, Infallible> {
        Ok(get(UART + STATE) & RX_FULL != 0)
    }
}

impl Read for Uart {
    fn read(&mut self, room: &mut [u8]) -> Result<usize, Infallible> {
        let mut length = 0;
        for place in room {
            if length > 0 && get(UART + STATE) & RX_FULL == 0 {
                break;
            }
            while get(UART + STATE) & RX_FULL == 0 {}
            *place = get(UART + DATA) as u8;
            length += 1;
        }
        Ok(length)
    }
}

impl Write for Uart {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        for byte in bytes {
            while get(UART + STATE) & TX_FULL != 0 {}
            put(UART + DATA, u32::from(*byte));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        while get(UART + STATE) & TX_FULL != 0 {}
        Ok(())
    }
}
