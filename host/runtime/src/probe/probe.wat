;; A guest that runs into one limit. Its signal's payload, a JSON string of one letter, says which.
(module
  (import "ark:agent/host@1.0.0" "log" (func $log (param i32 i32 i32)))
  (import "ark:agent/host@1.0.0" "state-get" (func $state-get (param i32 i32 i32)))
  (import "ark:agent/host@1.0.0" "state-set" (func $state-set (param i32 i32 i32 i32 i32 i64 i32)))
  (import "wasi:clocks/monotonic-clock@0.2.12" "subscribe-duration" (func $timer (param i64) (result i32)))

  ;; Two memories, since the limit bounds their sum. The first is never written from address 32768 on.
  (memory $first (export "memory") 1)
  (memory $second 1)
  (table $table 1 funcref)
  (global $free (mut i32) (i32.const 2048))
  (data (memory $first) (i32.const 64) "probe1.0.0{}")

  ;; Arguments are placed one after the other and never freed, since each instance handles one signal.
  (func (export "cabi_realloc") (param $old i32) (param $old-size i32) (param $align i32) (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
    (global.set $free (i32.add (local.get $at) (local.get $size)))
    (local.get $at))

  (func (export "metadata") (result i32)
    (i32.store $first (i32.const 128) (i32.const 64)) (i32.store $first (i32.const 132) (i32.const 5))
    (i32.store $first (i32.const 136) (i32.const 69)) (i32.store $first (i32.const 140) (i32.const 5))
    (i32.store $first (i32.const 144) (i32.const 64)) (i32.store $first (i32.const 148) (i32.const 5))
    (i32.const 128))

  (func (export "heartbeat") (result i32) (i32.const 1024))

  (func $deeper (param $depth i64) (result i64)
    (i64.add (call $deeper (i64.add (local.get $depth) (i64.const 1))) (local.get $depth)))

  (func (export "handle")
    (param $id i32) (param i32) (param $topic i32) (param i32) (param $payload i32) (param i32) (param $trace i32) (param i32)
    (param $sender i32) (param i32) (param i32) (param $depth i32) (param $accepted i64)
    (result i32)
    (local $letter i32)
    (local.set $letter (i32.load8_u $first (i32.add (local.get $payload) (i32.const 1))))
    ;; f: fuel or deadline
    (if (i32.eq (local.get $letter) (i32.const 0x66)) (then (loop $again (br $again))))
    ;; m: memory, in two
    (if (i32.eq (local.get $letter) (i32.const 0x6d)) (then (loop $again
      (drop (memory.grow $first (i32.const 1))) (drop (memory.grow $second (i32.const 1))) (br $again))))
    ;; t: table
    (if (i32.eq (local.get $letter) (i32.const 0x74)) (then (loop $again
      (drop (table.grow $table (ref.null func) (i32.const 100))) (br $again))))
    ;; s: stack
    (if (i32.eq (local.get $letter) (i32.const 0x73)) (then (drop (call $deeper (i64.const 0)))))
    ;; r: resources
    (if (i32.eq (local.get $letter) (i32.const 0x72)) (then (loop $again
      (drop (call $timer (i64.const 1))) (br $again))))
    ;; h: host calls
    (if (i32.eq (local.get $letter) (i32.const 0x68)) (then (loop $again
      (call $log (i32.const 0) (i32.const 64) (i32.const 0)) (br $again))))
    ;; b: bytes in host calls
    (if (i32.eq (local.get $letter) (i32.const 0x62)) (then (loop $again
      (call $state-get (i32.const 32768) (i32.const 16384) (i32.const 512)) (br $again))))
    ;; w: writes
    (if (i32.eq (local.get $letter) (i32.const 0x77)) (then (loop $again
      (call $state-set (i32.const 64) (i32.const 5) (i32.const 74) (i32.const 2) (i32.const 0) (i64.const 0) (i32.const 512))
      (br $again))))
    ;; l: log
    (if (i32.eq (local.get $letter) (i32.const 0x6c)) (then
      (call $log (i32.const 1) (i32.const 32768) (i32.const 8192))))
    ;; a: two actions, of zeroes
    (if (i32.eq (local.get $letter) (i32.const 0x61)) (then
      (i32.store $first (i32.const 1028) (i32.const 32768)) (i32.store $first (i32.const 1032) (i32.const 2))))
    (i32.const 1024))
)
