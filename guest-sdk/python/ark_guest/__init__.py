"""Agents for ARK in Python.

An agent is a class with `metadata`, `handle` and `heartbeat`; its tests need no WebAssembly:

    class Echo(Agent):
        def metadata(self):
            return Metadata("echo", "0.1.0", "Counts greetings.")

        def handle(self, host, signal):
            count = (host.state("count") or 0) + 1
            host.set_state("count", count)
            return [message("echo.said", payload=count, reasoning="a greeting deserves an answer")]

    host = MockHost()
    assert len(host.deliver(Echo(), "greeting", "hello")) == 1
    assert host.state("count") == 1

Every signal is handled by a fresh instance: what must be remembered goes into the host's state. An invocation is a transaction: state,
memories, truths and the decisions on its actions are committed together, or none is.
"""

from .actions import (
    Action,
    ClosePosition,
    Custom,
    DataHandling,
    ExecuteCode,
    FileOperation,
    Message,
    Parameters,
    Trade,
    buy,
    close_position,
    custom,
    data,
    execute_code,
    file_operation,
    message,
    sell,
)
from .agent import (
    Agent,
    Conflict,
    Failed,
    Host,
    HostError,
    Invalid,
    InvalidSignal,
    LimitReached,
    Memory,
    Metadata,
    NotGranted,
    PolicyVerdict,
    Preview,
    RuleAnswer,
    Signal,
    StateEntry,
    Truth,
    Unavailable,
)
from .mock import MockHost

__all__ = [
    "Action",
    "Agent",
    "ClosePosition",
    "Conflict",
    "Custom",
    "DataHandling",
    "ExecuteCode",
    "Failed",
    "FileOperation",
    "Host",
    "HostError",
    "Invalid",
    "InvalidSignal",
    "LimitReached",
    "Memory",
    "Message",
    "Metadata",
    "MockHost",
    "NotGranted",
    "Parameters",
    "PolicyVerdict",
    "Preview",
    "RuleAnswer",
    "Signal",
    "StateEntry",
    "Trade",
    "Truth",
    "Unavailable",
    "buy",
    "close_position",
    "custom",
    "data",
    "execute_code",
    "file_operation",
    "message",
    "sell",
]
