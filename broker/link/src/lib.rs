//! Framing and messages for microcontrollers. Not used yet: the link comes with its own issue.
#![no_std]
