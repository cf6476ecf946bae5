// A consumer's whole flow with the types that openapi-typescript makes from the document of the API.

import assert from "node:assert/strict";
import createClient from "openapi-fetch";
import type { components, paths } from "./api.js";

type Buy = components["schemas"]["BuyForm"];
type Batched = components["schemas"]["BatchedBuyForm"];

const [url, deskToken, officerToken] = process.argv.slice(2);

function connect(token?: string) {
  const headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
  return createClient<paths>({ baseUrl: url, headers });
}

/** The answer, or an end with the problem that the host named. */
function expect<T>(result: { data?: T; error?: unknown }): T {
  assert.ok(result.data !== undefined, JSON.stringify(result.error));
  return result.data;
}

const desk = connect(deskToken);
const officer = connect(officerToken);
const parameters = { symbol: "BTC-USD", position_size_pct: 0.01, entry_price: 100, risk_reward_ratio: 2.5 };
const buy: Buy = { agent: "api", action_type: "buy", parameters, criticality: "normal", reasoning: "a test" };

expect(await connect().GET("/readyz"));

// Denied: nothing says where the position would be closed at a loss. What nobody reads is warned of.
const denied = expect(
  await desk.POST("/v1/actions", {
    body: { ...buy, parameters: { ...parameters, stop_los: 95, note: { because: ["a", 1] } } },
    params: { header: { "Idempotency-Key": "typescript-1" } },
  }),
);
assert.equal(denied.outcome, "denied");
assert.equal(denied.warnings?.[0]?.known, "stop_loss");

const id = denied.decision_id;
const shown = expect(await desk.GET("/v1/decisions/{id}", { params: { path: { id }, query: { rules: "fired" } } }));
assert.deepEqual(shown.reasons, denied.reasons);
const fired = shown.policies.flatMap((policy) => policy.rules.map((rule) => rule.rule));
assert.ok(fired.includes("require_stop_loss"), fired.join());

const batched: Batched = { agent: "api", action_type: "buy", parameters: { ...parameters, stop_loss: 95 }, reasoning: "a test" };
const batch = expect(
  await desk.POST("/v1/actions/batch", {
    body: { actions: [batched] },
  }),
);
assert.deepEqual(batch.decisions.map((decision) => decision.outcome), ["approved"]);

const query = { symbol: "btc/usd", rule: "require_stop_loss", since: String(denied.decided_at_ms), limit: 10 };
const found = expect(await desk.GET("/v1/decisions", { params: { query } }));
assert.deepEqual(found.decisions.map((row) => row.decision_id), [id]);
assert.equal(found.decisions[0]?.position_size_pct, 0.01);

const refused = await desk.GET("/v1/decisions", { params: { query: { symbol: "-" } } });
assert.equal(refused.error?.field, "symbol");

const held = expect(
  await desk.POST("/v1/actions", {
    body: { agent: "api", action_type: "execute_code", parameters: { code: "print(6 * 7)" }, reasoning: "a test" },
  }),
);
assert.equal(held.outcome, "held");
const settled = expect(
  await officer.POST("/v1/approvals/{id}/approve", { params: { path: { id: held.decision_id } }, body: { comment: "checked" } }),
);
assert.equal(settled.decision?.outcome, "approved");

// A signal's payload is any JSON.
expect(await desk.POST("/v1/signals", { body: { topic: "market.tick", payload: { rows: [{ price: 1.5 }] } } }));

console.log("done");
