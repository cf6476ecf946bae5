  ;; Misbehaves as no compiler for Rust would let it, in the way its signal's payload asks for: a JSON number, of which the first digit
  ;; and the second choose a case of the table in `handle`.

  (table $hoard 1 funcref)
  (memory $second 1)

  ;; result<list<action>, error> is at 128: its case (a byte); from 132 the list (address, length), or the error: its case, from 136
  ;; a string (address, length).
  (func $succeed (param $address i32) (param $length i32) (result i32)
    (i32.store8 (i32.const 128) (i32.const 0))
    (i32.store (i32.const 132) (local.get $address))
    (i32.store (i32.const 136) (local.get $length))
    (i32.const 128))
  (func $fail (param $case i32) (param $address i32) (param $length i32) (result i32)
    (i32.store8 (i32.const 128) (i32.const 1))
    (i32.store8 (i32.const 132) (local.get $case))
    (i32.store (i32.const 136) (local.get $address))
    (i32.store (i32.const 140) (local.get $length))
    (i32.const 128))

  (func (export "handle")
    (param $id i32) (param $id_len i32) (param $topic i32) (param $topic_len i32) (param $payload i32) (param $payload_len i32)
    (param $trace i32) (param $trace_len i32) (param $sender_case i32) (param $sender i32) (param $sender_len i32)
    (param $depth i32) (param $accepted i64) (result i32)
    (local $how i32)
    (local.set $how
      (i32.add
        (i32.mul (i32.sub (i32.load8_u (local.get $payload)) (i32.const 48)) (i32.const 10))
        (i32.sub (i32.load8_u (i32.add (local.get $payload) (i32.const 1))) (i32.const 48))))
    (block $well (block $realloc (block $fuel (block $table (block $pages (block $unreachable (block $string_outside (block $list_outside
    (block $list_long (block $result_case (block $error_case (block $utf8
      (br_table $utf8 $error_case $result_case $list_long $list_outside $string_outside $unreachable $pages $table $fuel $realloc $well
        (i32.sub (local.get $how) (i32.const 10))))
      ;; 10: a string that is no UTF-8.
      (i32.store (i32.const 160) (i32.const 0xfffefdfc))
      (return (call $fail (i32.const 1) (i32.const 160) (i32.const 4))))
      ;; 11: an error of a case that there is not.
      (return (call $fail (i32.const 7) (i32.const 16) (i32.const 2))))
      ;; 12: a result that is neither.
      (i32.store8 (i32.const 128) (i32.const 9))
      (return (i32.const 128)))
      ;; 13: 100,000 actions, all in memory, all zeros.
      (drop (memory.grow (i32.const 700)))
      (return (call $succeed (i32.const 65536) (i32.const 100000))))
      ;; 14: actions that lie outside of the memory.
      (return (call $succeed (i32.const 0x7ffffff8) (i32.const 1))))
      ;; 15: a string that lies outside of the memory.
      (return (call $fail (i32.const 1) (i32.const 131000) (i32.const 0x7fffffff))))
      ;; 16: the instruction itself.
      unreachable)
      ;; 17: two memories, page by page.
      (loop $grow
        (drop (memory.grow (i32.const 16)))
        (drop (memory.grow $second (i32.const 16)))
        (br $grow)))
      ;; 18: a table.
      (loop $grow
        (drop (table.grow $hoard (ref.null func) (i32.const 1000)))
        (br $grow)))
      ;; 19: work for nearly all of the fuel that the manifest leaves it (20 million), then an honest end: nothing to propose.
      (local.set $how (i32.const 3150000))
      (loop $burn
        (local.set $how (i32.sub (local.get $how) (i32.const 1)))
        (br_if $burn (local.get $how)))
      (return (call $succeed (i32.const 0) (i32.const 0))))
      ;; 20: a list at an odd address.
      (return (call $succeed (i32.const 65537) (i32.const 1))))
    ;; Anything else: nothing to propose.
    (call $succeed (i32.const 0) (i32.const 0)))

  ;; result<_, string>: it is well.
  (func (export "heartbeat") (result i32)
    (i32.store8 (i32.const 192) (i32.const 0))
    (i32.const 192))
