// The picture of the experts, from GET /experts: asked for often while a reply comes, seldom
// otherwise, and not at all while nobody can see it.

import { getJson } from './api.js';
import { Grid } from './grid.js';
import { apiKey } from './settings.js';
import { Sparkline } from './sparkline.js';

const BUSY_MS = 400;
const CALM_MS = 2000;
const MB = 1e6;

const panel = document.getElementById('experts');
const text = document.getElementById('experts-text');
const picture = document.getElementById('experts-picture');
const lines = document.getElementById('lines');
const grid = new Grid(document.getElementById('grid'), document.getElementById('cell'));
const percent = (value) => `${(100 * value).toFixed(value < 0.1 ? 1 : 0)} %`;
const hitRate = new Sparkline(document.getElementById('hit-rate'), percent, 1);
const bandwidth = new Sparkline(document.getElementById('bandwidth'),
                                (value) => `${(value / MB).toFixed(1)} MB/s`);
const stall = new Sparkline(document.getElementById('stall'), percent, 1);

let timer = 0;
let isStarted = false;
let isBusy = false;
let isAsking = false;
let last = null; // the answer before

function isSeen() {
  return panel.open && document.visibilityState === 'visible';
}

function countStates(states) {
  const counts = {};

  for (const letter of states.join('')) counts[letter] = (counts[letter] ?? 0) + 1;
  return counts;
}

function showText(answer) {
  const { n_layers: layers, n_experts: experts, n_experts_used: used } = answer;
  const counts = countStates(answer.states);
  const inMemory = (counts.m ?? 0) + (counts.p ?? 0);

  if (layers === 0) {
    text.textContent = 'This model has no experts.';
  } else if (!answer.is_streaming) {
    text.textContent = `${layers} layers of ${experts} experts, ${used} for each token. All are ` +
      'in memory: nothing is read.';
  } else {
    text.textContent = `${layers} layers of ${experts} experts, ${used} for each token. ` +
      `${inMemory} of ${layers * experts} are in memory, in ` +
      `${(answer.counters.cache_bytes / MB).toFixed(0)} MB.`;
  }
}

// What happened since the answer before.
function addToLines(answer) {
  const seconds = answer.seconds - last.seconds;
  const more = (name) => answer.counters[name] - last.counters[name];
  const requests = more('requests');
  const steps = more('step_seconds');

  if (seconds <= 0) return;
  hitRate.add(requests ? (more('hits') + more('covered')) / requests : null);
  bandwidth.add((more('demand_bytes') + more('guess_bytes') + more('fill_bytes')) / seconds);
  stall.add(steps ? Math.min(1, more('stall_seconds') / steps) : null);
}

function show(answer) {
  showText(answer);
  picture.hidden = answer.n_layers === 0;
  lines.hidden = !answer.is_streaming;
  if (answer.n_layers) grid.show(answer);
  // counters that fell are another server's
  if (last && answer.is_streaming && answer.counters.steps >= last.counters.steps)
    addToLines(answer);
  last = answer;
}

async function ask() {
  clearTimeout(timer);
  if (!isStarted || isAsking || !isSeen()) return;
  isAsking = true;
  try {
    show(await getJson('/experts', { key: apiKey() }));
  } catch (error) {
    text.textContent = error.message;
    if (error.status === 401) isStarted = false; // until there is a key
  }
  isAsking = false;
  timer = setTimeout(ask, isBusy ? BUSY_MS : CALM_MS);
}

export function start() {
  isStarted = true;
  ask();
}

export function setBusy(isNowBusy) {
  isBusy = isNowBusy;
  ask();
}

if (matchMedia('(max-width: 60rem)').matches) panel.open = false;
panel.addEventListener('toggle', ask);
document.addEventListener('visibilitychange', ask);
