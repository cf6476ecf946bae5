"""A consumer's whole flow with the client that openapi-python-client makes from the document of the API."""

import sys

from ark_client import AuthenticatedClient, Client
from ark_client.api.about import readyz
from ark_client.api.actions import list_decisions, propose, propose_batch, read_decision
from ark_client.api.approvals import approve, list_approvals
from ark_client.models.batch_request import BatchRequest
from ark_client.models.batched_buy_form import BatchedBuyForm
from ark_client.models.buy_form import BuyForm
from ark_client.models.code_form import CodeForm
from ark_client.models.decision_page import DecisionPage
from ark_client.models.problem import Problem
from ark_client.models.read_decision_rules import ReadDecisionRules
from ark_client.models.resolution_request import ResolutionRequest
from ark_client.types import Unset

url, desk_token, officer_token = sys.argv[1:]
desk = AuthenticatedClient(url, desk_token)
officer = AuthenticatedClient(url, officer_token)


def buy(**parameters: object) -> dict[str, object]:
    known = {"symbol": "BTC-USD", "position_size_pct": 0.01, "entry_price": 100.0, "risk_reward_ratio": 2.5}
    return {"agent": "api", "action_type": "buy", "reasoning": "a test", "parameters": known | parameters}


ready = readyz.sync(client=Client(url))
assert ready is not None and not isinstance(ready, Problem), ready

# Denied: nothing says where the position would be closed at a loss. What nobody reads is warned of.
denied = propose.sync(client=desk, body=BuyForm.from_dict(buy(stop_los=95.0)), idempotency_key="python-1")
assert denied is not None and not isinstance(denied, Problem), denied
assert denied.outcome.value == "denied", denied
assert not isinstance(denied.warnings, Unset) and denied.warnings[0].known == "stop_loss", denied

shown = read_decision.sync(denied.decision_id, client=desk, rules=ReadDecisionRules.FIRED)
assert shown is not None and not isinstance(shown, Problem), shown
assert shown.reasons == denied.reasons, shown
fired = [rule.rule for policy in shown.policies for rule in policy.rules]
assert "require_stop_loss" in fired, fired

batch = BatchRequest([BatchedBuyForm.from_dict(buy(stop_loss=95.0)), BatchedBuyForm.from_dict(buy(symbol="ETH-USD"))])
decided = propose_batch.sync(client=desk, body=batch)
assert decided is not None and not isinstance(decided, Problem), decided
assert [decision.outcome.value for decision in decided.decisions] == ["approved", "denied"], decided

found = list_decisions.sync(client=desk, symbol="btc/usd", rule="require_stop_loss", since=str(denied.decided_at_ms))
assert isinstance(found, DecisionPage), found
assert [row.decision_id for row in found.decisions] == [denied.decision_id], found
assert found.decisions[0].position_size_pct == 0.01, found

code = {"agent": "api", "action_type": "execute_code", "parameters": {"code": "print(6 * 7)"}, "reasoning": "a test"}
held = propose.sync(client=desk, body=CodeForm.from_dict(code))
assert held is not None and not isinstance(held, Problem) and held.outcome.value == "held", held
waiting = list_approvals.sync(client=officer)
assert waiting is not None and not isinstance(waiting, Problem), waiting
assert [row.id for row in waiting.approvals] == [held.decision_id], waiting
settled = approve.sync(held.decision_id, client=officer, body=ResolutionRequest(comment="checked"))
assert settled is not None and not isinstance(settled, Problem), settled
assert settled.decision is not None and settled.decision.outcome.value == "approved", settled

print("done")
