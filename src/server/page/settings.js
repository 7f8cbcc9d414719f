// The settings panel. What is typed there is kept for this tab.

const STORE = 'sluice-settings';
const dialog = document.getElementById('settings');
const problem = document.getElementById('settings-problem');
const fields = {
  key: document.getElementById('api-key'),
  system: document.getElementById('system'),
  temperature: document.getElementById('temperature'),
  maxTokens: document.getElementById('max-tokens'),
};

function load() {
  const kept = JSON.parse(sessionStorage.getItem(STORE) ?? '{}');

  for (const [name, field] of Object.entries(fields)) field.value = kept[name] ?? '';
}

function save() {
  const values = {};

  for (const [name, field] of Object.entries(fields)) values[name] = field.value;
  sessionStorage.setItem(STORE, JSON.stringify(values));
}

export function apiKey() {
  return fields.key.value.trim();
}

// What a request says of itself; a field left empty leaves the matter to the server.
export function requestOptions() {
  const options = {};

  if (fields.temperature.value !== '') options.temperature = Number(fields.temperature.value);
  if (fields.maxTokens.value !== '') options.max_tokens = Number(fields.maxTokens.value);
  return options;
}

export function systemPrompt() {
  return fields.system.value;
}

function open(message) {
  problem.hidden = !message;
  problem.textContent = message ?? '';
  if (!dialog.open) dialog.showModal();
}

// The server wants a key, in these words.
export function askForKey(message) {
  open(message);
  fields.key.focus();
}

// changed() is called when the panel was closed.
export function start(changed) {
  load();
  document.getElementById('open-settings').addEventListener('click', () => open());
  dialog.addEventListener('input', save);
  dialog.addEventListener('close', changed);
}
