// Agents for ARK in JavaScript. Types and documentation: index.d.ts.

export { buy, checkAction, closePosition, custom, data, executeCode, fileOperation, message, sell } from './actions.js';
export { HostError, InvalidSignal, payloadOf } from './agent.js';
export { MockHost } from './mock.js';
