  ;; Its start function never returns: it must be refused when it is loaded.
  (func $start (loop $forever (br $forever)))
  (start $start)

  (func (export "handle")
    (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i64) (result i32)
    unreachable)
  (func (export "heartbeat") (result i32)
    unreachable)
