// The page as a whole: which model is served, the composer, what is said beside it.

import { getJson } from './api.js';
import * as chat from './chat.js';
import * as experts from './experts.js';
import * as settings from './settings.js';

const LOADING_MS = 1000; // between looks at a server that is not ready

const page = Object.fromEntries(
  ['model', 'status', 'problem', 'composer', 'prompt', 'send', 'stop', 'speed', 'new-chat']
    .map((id) => [id, document.getElementById(id)]));

let askAgain = 0; // timer

function showProblem(error) {
  page.problem.hidden = !error;
  page.problem.firstElementChild.textContent = error?.message ?? '';
  if (error?.status === 401) settings.askForKey(error.message);
}

// Which model there is; again and again until there is one.
async function findModel() {
  clearTimeout(askAgain);
  try {
    const { data } = await getJson('/v1/models', { key: settings.apiKey() });

    page.model.textContent = data[0].id;
    page.status.textContent = '';
    document.title = `${data[0].id} – Sluice`;
    experts.start();
  } catch (error) {
    page.status.textContent = error.message;
    if (error.status === 401) settings.askForKey(error.message);
    else askAgain = setTimeout(findModel, LOADING_MS);
  }
}

function showSpeed({ timings, prompt_progress: prompt }) {
  if (prompt && prompt.processed < prompt.total) {
    page.speed.textContent = `reading the prompt: ${prompt.processed} of ${prompt.total} tokens`;
  } else if (timings?.predicted_n) {
    const speed = timings.predicted_per_second;
    const known = timings.cache_n ? `, ${timings.cache_n} known` : '';

    page.speed.textContent =
      `${Number.isFinite(speed) ? speed.toFixed(1) : '–'} tokens/s · ` +
      `${timings.predicted_n} tokens · prompt ${timings.prompt_n + timings.cache_n}${known}`;
  }
}

function showBusy(isBusy) {
  page.send.hidden = isBusy;
  page.stop.hidden = !isBusy;
  experts.setBusy(isBusy);
}

async function send(content) {
  showProblem(null);
  page.speed.textContent = '';
  showBusy(true);
  try {
    await chat.send(content, showSpeed);
  } catch (error) {
    showProblem(error);
  }
  showBusy(chat.isBusy());
  if (document.activeElement === page.stop || document.activeElement === document.body)
    page.prompt.focus();
}

function fitPrompt() {
  page.prompt.style.height = 'auto';
  page.prompt.style.height = `${page.prompt.scrollHeight + 2}px`;
}

page.composer.addEventListener('submit', (event) => {
  const content = page.prompt.value.trim();

  event.preventDefault();
  if (!content || chat.isBusy()) return;
  page.prompt.value = '';
  fitPrompt();
  send(content);
});

page.prompt.addEventListener('input', fitPrompt);
page.prompt.addEventListener('keydown', (event) => {
  if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  page.composer.requestSubmit();
});

document.addEventListener('keydown', (event) => {
  if (event.key === 'Escape' && chat.isBusy()) chat.stop();
});

page.stop.addEventListener('click', () => chat.stop());
page.problem.querySelector('button').addEventListener('click', () => send(null));
page['new-chat'].addEventListener('click', () => {
  chat.clear();
  showProblem(null);
  page.speed.textContent = '';
  page.prompt.focus();
});

settings.start(findModel);
chat.restore();
findModel();
