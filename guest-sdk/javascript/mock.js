// A host for tests: it keeps state, memories and truths with the revisions, conflicts and transactions of the real host.

import { checkAction } from './actions.js';
import { HostError, HostValues } from './agent.js';

const MAX_LISTED = 1000;

const noWrites = () => ({ state: new Map(), memories: [], truths: new Map() });
const byteLength = (text) => new TextEncoder().encode(text).length;

// The host keeps values in their canonical form, with sorted names.
function sortKeys(value) {
  if (Array.isArray(value)) return value.map(sortKeys);
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(Object.keys(value).sort().map((key) => [key, sortKeys(value[key])]));
}

export class MockHost extends HostValues {
  #config;
  #truthSet;
  #check;
  #signals = 0;
  #nowMs = 0n;
  #kept = noWrites();
  #writes = noWrites();

  constructor({ config = {}, truthSet = true, check = () => ({ outcome: 'approved', complianceScore: 1, verdicts: [] }) } = {}) {
    super();
    this.logged = [];
    this.#config = config;
    this.#truthSet = truthSet;
    this.#check = check;
  }

  signal(topic, payload) {
    this.#signals += 1;
    this.advanceClock(1);
    return {
      id: `signal-${this.#signals}`,
      topic,
      payloadJson: JSON.stringify(payload),
      traceId: this.#signals.toString(16).padStart(32, '0'),
      sender: undefined,
      causalDepth: 0,
      acceptedMs: this.#nowMs,
    };
  }

  deliver(agent, topic, payload) {
    return this.deliverSignal(agent, this.signal(topic, payload));
  }

  deliverSignal(agent, signal) {
    this.#writes = noWrites();
    try {
      const actions = agent.handle(this, signal);
      if (!Array.isArray(actions)) throw new Error('handle returns an array of actions');
      actions.forEach(checkAction);
      for (const [key, slot] of this.#writes.state) this.#kept.state.set(key, slot);
      for (const [key, truth] of this.#writes.truths) this.#kept.truths.set(key, truth);
      this.#kept.memories.push(...this.#writes.memories);
      return actions;
    } finally {
      this.#writes = noWrites();
    }
  }

  advanceClock(seconds) {
    this.#nowMs += 1000n * BigInt(seconds);
    this.#kept.memories = this.#kept.memories.filter(({ until }) => until === undefined || until > this.#nowMs);
  }

  memories() {
    return this.#kept.memories.map(({ entry }) => entry);
  }

  log(level, message) {
    if (!['debug', 'info', 'warn', 'error'].includes(level)) {
      throw new HostError('invalid', `level: is ${level}; give debug, info, warn or error`);
    }
    this.logged.push({ level, message });
  }

  stateGet(key) {
    checkKey(key);
    const { revision, valueJson } = this.#slot(key);
    return valueJson === undefined ? undefined : { valueJson, revision };
  }

  stateSet(key, valueJson, expected) {
    checkKey(key);
    return this.#write(key, JSON.stringify(sortKeys(parseJson('value-json', valueJson))), expected);
  }

  stateDelete(key, expected) {
    checkKey(key);
    return this.#write(key, undefined, expected);
  }

  stateList(prefix, limit = MAX_LISTED) {
    const keys = [...new Set([...this.#kept.state.keys(), ...this.#writes.state.keys()])].sort();
    const live = keys.filter((key) => key.startsWith(prefix) && this.#slot(key).valueJson !== undefined);
    return live.slice(0, Math.min(limit, MAX_LISTED));
  }

  memoryAdd(entry, ttlSeconds) {
    const metadata = parseJson('metadata-json', entry.metadataJson);
    if (metadata === null || typeof metadata !== 'object' || Array.isArray(metadata)) {
      throw new HostError('invalid', 'metadata-json: give a JSON object');
    }
    const length = byteLength(entry.kind);
    if (length < 1 || length > 64 || /[\u0000-\u001f\u007f]/.test(entry.kind)) {
      throw new HostError('invalid', 'kind: give 1 to 64 bytes of plain text');
    }
    this.#writes.memories.push({ entry, until: ttlSeconds === undefined ? undefined : this.#nowMs + 1000n * BigInt(ttlSeconds) });
  }

  memoryRecent(kind, limit = MAX_LISTED) {
    const newestFirst = this.memories().reverse();
    return newestFirst.filter((memory) => kind === undefined || memory.kind === kind).slice(0, Math.min(limit, MAX_LISTED));
  }

  truthGet(key) {
    checkKey(key);
    return this.#writes.truths.get(key) ?? this.#kept.truths.get(key);
  }

  truthSet(key, truth) {
    if (!this.#truthSet) {
      throw new HostError('not-granted', 'the manifest does not grant truth-set; add capabilities = ["truth-set"] to it');
    }
    checkKey(key);
    if (!(truth.confidence >= 0 && truth.confidence <= 1)) throw new HostError('invalid', 'confidence: give a number from 0 to 1');
    parseJson('value-json', truth.valueJson);
    this.#writes.truths.set(key, truth);
  }

  configGet(key) {
    return Object.hasOwn(this.#config, key) ? JSON.stringify(this.#config[key]) : undefined;
  }

  check(action) {
    try {
      checkAction(action);
    } catch (error) {
      throw new HostError('invalid', error.message);
    }
    return this.#check(action);
  }

  #slot(key) {
    return this.#writes.state.get(key) ?? this.#kept.state.get(key) ?? { revision: 0n, valueJson: undefined };
  }

  #write(key, valueJson, expected) {
    const { revision, valueJson: current } = this.#slot(key);
    const seen = current === undefined ? 0n : revision;
    const missing = valueJson === undefined && current === undefined;
    if (missing || (expected !== undefined && BigInt(expected) !== seen && BigInt(expected) !== revision)) {
      throw new HostError('conflict', seen);
    }
    // Several writes of one invocation to a key are one revision.
    const next = (this.#kept.state.get(key)?.revision ?? 0n) + 1n;
    this.#writes.state.set(key, { revision: next, valueJson });
    return next;
  }
}

function checkKey(key) {
  if (typeof key !== 'string' || byteLength(key) < 1 || byteLength(key) > 256 || /[\u0000-\u001f\u007f]/.test(key)) {
    throw new HostError('invalid', `key ${JSON.stringify(key)}: give 1 to 256 bytes without control characters`);
  }
}

function parseJson(name, text) {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new HostError('invalid', `${name}: ${error.message}`);
  }
}
