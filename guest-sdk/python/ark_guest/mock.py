"""A host for tests: it keeps state, memories and truths with the revisions, conflicts and transactions of the real host."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Callable, Optional

from .actions import Action, check_action
from .agent import Agent, Conflict, Failed, Host, Invalid, Level, Memory, NotGranted, Preview, Signal, StateEntry, Truth

_MAX_LISTED = 1000


@dataclass
class _Writes:
    state: dict[str, tuple[int, Optional[str]]] = field(default_factory=dict)
    memories: list[tuple[Memory, Optional[int]]] = field(default_factory=list)
    truths: dict[str, Truth] = field(default_factory=dict)


class MockHost(Host):
    """A host without a sandbox and without policies. A delivery is a transaction: what the agent wrote is kept when `handle` returns actions
    that the real host would take, and dropped otherwise."""

    def __init__(self, *, config: Optional[dict[str, Any]] = None, truth_set: bool = True,
                 check: Callable[[Action], Preview] = lambda _: Preview("approved", 1.0)) -> None:
        self.logged: list[tuple[Level, str]] = []
        self.now_ms = 0
        self._config = {key: json.dumps(value) for key, value in (config or {}).items()}
        self._truth_set = truth_set
        self._check = check
        self._signals = 0
        self._kept = _Writes()
        self._writes = _Writes()

    def signal(self, topic: str, payload: Any) -> Signal:
        """A new signal from outside. The clock advances by a second."""
        self._signals += 1
        self.advance_clock(1)
        return Signal(f"signal-{self._signals}", topic, json.dumps(payload), f"{self._signals:032x}", None, 0, self.now_ms)

    def deliver(self, agent: Agent, topic: str, payload: Any) -> list[Action]:
        """Delivers a payload: one invocation of the agent."""
        return self.deliver_signal(agent, self.signal(topic, payload))

    def deliver_signal(self, agent: Agent, signal: Signal) -> list[Action]:
        """Delivers a signal. Raises what the agent raises, or `Failed` for an action that the host would refuse."""
        self._writes = _Writes()
        try:
            actions = agent.handle(self, signal)
            for action in actions:
                try:
                    check_action(action)
                except ValueError as error:
                    raise Failed(str(error)) from error
        except BaseException:
            self._writes = _Writes()
            raise
        self._commit()
        return list(actions)

    def advance_clock(self, seconds: int) -> None:
        """Lets time pass: memories expire."""
        self.now_ms += 1000 * seconds
        self._kept.memories = [kept for kept in self._kept.memories if kept[1] is None or kept[1] > self.now_ms]

    def memories(self) -> list[Memory]:
        """All memories that were kept and have not expired, oldest first."""
        return [memory for memory, _ in self._kept.memories]

    def log(self, level: Level, message: str) -> None:
        if level not in ("debug", "info", "warn", "error"):
            raise Invalid(f"level: is {level!r}; give debug, info, warn or error")
        self.logged.append((level, message))

    def state_get(self, key: str) -> Optional[StateEntry]:
        _check_key(key)
        revision, value = self._slot(key)
        return None if value is None else StateEntry(value, revision)

    def state_set(self, key: str, value_json: str, expected: Optional[int] = None) -> int:
        _check_key(key)
        return self._write(key, _canonical("value-json", value_json), expected)

    def state_delete(self, key: str, expected: Optional[int] = None) -> int:
        _check_key(key)
        return self._write(key, None, expected)

    def state_list(self, prefix: str, limit: int = _MAX_LISTED) -> list[str]:
        keys = sorted(set(self._kept.state) | set(self._writes.state))
        live = [key for key in keys if key.startswith(prefix) and self._slot(key)[1] is not None]
        return live[: min(limit, _MAX_LISTED)]

    def memory_add(self, entry: Memory, ttl_seconds: Optional[int] = None) -> None:
        if not isinstance(json.loads(_canonical("metadata-json", entry.metadata_json)), dict):
            raise Invalid("metadata-json: give a JSON object")
        if not 1 <= len(entry.kind.encode()) <= 64 or any(ord(c) < 32 for c in entry.kind):
            raise Invalid("kind: give 1 to 64 bytes of plain text")
        until = None if ttl_seconds is None else self.now_ms + 1000 * ttl_seconds
        self._writes.memories.append((entry, until))

    def memory_recent(self, kind: Optional[str] = None, limit: int = _MAX_LISTED) -> list[Memory]:
        matching = [memory for memory in reversed(self.memories()) if kind is None or memory.kind == kind]
        return matching[: min(limit, _MAX_LISTED)]

    def truth_get(self, key: str) -> Optional[Truth]:
        _check_key(key)
        return self._writes.truths.get(key) or self._kept.truths.get(key)

    def truth_set(self, key: str, truth: Truth) -> None:
        if not self._truth_set:
            raise NotGranted('the manifest does not grant truth-set; add capabilities = ["truth-set"] to it')
        _check_key(key)
        if not 0.0 <= truth.confidence <= 1.0:
            raise Invalid("confidence: give a number from 0 to 1")
        _canonical("value-json", truth.value_json)
        self._writes.truths[key] = truth

    def config_get(self, key: str) -> Optional[str]:
        return self._config.get(key)

    def check(self, action: Action) -> Preview:
        try:
            check_action(action)
        except ValueError as error:
            raise Invalid(str(error)) from error
        return self._check(action)

    def _slot(self, key: str) -> tuple[int, Optional[str]]:
        return self._writes.state.get(key) or self._kept.state.get(key) or (0, None)

    def _write(self, key: str, value: Optional[str], expected: Optional[int]) -> int:
        revision, current = self._slot(key)
        seen = 0 if current is None else revision
        missing = value is None and current is None
        if missing or (expected is not None and expected not in (seen, revision)):
            raise Conflict(seen)
        # Several writes of one invocation to a key are one revision.
        revision = self._kept.state.get(key, (0, None))[0] + 1
        self._writes.state[key] = (revision, value)
        return revision

    def _commit(self) -> None:
        self._kept.state.update(self._writes.state)
        self._kept.memories.extend(self._writes.memories)
        self._kept.truths.update(self._writes.truths)
        self._writes = _Writes()


def _check_key(key: str) -> None:
    if not 1 <= len(key.encode()) <= 256 or any(ord(c) < 32 or ord(c) == 127 for c in key):
        raise Invalid(f"key {key[:80]!r}: give 1 to 256 bytes without control characters")


def _canonical(name: str, text: str) -> str:
    try:
        return json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"), allow_nan=False)
    except ValueError as error:
        raise Invalid(f"{name}: {error}") from error
