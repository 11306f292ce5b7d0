(module
  ;; The module's memory, for what Go asks to be written there.
  (import "go" "memory" (memory 0))
  ;; A clock that goes on at each look: a plugin is told no time.
  (global $now (mut i64) (i64.const 0))
  (func (export "clock_time_get") (param i32 i64 i32) (result i32)
    (global.set $now (i64.add (global.get $now) (i64.const 1000)))
    (i64.store (local.get 2) (global.get $now))
    (i32.const 0))
  ;; No arguments, no environment.
  (func $none (export "args_sizes_get") (export "environ_sizes_get") (param i32 i32) (result i32)
    (i32.store (local.get 0) (i32.const 0))
    (i32.store (local.get 1) (i32.const 0))
    (i32.const 0))
  ;; Zeros are what the memory has.
  (func (export "args_get") (export "environ_get") (export "random_get") (param i32 i32) (result i32) (i32.const 0))
  (func (export "sched_yield") (result i32) (i32.const 0))
  ;; No files: EBADF. A panic ends the instance, and its text is lost.
  (func (export "fd_write") (param i32 i32 i32 i32) (result i32) (i32.const 8))
  ;; Go waits when all goroutines do: there is nothing to wait for.
  (func (export "poll_oneoff") (param i32 i32 i32 i32) (result i32) (unreachable))
  (func (export "proc_exit") (param i32) (unreachable)))
