// The agent as a component: componentize-js makes the module `ark:agent/host@1.0.0` from the WIT.

import { HostError, HostValues, InvalidSignal } from './agent.js';

const CALLS = [
  'log', 'stateGet', 'stateSet', 'stateDelete', 'stateList', 'memoryAdd', 'memoryRecent', 'truthGet', 'truthSet', 'configGet', 'check',
];
const MAX_STACK = 2000;

export function exportAgent(agent, imports) {
  const host = new HostValues();
  for (const name of CALLS) {
    host[name] = (...parameters) => {
      try {
        return imports[name](...parameters);
      } catch (error) {
        // An error of the contract is an object with tag and value, perhaps within an Error.
        const payload = error?.payload ?? error;
        throw typeof payload?.tag === 'string' ? new HostError(payload.tag, payload.val) : error;
      }
    };
  }
  return {
    metadata: () => agent.metadata,
    handle(signal) {
      try {
        return agent.handle(host, signal);
      } catch (error) {
        if (error instanceof InvalidSignal) throw { tag: 'invalid-signal', val: error.message };
        throw { tag: 'failed', val: describeFailure(error) };
      }
    },
    heartbeat() {
      try {
        agent.heartbeat?.();
      } catch (error) {
        throw describeFailure(error);
      }
    },
  };
}

function describeFailure(error) {
  const stack = typeof error?.stack === 'string' ? `\n${error.stack.slice(0, MAX_STACK)}` : '';
  return `${error}${stack}`;
}
