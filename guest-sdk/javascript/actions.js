// Actions: what an agent proposes.

const MAX_TEXT = 64 * 1024;

/** Splits the fields of an action from those of its parameters. */
function makeAction(actionType, tag, parameters, fields) {
  const { reasoning, sources = [], reversible = true, rollbackPlan, external, criticality = 'normal', ...more } = fields;
  return {
    actionType,
    parameters: { tag, val: { ...parameters, ...more } },
    reasoning,
    sources,
    reversible,
    rollbackPlan,
    external,
    criticality,
  };
}

function trade(side, symbol, size, fields) {
  const flags = { materialNonpublic: false, manipulativeIntent: false, aheadOfClientOrder: false };
  return makeAction(side, 'trade', { symbol, side, positionSizePct: size, leverage: 1, ...flags, extraJson: '{}' }, fields);
}

export const buy = (symbol, size, fields) => trade('buy', symbol, size, fields);

export const sell = (symbol, size, fields) => trade('sell', symbol, size, fields);

export const closePosition = (symbol, size, fields) =>
  makeAction('close_position', 'close-position', { symbol, positionSizePct: size, extraJson: '{}' }, fields);

export function message(topic, { payload, ...fields }) {
  const payloadJson = payload === undefined ? undefined : JSON.stringify(payload);
  return makeAction('message', 'message', { topic, payloadJson, extraJson: '{}' }, fields);
}

export function data(operation, fields) {
  const actionType = operation === 'handle' ? 'data_handling' : `${operation}_data`;
  const flags = { containsPersonalData: false, encryption: false, anonymized: false };
  return makeAction(actionType, 'data', { operation, ...flags, extraJson: '{}' }, fields);
}

export const fileOperation = (operation, path, fields) =>
  makeAction('file_operation', 'file', { operation, path, extraJson: '{}' }, fields);

export const executeCode = (language, code, fields) =>
  makeAction('execute_code', 'code', { language, code, extraJson: '{}' }, fields);

export const custom = (kind, parameters, fields) =>
  makeAction(kind, 'custom', { kind, parametersJson: JSON.stringify(parameters) }, fields);

export function checkAction(action) {
  const refuse = (problem) => {
    throw new Error(`${action?.actionType ?? 'action'}: ${problem}`);
  };
  const checkRange = (name, value, least, most) => {
    if (value !== undefined && !(value >= least && value <= most)) {
      refuse(`${name}: is ${value}; give a number from ${least} to ${most}`);
    }
  };
  if (typeof action?.actionType !== 'string' || typeof action.parameters?.tag !== 'string') {
    refuse('is no action; make it with buy, sell, message or another function of the SDK');
  }
  for (const name of ['reasoning', 'rollbackPlan']) {
    if (action[name] !== undefined && new TextEncoder().encode(action[name]).length > MAX_TEXT) {
      refuse(`${name}: give at most ${MAX_TEXT} bytes`);
    }
  }
  if (action.sources.length > 64) refuse(`sources: are ${action.sources.length}; name 64 at most`);
  const { tag, val } = action.parameters;
  if (tag !== 'trade' && tag !== 'close-position') return;
  if (typeof val.symbol !== 'string' || val.symbol === '') refuse('symbol: is empty');
  checkRange('positionSizePct', val.positionSizePct, 0, 1);
  if (tag !== 'trade') return;
  if (val.positionSizePct === undefined) refuse('positionSizePct: is missing');
  if (!(val.leverage > 0 && Number.isFinite(val.leverage))) refuse(`leverage: is ${val.leverage}; give a number above 0`);
  for (const name of ['entryPrice', 'stopLoss', 'takeProfit', 'riskRewardRatio']) {
    if (val[name] !== undefined && !Number.isFinite(val[name])) refuse(`${name}: is ${val[name]}; give a finite number`);
  }
  if (val.entryPrice !== undefined && val.entryPrice <= 0) refuse(`entryPrice: is ${val.entryPrice}; give a number above 0`);
  if (['buy', 'sell'].includes(action.actionType) && val.side !== action.actionType) refuse('side: contradicts the action type');
}
