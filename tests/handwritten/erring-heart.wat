  ;; It handles every signal well (nothing to propose), but says of itself that it is ill.
  (data (i32.const 208) "its heart hurts")

  (func (export "handle")
    (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i64) (result i32)
    (i32.store8 (i32.const 128) (i32.const 0))
    (i32.store (i32.const 132) (i32.const 0))
    (i32.store (i32.const 136) (i32.const 0))
    (i32.const 128))
  ;; result<_, string>
  (func (export "heartbeat") (result i32)
    (i32.store8 (i32.const 192) (i32.const 1))
    (i32.store (i32.const 196) (i32.const 208))
    (i32.store (i32.const 200) (i32.const 15))
    (i32.const 192))
