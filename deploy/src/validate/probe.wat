;; The probe of a validation: an agent that does what the first letter of its signal's payload, a JSON string, says.
;;   w: writes the payload to its state, under the key `seen`
;;   m: proposes the payload as a message, with w in the place of the m, on the topic validation.echo, which it receives itself
;;   t: traps
;; Its heartbeat traps while its state has the key `silent`.
(module
  (import "ark:agent/host@1.0.0" "state-get" (func $state-get (param i32 i32 i32)))
  (import "ark:agent/host@1.0.0" "state-set" (func $state-set (param i32 i32 i32 i32 i32 i64 i32)))

  (memory (export "memory") 2)
  (global $free (mut i32) (i32.const 4096))
  (data (i32.const 64) "validation-probe")
  (data (i32.const 80) "1.0.0")
  (data (i32.const 96) "seen")
  (data (i32.const 104) "silent")
  (data (i32.const 112) "message")
  (data (i32.const 120) "validation.echo")
  (data (i32.const 140) "{}")
  (data (i32.const 144) "the probe of a validation")

  ;; Arguments are placed one after the other and never freed, since each instance handles one signal.
  (func (export "cabi_realloc") (param $old i32) (param $old-size i32) (param $align i32) (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
    (global.set $free (i32.add (local.get $at) (local.get $size)))
    (local.get $at))

  (func $text (param $at i32) (param $start i32) (param $length i32)
    (i32.store (local.get $at) (local.get $start))
    (i32.store offset=4 (local.get $at) (local.get $length)))

  (func (export "metadata") (result i32)
    (call $text (i32.const 256) (i32.const 64) (i32.const 16))
    (call $text (i32.const 264) (i32.const 80) (i32.const 5))
    (call $text (i32.const 272) (i32.const 144) (i32.const 25))
    (i32.const 256))

  (func (export "heartbeat") (result i32)
    ;; result<option<state-entry>, host-error>: the case at 0, the case of the option at 8.
    (call $state-get (i32.const 104) (i32.const 6) (i32.const 512))
    (if (i32.and
          (i32.eqz (i32.load8_u (i32.const 512)))
          (i32.load8_u (i32.const 520)))
      (then unreachable))
    (i32.const 1024))

  ;; An action at 2048: action-type at 0, parameters at 8 (case at 8, content from 16), reasoning at 128, sources at 140, reversible at 148,
  ;; rollback-plan at 152, external at 164, criticality at 166.
  (func $propose (param $payload i32) (param $payload-length i32)
    (i32.store8 offset=1 (local.get $payload) (i32.const 0x77))
    (call $text (i32.const 2048) (i32.const 112) (i32.const 7))
    (i32.store8 (i32.const 2056) (i32.const 5))
    ;; message: topic at 0, to at 12, symbol at 24, text at 36, payload-json at 48, extra-json at 60
    (i32.store8 (i32.const 2064) (i32.const 1))
    (call $text (i32.const 2068) (i32.const 120) (i32.const 15))
    (i32.store8 (i32.const 2112) (i32.const 1))
    (call $text (i32.const 2116) (local.get $payload) (local.get $payload-length))
    (call $text (i32.const 2124) (i32.const 140) (i32.const 2))
    (i32.store8 (i32.const 2176) (i32.const 1))
    (call $text (i32.const 2180) (i32.const 144) (i32.const 25))
    (i32.store8 (i32.const 2196) (i32.const 1))
    (i32.store8 (i32.const 2214) (i32.const 1))
    (call $text (i32.const 1028) (i32.const 2048) (i32.const 1)))

  (func (export "handle")
    (param $id i32) (param i32) (param $topic i32) (param i32) (param $payload i32) (param $payload-length i32) (param $trace i32) (param i32)
    (param $sender i32) (param i32) (param i32) (param $depth i32) (param $accepted i64)
    (result i32)
    (local $letter i32)
    (local.set $letter (i32.load8_u (i32.add (local.get $payload) (i32.const 1))))
    (if (i32.eq (local.get $letter) (i32.const 0x77)) (then
      (call $state-set (i32.const 96) (i32.const 4) (local.get $payload) (local.get $payload-length) (i32.const 0) (i64.const 0) (i32.const 512))
      (if (i32.load8_u (i32.const 512)) (then unreachable))))
    (if (i32.eq (local.get $letter) (i32.const 0x6d)) (then (call $propose (local.get $payload) (local.get $payload-length))))
    (if (i32.eq (local.get $letter) (i32.const 0x74)) (then unreachable))
    (i32.const 1024))
)
