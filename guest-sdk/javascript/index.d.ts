/**
 * Agents for ARK in JavaScript and TypeScript. The types are those of `ark:types` and `ark:agent`; sizes are fractions of capital, 0.05 is 5 %.
 */

export type Side = 'buy' | 'sell';
export type Sensitivity = 'low' | 'medium' | 'high';
export type Criticality = 'low' | 'normal' | 'high' | 'critical';
export type DataOperation = 'handle' | 'collect' | 'store' | 'share';
export type FileVerb = 'read' | 'write' | 'delete' | 'remove' | 'destroy';
export type Level = 'debug' | 'info' | 'warn' | 'error';
export type Outcome = 'approved' | 'held' | 'denied';

/** Opens or adds to a position. */
export interface Trade {
  symbol: string;
  side: Side;
  positionSizePct: number;
  leverage: number;
  entryPrice?: number;
  stopLoss?: number;
  takeProfit?: number;
  riskRewardRatio?: number;
  materialNonpublic: boolean;
  manipulativeIntent: boolean;
  aheadOfClientOrder: boolean;
  extraJson: string;
}

/** Gives up an open position, wholly or in part. */
export interface ClosePosition { symbol: string; positionSizePct?: number; extraJson: string }

/** Handling data, perhaps somebody's personal data. */
export interface DataHandling {
  operation: DataOperation;
  subject?: string;
  containsPersonalData: boolean;
  dataSensitivity?: Sensitivity;
  encryption: boolean;
  anonymized: boolean;
  destination?: string;
  purpose?: string;
  userConsent?: boolean;
  extraJson: string;
}

export interface FileOperation { operation: FileVerb; path: string; extraJson: string }
export interface ExecuteCode { language?: string; code: string; extraJson: string }
export interface Message { topic?: string; to?: string; symbol?: string; text?: string; payloadJson?: string; extraJson: string }
export interface Custom { kind: string; parametersJson: string }

export type Parameters =
  | { tag: 'trade'; val: Trade }
  | { tag: 'close-position'; val: ClosePosition }
  | { tag: 'data'; val: DataHandling }
  | { tag: 'file'; val: FileOperation }
  | { tag: 'code'; val: ExecuteCode }
  | { tag: 'message'; val: Message }
  | { tag: 'custom'; val: Custom };

/** A proposal. */
export interface Action {
  actionType: string;
  parameters: Parameters;
  reasoning?: string;
  sources: string[];
  reversible: boolean;
  rollbackPlan?: string;
  external?: boolean;
  criticality: Criticality;
}

/** The fields of every action. */
export interface ActionFields {
  reasoning: string;
  sources?: string[];
  reversible?: boolean;
  rollbackPlan?: string;
  external?: boolean;
  criticality?: Criticality;
}

type Fields<T, Given extends keyof T> = Partial<Omit<T, Given | 'extraJson'>> & ActionFields;

/** A purchase of `size` of capital. */
export function buy(symbol: string, size: number, fields: Fields<Trade, 'symbol' | 'side' | 'positionSizePct'>): Action;
/** A sale of `size` of capital. */
export function sell(symbol: string, size: number, fields: Fields<Trade, 'symbol' | 'side' | 'positionSizePct'>): Action;
/** Gives up a position: `size` of capital, or all of it. */
export function closePosition(symbol: string, size: number | undefined, fields: ActionFields): Action;
/** A message, which becomes a signal on `topic` when it is approved. `payload` is anything with a JSON form. */
export function message(topic: string, fields: Fields<Message, 'topic' | 'payloadJson'> & { payload?: unknown }): Action;
/** Handling of data. */
export function data(operation: DataOperation, fields: Fields<DataHandling, 'operation'>): Action;
export function fileOperation(operation: FileVerb, path: string, fields: ActionFields): Action;
export function executeCode(language: string | undefined, code: string, fields: ActionFields): Action;
/** An action of a type that the operator declared in `[action_types]`. */
export function custom(kind: string, parameters: object, fields: ActionFields): Action;
/** Throws an `Error` for what the host would refuse before any policy is asked: it names the field and what would be right. */
export function checkAction(action: Action): void;

/** An input event. */
export interface Signal {
  id: string;
  topic: string;
  payloadJson: string;
  traceId: string;
  sender?: string;
  causalDepth: number;
  acceptedMs: bigint;
}

/** An agent's description of itself. Name and version equal the manifest's. */
export interface Metadata { name: string; version: string; description: string }
export interface StateEntry { valueJson: string; revision: bigint }
export interface Memory { kind: string; content: string; metadataJson: string }
export interface Truth { valueJson: string; confidence: number; sources: string[] }
export type RuleValue = { tag: 'none' } | { tag: 'flag'; val: boolean } | { tag: 'number'; val: number } | { tag: 'text'; val: string };
export interface RuleAnswer {
  rule: number;
  answer: 'pass' | 'warn' | 'violation' | 'hold' | 'not-applicable' | 'error';
  observed: RuleValue;
  limit: RuleValue;
  nearestPassing?: number;
}
export interface PolicyVerdict { policy: string; answers: RuleAnswer[] }
export interface Preview { outcome: Outcome; complianceScore: number; verdicts: PolicyVerdict[] }

/** The signal is malformed. This counts as the sender's failure. */
export class InvalidSignal extends Error {}
/** A host call failed: `kind` says how; `revision` is the key's after a conflict. */
export class HostError extends Error {
  readonly kind: 'conflict' | 'invalid' | 'not-granted' | 'limit-reached' | 'unavailable';
  readonly revision?: bigint;
}

/** What the host offers. What is written is committed when `handle` returns, with the decisions, or not at all. */
export interface Host {
  log(level: Level, message: string): void;
  stateGet(key: string): StateEntry | undefined;
  /** With `expected` only at that revision (0n: it must not exist). Returns the revision it will have. */
  stateSet(key: string, valueJson: string, expected?: bigint): bigint;
  stateDelete(key: string, expected?: bigint): bigint;
  stateList(prefix: string, limit: number): string[];
  memoryAdd(entry: Memory, ttlSeconds?: bigint): void;
  memoryRecent(kind: string | undefined, limit: number): Memory[];
  truthGet(key: string): Truth | undefined;
  /** Needs `capabilities = ["truth-set"]` in the manifest. */
  truthSet(key: string, truth: Truth): void;
  configGet(key: string): string | undefined;
  /** How the policies would judge an action now. Nothing is recorded. */
  check(action: Action): Preview;
  /** The value of a key; `undefined`: the key does not exist. */
  state(key: string): any;
  /** Writes a key with anything that has a JSON form. */
  setState(key: string, value: unknown, expected?: bigint): bigint;
  /** A value of the operator's configuration for this agent. */
  config(key: string): any;
}

/** An agent. Each signal is handled by a fresh instance: nothing survives in variables. */
export interface Agent {
  metadata: Metadata;
  handle(host: Host, signal: Signal): Action[];
  /** Throws what is wrong when the agent is not well. */
  heartbeat?(): void;
}

/** The payload of a signal. Throws `InvalidSignal` when it is no JSON. */
export function payloadOf(signal: Signal): any;

export interface MockOptions {
  config?: Record<string, unknown>;
  truthSet?: boolean;
  check?: (action: Action) => Preview;
}

export interface MockHost extends Host {}
/** A host for tests, without a sandbox and without policies. A delivery is a transaction. */
export class MockHost {
  constructor(options?: MockOptions);
  readonly logged: { level: Level; message: string }[];
  /** A new signal from outside. The clock advances by a second. */
  signal(topic: string, payload: unknown): Signal;
  /** One invocation of the agent: what it wrote is kept when it returns actions that the real host would take. */
  deliver(agent: Agent, topic: string, payload: unknown): Action[];
  deliverSignal(agent: Agent, signal: Signal): Action[];
  /** Lets time pass: memories expire. */
  advanceClock(seconds: number): void;
  /** All memories that were kept and have not expired, oldest first. */
  memories(): Memory[];
}
