import assert from 'node:assert/strict';
import { test } from 'node:test';

import { HostError, InvalidSignal, MockHost, buy, message, payloadOf, sell } from '../index.js';
import { exportAgent } from '../component.js';

/** Does what the payload says. */
const scripted = {
  metadata: { name: 'scripted', version: '0.1.0', description: 'Does what it is told.' },
  handle(host, signal) {
    const how = payloadOf(signal);
    host.setState('n', (host.state('n') ?? 0) + 1);
    host.memoryAdd({ kind: 'note', content: how, metadataJson: '{}' }, 5n);
    if (how === 'reject') throw new InvalidSignal('no');
    if (how === 'fail') throw new TypeError('broken');
    if (how === 'unsound') return [buy('BTC-USD', NaN, { reasoning: 'x' })];
    return [buy('BTC-USD', 0.02, { reasoning: 'x', entryPrice: 2, stopLoss: 1, sources: ['feed'] })];
  },
};

test('a delivery is a transaction', () => {
  const host = new MockHost();
  const [action] = host.deliver(scripted, 't', 'go');
  assert.equal(action.actionType, 'buy');
  assert.equal(action.parameters.val.stopLoss, 1);
  assert.deepEqual(action.sources, ['feed']);
  assert.throws(() => host.deliver(scripted, 't', 'reject'), InvalidSignal);
  assert.throws(() => host.deliver(scripted, 't', 'fail'), TypeError);
  assert.throws(() => host.deliver(scripted, 't', 'unsound'), /positionSizePct/);
  assert.equal(host.state('n'), 1);
  assert.deepEqual(host.memories().map(({ content }) => content), ['go']);
  host.advanceClock(10);
  assert.deepEqual(host.memories(), []);
});

test('revisions and conflicts are those of the host', () => {
  const host = new MockHost();
  assert.equal(host.setState('k', 1), 1n);
  assert.equal(host.setState('k', 2), 1n, 'within one transaction it is one revision');
  assert.throws(() => host.setState('k', 3, 7n), (error) => error instanceof HostError && error.revision === 1n);
  assert.throws(() => host.stateDelete('absent'), { kind: 'conflict' });
  for (const key of ['', 'a\nb', 'x'.repeat(257)]) assert.throws(() => host.stateGet(key), { kind: 'invalid' });
  assert.throws(() => host.stateSet('k', '{'), { kind: 'invalid' });
});

test('grants and dry runs', () => {
  const host = new MockHost({ truthSet: false, config: { ceiling: 10 }, check: () => ({ outcome: 'denied', complianceScore: 0.5, verdicts: [] }) });
  assert.throws(() => host.truthSet('t', { valueJson: '1', confidence: 0.5, sources: [] }), /capabilities/);
  assert.equal(host.check(sell('BTC-USD', 0.01, { reasoning: 'x' })).outcome, 'denied');
  assert.throws(() => host.check(sell('BTC-USD', 1.5, { reasoning: 'x' })), { kind: 'invalid' });
  assert.equal(host.config('ceiling'), 10);
});

test('messages carry JSON', () => {
  assert.equal(message('a.b', { payload: { n: 1 }, reasoning: 'x' }).parameters.val.payloadJson, '{"n":1}');
});

test('a component turns errors into those of the contract, both ways', () => {
  const imports = {
    stateGet: () => {
      throw Object.assign(new Error('component error'), { payload: { tag: 'conflict', val: 3n } });
    },
  };
  const catching = { ...scripted, handle: (host) => host.state('k') };
  const failure = (agent, payloadJson) => {
    try {
      exportAgent(agent, imports).handle({ payloadJson });
    } catch (error) {
      return error;
    }
    return undefined;
  };
  const failed = failure(catching, '1');
  assert.equal(failed.tag, 'failed');
  assert.match(failed.val, /revision 3/);
  assert.equal(failure({ ...scripted, handle: (_, signal) => payloadOf(signal) }, '{').tag, 'invalid-signal');
});
