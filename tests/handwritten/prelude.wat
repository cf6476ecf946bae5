  ;; What every handwritten guest begins with; `cargo xtask guests` puts it in front of each <name>.wat, with NAME replaced, and makes the
  ;; whole a module and then a component of world `ark:agent/agent`.
  (memory (export "memory") 2)
  (global $heap (mut i32) (i32.const 65536))
  (data (i32.const 16) "NAME")
  (data (i32.const 48) "0.1.0")

  ;; The host's space for strings: bumped, never freed; an instance lives for one signal.
  (func (export "cabi_realloc") (param $old i32) (param $old_size i32) (param $align i32) (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
    (global.set $heap (i32.add (local.get $at) (local.get $size)))
    (block $fits
      (br_if $fits (i32.le_u (global.get $heap) (i32.mul (memory.size) (i32.const 65536))))
      (br_if $fits (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))
      unreachable)
    (local.get $at))

  ;; record metadata { name, version, description }: three strings, in memory from 64.
  (func (export "metadata") (result i32)
    (i32.store (i32.const 64) (i32.const 16))
    (i32.store (i32.const 68) (i32.const NAMELEN))
    (i32.store (i32.const 72) (i32.const 48))
    (i32.store (i32.const 76) (i32.const 5))
    (i32.store (i32.const 80) (i32.const 16))
    (i32.store (i32.const 84) (i32.const NAMELEN))
    (i32.const 64))

