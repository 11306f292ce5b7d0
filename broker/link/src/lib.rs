//! Framing and messages for microcontrollers. Nothing uses them yet.
#![no_std]
