import type { Action, Agent, Metadata, Signal } from './index.js';

/** The functions that a component exports. `host` is the module `ark:agent/host@1.0.0`. */
export function exportAgent(agent: Agent, host: object): {
  metadata(): Metadata;
  handle(signal: Signal): Action[];
  heartbeat(): void;
};
