// The errors of an agent, and what every host offers besides the calls of `ark:agent/host`.

export class InvalidSignal extends Error {}

export class HostError extends Error {
  constructor(kind, detail) {
    super(kind === 'conflict' ? `the key is at revision ${detail}` : detail);
    this.kind = kind;
    if (kind === 'conflict') this.revision = detail;
  }
}

export function payloadOf(signal) {
  try {
    return JSON.parse(signal.payloadJson);
  } catch (error) {
    throw new InvalidSignal(`payload: is no JSON: ${error.message}`);
  }
}

/** Reads and writes of values instead of JSON, for a class that has the host's calls. */
export class HostValues {
  state(key) {
    const entry = this.stateGet(key);
    return entry === undefined ? undefined : JSON.parse(entry.valueJson);
  }

  setState(key, value, expected) {
    return this.stateSet(key, JSON.stringify(value), expected);
  }

  config(key) {
    const value = this.configGet(key);
    return value === undefined ? undefined : JSON.parse(value);
  }
}
