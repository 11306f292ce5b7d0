//! An example of a device: publishes a thousand readings of 16 bytes, each once, and ends QEMU with
//! a line that says how much memory it used. Reset in between, it goes on with the reading that the
//! broker waits for: a reading's value is made from its number, as if it were kept in FRAM.
#![no_std]
#![no_main]

mod board;

use core::panic::PanicInfo;

use sedge_link::message::Usage;
use sedge_link::{Buffers, Config, Device, Driver, Event, Topic};

const READINGS: u32 = 1000;
const QUEUE_BYTES: usize = 640;
const TOPICS: &[Topic<'static>] = &[Topic {
    name: "firmware",
    usage: Usage::Publish,
}];

static mut BUFFERS: Buffers<QUEUE_BYTES> = Buffers::new();

/// Returns the text of a number, with leading zeros.
fn decimal<const DIGITS: usize>(mut number: u32) -> [u8; DIGITS] {
    let mut text = [b'0'; DIGITS];
    for digit in text.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
    text
}

fn run() -> ! {
    let config = Config {
        identity: "firmware",
        instance: 1,
        is_kept: true,
        topics: TOPICS,
        answer_ms: 200,
    };
    // SAFETY: this function runs once, and nothing else names the buffers.
    let buffers = unsafe { &mut *(&raw mut BUFFERS) };
    let device = Device::new(buffers, config, board::now_ms());
    let mut driver = Driver::new(device, board::Uart::open());
    loop {
        let now_ms = board::now_ms();
        let Ok(()) = driver.poll(now_ms, |event| {
            if let Event::Stopped { .. } = event {
                board::exit(1);
            }
        });
        let device = &mut driver.device;
        while device.is_open() && device.next_sequence() < READINGS {
            let value: [u8; 16] = decimal(device.next_sequence());
            if device.publish(0, &value, now_ms).is_err() {
                break;
            }
        }
        if device.is_open() && device.queued() == 0 {
            report();
        }
        board::sleep();
    }
}

/// Says how much memory was used, and ends.
fn report() -> ! {
    let (variables, stack) = board::memory();
    let mut line = *b"variables 00000 stack 00000\n\0";
    line[10..15].copy_from_slice(&decimal::<5>(variables));
    line[22..27].copy_from_slice(&decimal::<5>(stack));
    board::print(&line);
    board::exit(0)
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    board::exit(1)
}
