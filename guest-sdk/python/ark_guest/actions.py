"""Actions: what an agent proposes. The fields are those of `ark:types/actions`; sizes are fractions of capital, 0.05 is 5 %."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import Any, Literal, Mapping, Optional, Sequence, Union

Criticality = Literal["low", "normal", "high", "critical"]
DataOperation = Literal["handle", "collect", "store", "share"]
FileVerb = Literal["read", "write", "delete", "remove", "destroy"]
Sensitivity = Literal["low", "medium", "high"]
Side = Literal["buy", "sell"]

_MAX_TEXT = 64 * 1024


@dataclass(frozen=True)
class Trade:
    """Opens or adds to a position."""

    symbol: str
    side: Side
    position_size_pct: float
    leverage: float = 1.0
    entry_price: Optional[float] = None
    stop_loss: Optional[float] = None
    take_profit: Optional[float] = None
    risk_reward_ratio: Optional[float] = None
    material_nonpublic: bool = False
    manipulative_intent: bool = False
    ahead_of_client_order: bool = False
    extra_json: str = "{}"


@dataclass(frozen=True)
class ClosePosition:
    """Gives up an open position, wholly or in part. It reduces risk."""

    symbol: str
    position_size_pct: Optional[float] = None
    extra_json: str = "{}"


@dataclass(frozen=True)
class DataHandling:
    """Handling data, perhaps somebody's personal data."""

    operation: DataOperation
    subject: Optional[str] = None
    contains_personal_data: bool = False
    data_sensitivity: Optional[Sensitivity] = None
    encryption: bool = False
    anonymized: bool = False
    destination: Optional[str] = None
    purpose: Optional[str] = None
    user_consent: Optional[bool] = None
    extra_json: str = "{}"


@dataclass(frozen=True)
class FileOperation:
    """A file operation."""

    operation: FileVerb
    path: str
    extra_json: str = "{}"


@dataclass(frozen=True)
class ExecuteCode:
    """Running code."""

    language: Optional[str]
    code: str
    extra_json: str = "{}"


@dataclass(frozen=True)
class Message:
    """Saying something."""

    topic: Optional[str] = None
    to: Optional[str] = None
    symbol: Optional[str] = None
    text: Optional[str] = None
    payload_json: Optional[str] = None
    extra_json: str = "{}"


@dataclass(frozen=True)
class Custom:
    """An action of a type that the operator declared."""

    kind: str
    parameters_json: str = "{}"


Parameters = Union[Trade, ClosePosition, DataHandling, FileOperation, ExecuteCode, Message, Custom]


@dataclass(frozen=True)
class Action:
    """A proposal. Who proposes it is no part of it: that is a fact, attested by the host."""

    action_type: str
    parameters: Parameters
    reasoning: Optional[str] = None
    sources: Sequence[str] = field(default_factory=tuple)
    criticality: Criticality = "normal"
    reversible: bool = True
    rollback_plan: Optional[str] = None
    external: Optional[bool] = None


def buy(symbol: str, size: float, *, reasoning: str, **more: Any) -> Action:
    """A purchase of `size` of capital. `more`: further fields of `Trade` and of `Action`."""
    return _trade("buy", symbol, size, reasoning, more)


def sell(symbol: str, size: float, *, reasoning: str, **more: Any) -> Action:
    """A sale of `size` of capital. `more`: further fields of `Trade` and of `Action`."""
    return _trade("sell", symbol, size, reasoning, more)


def close_position(symbol: str, size: Optional[float] = None, *, reasoning: str, **more: Any) -> Action:
    """Gives up a position: `size` of capital, or all of it."""
    return Action("close_position", ClosePosition(symbol, size), reasoning, **more)


def message(topic: str, *, reasoning: str, payload: Any = None, text: Optional[str] = None, to: Optional[str] = None,
            symbol: Optional[str] = None, **more: Any) -> Action:
    """A message, which becomes a signal on `topic` when it is approved. `payload` is anything with a JSON form."""
    payload_json = None if payload is None else json.dumps(payload, allow_nan=False)
    return Action("message", Message(topic, to, symbol, text, payload_json), reasoning, **more)


def data(operation: DataOperation, *, reasoning: str, action: Optional[Mapping[str, Any]] = None, **more: Any) -> Action:
    """Handling of data. `more`: further fields of `DataHandling`; `action`: further fields of `Action`."""
    action_type = "data_handling" if operation == "handle" else f"{operation}_data"
    return Action(action_type, DataHandling(operation, **more), reasoning, **(action or {}))


def file_operation(operation: FileVerb, path: str, *, reasoning: str, **more: Any) -> Action:
    """A file operation."""
    return Action("file_operation", FileOperation(operation, path), reasoning, **more)


def execute_code(language: Optional[str], code: str, *, reasoning: str, **more: Any) -> Action:
    """Running code."""
    return Action("execute_code", ExecuteCode(language, code), reasoning, **more)


def custom(kind: str, parameters: Mapping[str, Any], *, reasoning: str, **more: Any) -> Action:
    """An action of a type that the operator declared in `[action_types]`."""
    return Action(kind, Custom(kind, json.dumps(parameters, allow_nan=False)), reasoning, **more)


def check_action(action: Action) -> None:
    """Raises `ValueError` for what the host would refuse before any policy is asked: it names the field and what would be right."""
    if not isinstance(action, Action):
        raise ValueError(f"an agent returns a list of Action, not of {type(action).__name__}")
    for name in ("reasoning", "rollback_plan"):
        text = getattr(action, name)
        if text is not None and len(text.encode()) > _MAX_TEXT:
            raise ValueError(f"{action.action_type}: {name}: give at most {_MAX_TEXT} bytes")
    if len(action.sources) > 64:
        raise ValueError(f"{action.action_type}: sources: are {len(action.sources)}; name 64 at most")
    parameters = action.parameters
    if isinstance(parameters, Trade):
        _check_number(action, "position_size_pct", parameters.position_size_pct, 0.0, 1.0)
        if not (math.isfinite(parameters.leverage) and parameters.leverage > 0):
            raise ValueError(f"{action.action_type}: leverage: is {parameters.leverage}; give a number above 0")
        for name in ("entry_price", "stop_loss", "take_profit", "risk_reward_ratio"):
            value = getattr(parameters, name)
            if value is not None and not math.isfinite(value):
                raise ValueError(f"{action.action_type}: {name}: is {value}; give a finite number")
        if parameters.entry_price is not None and parameters.entry_price <= 0:
            raise ValueError(f"{action.action_type}: entry_price: is {parameters.entry_price}; give a number above 0")
        if action.action_type in ("buy", "sell") and parameters.side != action.action_type:
            raise ValueError(f"{action.action_type}: side: contradicts the action type")
    if isinstance(parameters, ClosePosition) and parameters.position_size_pct is not None:
        _check_number(action, "position_size_pct", parameters.position_size_pct, 0.0, 1.0)
    if isinstance(parameters, (Trade, ClosePosition)) and not parameters.symbol:
        raise ValueError(f"{action.action_type}: symbol: is empty")


def _check_number(action: Action, name: str, value: float, least: float, most: float) -> None:
    if not (math.isfinite(value) and least <= value <= most):
        raise ValueError(f"{action.action_type}: {name}: is {value}; give a number from {least:g} to {most:g}")


def _trade(side: Side, symbol: str, size: float, reasoning: str, more: dict[str, Any]) -> Action:
    of_action = {name: more.pop(name) for name in ("sources", "criticality", "reversible", "external", "rollback_plan") if name in more}
    return Action(side, Trade(symbol, side, size, **more), reasoning, **of_action)
