import json

import pytest

from ark_guest import (
    Agent,
    Conflict,
    Failed,
    Invalid,
    InvalidSignal,
    Memory,
    Metadata,
    MockHost,
    NotGranted,
    Preview,
    Truth,
    buy,
    message,
    sell,
)


class Scripted(Agent):
    """Does what the payload says."""

    def metadata(self):
        return Metadata("scripted", "0.1.0", "Does what it is told.")

    def handle(self, host, signal):
        how = signal.payload()
        host.set_state("n", (host.state("n") or 0) + 1)
        host.memory_add(Memory("note", how), 5)
        if how == "reject":
            raise InvalidSignal("no")
        if how == "fail":
            raise RuntimeError("broken")
        if how == "unsound":
            return [buy("BTC-USD", float("nan"), reasoning="x")]
        return [buy("BTC-USD", 0.02, reasoning="x", stop_loss=1.0, entry_price=2.0, sources=["feed"])]


def test_a_delivery_is_a_transaction():
    host = MockHost()
    (action,) = host.deliver(Scripted(), "t", "go")
    assert (action.action_type, action.parameters.side, action.sources) == ("buy", "buy", ["feed"])
    for how, error in [("reject", InvalidSignal), ("fail", RuntimeError), ("unsound", Failed)]:
        with pytest.raises(error):
            host.deliver(Scripted(), "t", how)
    assert host.state("n") == 1
    assert [memory.content for memory in host.memories()] == ["go"]
    host.advance_clock(10)
    assert host.memories() == []


def test_revisions_and_conflicts_are_those_of_the_host():
    host = MockHost()
    assert host.set_state("k", {"b": 1, "a": 2}) == 1
    assert host.state_get("k").value_json == '{"a":2,"b":1}'
    assert host.set_state("k", 2) == 1, "within one transaction it is one revision"
    host._commit()
    assert host.set_state("k", 3, expected=1) == 2
    with pytest.raises(Conflict) as conflict:
        host.set_state("k", 4, expected=7)
    assert conflict.value.revision == 2
    with pytest.raises(Conflict):
        host.state_delete("absent")
    assert host.state_list("k") == ["k"]
    for key in ["", "a\nb", "x" * 257]:
        with pytest.raises(Invalid):
            host.state_get(key)
    with pytest.raises(Invalid):
        host.state_set("k", "{")


def test_grants_and_dry_runs():
    host = MockHost(truth_set=False, check=lambda _: Preview("denied", 0.5), config={"ceiling": 10})
    with pytest.raises(NotGranted, match="capabilities"):
        host.truth_set("t", Truth("1", 0.5))
    assert host.check(sell("BTC-USD", 0.01, reasoning="x")).outcome == "denied"
    with pytest.raises(Invalid, match="position_size_pct"):
        host.check(sell("BTC-USD", 1.5, reasoning="x"))
    assert host.config("ceiling") == 10
    granted = MockHost()
    granted.truth_set("t", Truth("1", 0.5, ["a"]))
    assert granted.truth_get("t").confidence == 0.5


def test_messages_carry_json():
    action = message("a.b", payload={"n": 1}, reasoning="x")
    assert json.loads(action.parameters.payload_json) == {"n": 1}
