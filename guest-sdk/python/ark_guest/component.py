"""The agent as a component. Only `componentize-py` imports this module: it makes `wit_world` from the WIT."""

from __future__ import annotations

import traceback
from enum import Enum
from typing import Any, Optional, Type

import wit_world
from componentize_py_types import Err
from wit_world.imports import actions as wit_actions
from wit_world.imports import host as wit_host
from wit_world.imports import signals as wit_signals
from wit_world.imports import verdicts as wit_verdicts

from .actions import Action, ClosePosition, Custom, DataHandling, ExecuteCode, FileOperation, Message, Trade
from .agent import (
    Agent,
    Conflict,
    Failed,
    Host,
    HostError,
    Invalid,
    InvalidSignal,
    Level,
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

# The first frames say where the agent was called, the last where it failed: these are kept.
_MAX_TRACEBACK = 2000


def export_agent(agent: Type[Agent]) -> Any:
    """Returns the class that `componentize-py` exports: `WitWorld = export_agent(MyAgent)`."""

    class WitWorld(wit_world.WitWorld):
        def metadata(self) -> Any:
            metadata = agent().metadata()
            return wit_signals.Metadata(metadata.name, metadata.version, metadata.description)

        def handle(self, signal: Any) -> Any:
            try:
                proposed = agent().handle(_HOST, Signal(**vars(signal)))
                return [_to_wit_action(action) for action in proposed]
            except InvalidSignal as error:
                raise Err(wit_signals.Error_InvalidSignal(str(error))) from None
            except Failed as error:
                raise Err(wit_signals.Error_Failed(str(error))) from None
            except Exception:
                raise Err(wit_signals.Error_Failed(_describe_failure())) from None

        def heartbeat(self) -> None:
            try:
                agent().heartbeat()
            except Failed as error:
                raise Err(str(error)) from None
            except Exception:
                raise Err(_describe_failure()) from None

    return WitWorld


def _describe_failure() -> str:
    text = traceback.format_exc().strip()
    last = text.rsplit("\n", 1)[-1]
    return f"{last}\n{text[-_MAX_TRACEBACK:]}"


def _call(function: Any, *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except Err as error:
        value = error.value
        if isinstance(value, wit_host.HostError_Conflict):
            raise Conflict(value.value) from None
        for case, exception in _HOST_ERRORS:
            if isinstance(value, case):
                raise exception(value.value) from None
        raise HostError(str(value)) from None


_HOST_ERRORS: list[tuple[Any, Type[HostError]]] = [
    (wit_host.HostError_Invalid, Invalid),
    (wit_host.HostError_NotGranted, NotGranted),
    (wit_host.HostError_LimitReached, LimitReached),
    (wit_host.HostError_Unavailable, Unavailable),
]


class _ComponentHost(Host):
    def log(self, level: Level, message: str) -> None:
        wit_host.log(_member(wit_host.Level, level), message)

    def state_get(self, key: str) -> Optional[StateEntry]:
        entry = _call(wit_host.state_get, key)
        return None if entry is None else StateEntry(entry.value_json, entry.revision)

    def state_set(self, key: str, value_json: str, expected: Optional[int] = None) -> int:
        return _call(wit_host.state_set, key, value_json, expected)

    def state_delete(self, key: str, expected: Optional[int] = None) -> int:
        return _call(wit_host.state_delete, key, expected)

    def state_list(self, prefix: str, limit: int = 1000) -> list[str]:
        return _call(wit_host.state_list, prefix, limit)

    def memory_add(self, entry: Memory, ttl_seconds: Optional[int] = None) -> None:
        _call(wit_host.memory_add, wit_host.Memory(entry.kind, entry.content, entry.metadata_json), ttl_seconds)

    def memory_recent(self, kind: Optional[str] = None, limit: int = 1000) -> list[Memory]:
        found = _call(wit_host.memory_recent, kind, limit)
        return [Memory(memory.kind, memory.content, memory.metadata_json) for memory in found]

    def truth_get(self, key: str) -> Optional[Truth]:
        truth = _call(wit_host.truth_get, key)
        return None if truth is None else Truth(truth.value_json, truth.confidence, truth.sources)

    def truth_set(self, key: str, truth: Truth) -> None:
        _call(wit_host.truth_set, key, wit_host.Truth(truth.value_json, truth.confidence, list(truth.sources)))

    def config_get(self, key: str) -> Optional[str]:
        return _call(wit_host.config_get, key)

    def check(self, action: Action) -> Preview:
        preview = _call(wit_host.check, _to_wit_action(action))
        verdicts = [PolicyVerdict(verdict.policy, [_from_wit_answer(answer) for answer in verdict.answers]) for verdict in preview.verdicts]
        return Preview(_name(preview.outcome), preview.compliance_score, verdicts)


_HOST = _ComponentHost()


def _member(enum: Any, name: str) -> Any:
    return enum[name.upper().replace("-", "_")]


def _name(member: Enum) -> Any:
    return member.name.lower().replace("_", "-")


def _from_wit_answer(answer: Any) -> RuleAnswer:
    return RuleAnswer(answer.rule, _name(answer.answer), _from_wit_value(answer.observed), _from_wit_value(answer.limit), answer.nearest_passing)


def _from_wit_value(value: Any) -> Any:
    return None if isinstance(value, wit_verdicts.Value_None_) else value.value


def _to_wit_action(action: Action) -> Any:
    return wit_actions.Action(
        action_type=action.action_type,
        parameters=_to_wit_parameters(action.parameters),
        reasoning=action.reasoning,
        sources=list(action.sources),
        reversible=action.reversible,
        rollback_plan=action.rollback_plan,
        external=action.external,
        criticality=_member(wit_actions.Criticality, action.criticality),
    )


def _to_wit_parameters(parameters: Any) -> Any:
    fields = dict(vars(parameters))
    if isinstance(parameters, Trade):
        fields["side"] = _member(wit_actions.Side, parameters.side)
        return wit_actions.Parameters_Trade(wit_actions.Trade(**fields))
    if isinstance(parameters, ClosePosition):
        return wit_actions.Parameters_ClosePosition(wit_actions.ClosePosition(**fields))
    if isinstance(parameters, DataHandling):
        fields["operation"] = _member(wit_actions.DataOperation, parameters.operation)
        if parameters.data_sensitivity is not None:
            fields["data_sensitivity"] = _member(wit_actions.Sensitivity, parameters.data_sensitivity)
        return wit_actions.Parameters_Data(wit_actions.DataHandling(**fields))
    if isinstance(parameters, FileOperation):
        fields["operation"] = _member(wit_actions.FileVerb, parameters.operation)
        return wit_actions.Parameters_File(wit_actions.FileOperation(**fields))
    if isinstance(parameters, ExecuteCode):
        return wit_actions.Parameters_Code(wit_actions.ExecuteCode(**fields))
    if isinstance(parameters, Message):
        return wit_actions.Parameters_Message(wit_actions.Message(**fields))
    if isinstance(parameters, Custom):
        return wit_actions.Parameters_Custom(wit_actions.Custom(**fields))
    raise Failed(f"parameters: are {type(parameters).__name__}; give one of the classes of ark_guest")
