"""The contract of an agent: what it is, what it is handed, and what it can ask of the host (`ark:agent`)."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, Literal, Optional, Sequence, Union

from .actions import Action

Level = Literal["debug", "info", "warn", "error"]
Outcome = Literal["approved", "held", "denied"]


@dataclass(frozen=True)
class Metadata:
    """An agent's description of itself. Name and version equal the manifest's."""

    name: str
    version: str
    description: str


@dataclass(frozen=True)
class Signal:
    """An input event."""

    id: str
    topic: str
    payload_json: str
    trace_id: str
    sender: Optional[str]
    causal_depth: int
    accepted_ms: int

    def payload(self) -> Any:
        """The payload as Python's values. Raises `InvalidSignal` when it is no JSON."""
        try:
            return json.loads(self.payload_json)
        except ValueError as error:
            raise InvalidSignal(f"payload: is no JSON: {error}") from error


@dataclass(frozen=True)
class StateEntry:
    """A value in the agent's state, with its revision."""

    value_json: str
    revision: int


@dataclass(frozen=True)
class Memory:
    """Something that the agent remembers. `metadata_json` is a JSON object."""

    kind: str
    content: str
    metadata_json: str = "{}"


@dataclass(frozen=True)
class Truth:
    """An entry of the truth map, which all agents share."""

    value_json: str
    confidence: float
    sources: Sequence[str] = field(default_factory=list)


@dataclass(frozen=True)
class RuleAnswer:
    """One rule's answer in a dry run."""

    rule: int
    answer: Literal["pass", "warn", "violation", "hold", "not-applicable", "error"]
    observed: Union[None, bool, float, str] = None
    limit: Union[None, bool, float, str] = None
    nearest_passing: Optional[float] = None


@dataclass(frozen=True)
class PolicyVerdict:
    """One policy's verdict in a dry run; without answers: the policy failed, which denies."""

    policy: str
    answers: Sequence[RuleAnswer] = field(default_factory=list)


@dataclass(frozen=True)
class Preview:
    """The result of a dry run."""

    outcome: Outcome
    compliance_score: float
    verdicts: Sequence[PolicyVerdict] = field(default_factory=list)


class InvalidSignal(Exception):
    """The signal is malformed: says what is wrong. This counts as the sender's failure."""


class Failed(Exception):
    """The agent failed: says how. Any other exception that leaves `handle` is a failure too, with its traceback."""


class HostError(Exception):
    """A host call failed."""


class Conflict(HostError):
    """The key is at another revision than expected: this one (0: the key does not exist)."""

    def __init__(self, revision: int) -> None:
        super().__init__(f"the key is at revision {revision}")
        self.revision = revision


class Invalid(HostError):
    """An argument is malformed."""


class NotGranted(HostError):
    """The agent's manifest does not grant the call."""


class LimitReached(HostError):
    """The invocation has used up a limit."""


class Unavailable(HostError):
    """The host cannot answer the call now."""


class Host(ABC):
    """What the host offers. What is written is committed when `handle` returns, with the decisions, or not at all."""

    @abstractmethod
    def log(self, level: Level, message: str) -> None:
        """Writes a line to the host's log."""

    @abstractmethod
    def state_get(self, key: str) -> Optional[StateEntry]:
        """Reads a key of the agent's state, with the writes of this invocation."""

    @abstractmethod
    def state_set(self, key: str, value_json: str, expected: Optional[int] = None) -> int:
        """Writes a key; with `expected` only at that revision (0: it must not exist). Returns the revision it will have."""

    @abstractmethod
    def state_delete(self, key: str, expected: Optional[int] = None) -> int:
        """Deletes a key."""

    @abstractmethod
    def state_list(self, prefix: str, limit: int = 1000) -> list[str]:
        """The keys that start with `prefix`, in order."""

    @abstractmethod
    def memory_add(self, entry: Memory, ttl_seconds: Optional[int] = None) -> None:
        """Adds a memory."""

    @abstractmethod
    def memory_recent(self, kind: Optional[str] = None, limit: int = 1000) -> list[Memory]:
        """The latest memories, newest first."""

    @abstractmethod
    def truth_get(self, key: str) -> Optional[Truth]:
        """Reads an entry of the truth map."""

    @abstractmethod
    def truth_set(self, key: str, truth: Truth) -> None:
        """Writes an entry of the truth map. Needs `capabilities = ["truth-set"]` in the manifest."""

    @abstractmethod
    def config_get(self, key: str) -> Optional[str]:
        """A value of the operator's configuration for this agent, as JSON."""

    @abstractmethod
    def check(self, action: Action) -> Preview:
        """How the policies would judge an action now. Nothing is recorded."""

    def state(self, key: str) -> Any:
        """The value of a key; `None`: the key does not exist."""
        entry = self.state_get(key)
        return None if entry is None else json.loads(entry.value_json)

    def set_state(self, key: str, value: Any, expected: Optional[int] = None) -> int:
        """Writes a key with anything that has a JSON form."""
        return self.state_set(key, json.dumps(value, allow_nan=False), expected)

    def config(self, key: str) -> Any:
        """A value of the operator's configuration for this agent; `None`: there is none."""
        value = self.config_get(key)
        return None if value is None else json.loads(value)


class Agent(ABC):
    """An agent. Each signal is handled by a fresh instance: attributes do not survive."""

    @abstractmethod
    def metadata(self) -> Metadata:
        """The agent's name and version."""

    @abstractmethod
    def handle(self, host: Host, signal: Signal) -> list[Action]:
        """Handles one signal and returns what the agent proposes. Raises `InvalidSignal` when the signal makes no sense."""

    def heartbeat(self) -> None:
        """Raises `Failed` with what is wrong when the agent is not well."""
