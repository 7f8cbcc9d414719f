// The conversation: its turns, kept for this tab, and the reply on its way.

import { request } from './api.js';
import { readEvents } from './stream.js';
import * as settings from './settings.js';
import {
  clearMessages, removeLastMessage, scrollToEnd, setBusy, showMessage,
} from './messages.js';

const STORE = 'sluice-conversation';
const NOTES = {
  length: 'The reply ends here: there was no room for more tokens.',
  stopped: 'Stopped.',
};

let turns = []; // {role, content, thoughts, calls, note}
let abort = null; // of the reply on its way

function keep() {
  try {
    sessionStorage.setItem(STORE, JSON.stringify(turns));
  } catch {
    sessionStorage.removeItem(STORE); // larger than a tab may keep: it lives until a reload
  }
}

export function restore() {
  turns = JSON.parse(sessionStorage.getItem(STORE) ?? '[]');
  turns.forEach(showMessage);
  scrollToEnd();
  addEventListener('pagehide', keep);
}

export function clear() {
  stop();
  turns = [];
  clearMessages();
  keep();
}

export function isBusy() {
  return abort !== null;
}

export function stop() {
  abort?.abort();
}

function messagesToSend() {
  const system = settings.systemPrompt();
  const messages = turns.filter((turn) => turn.content)
    .map(({ role, content }) => ({ role, content }));

  return system ? [{ role: 'system', content: system }, ...messages] : messages;
}

function takeCalls(turn, deltas) {
  for (const delta of deltas) {
    turn.calls[delta.index] ??= { name: '', arguments: '' };
    turn.calls[delta.index].name += delta.function?.name ?? '';
    turn.calls[delta.index].arguments += delta.function?.arguments ?? '';
  }
}

function takeEvent(event, turn, view) {
  const choice = event.choices?.[0];
  const delta = choice?.delta ?? {};

  if (event.error) throw new Error(event.error.message ?? String(event.error));
  if (delta.reasoning_content) {
    turn.thoughts += delta.reasoning_content;
    view.addThoughts(delta.reasoning_content);
  }
  if (delta.content) {
    turn.content += delta.content;
    view.addText(delta.content);
  }
  if (delta.tool_calls) {
    takeCalls(turn, delta.tool_calls);
    view.showCalls(turn.calls);
  }
  if (choice?.finish_reason === 'length') turn.note = NOTES.length;
}

async function receive(turn, view, told) {
  const response = await request('/v1/chat/completions', {
    key: settings.apiKey(),
    signal: abort.signal,
    body: {
      messages: messagesToSend(),
      stream: true,
      timings_per_token: true,
      return_progress: true,
      ...settings.requestOptions(),
    },
  });

  for await (const event of readEvents(response)) {
    takeEvent(event, turn, view);
    told(event);
  }
}

// A turn of the user's (null: the last one again) and the reply to it. told(event) hears of
// every event. Throws what the server says when it fails; what came before that stays.
export async function send(content, told) {
  const turn = { role: 'assistant', content: '', thoughts: '', calls: [] };
  const conversation = turns;
  const mine = new AbortController();
  let view;

  abort = mine;
  if (content !== null) {
    turns.push({ role: 'user', content });
    showMessage(turns.at(-1));
  } else if (turns.at(-1)?.role === 'assistant') { // what came before it failed
    turns.pop();
    removeLastMessage();
  }
  view = showMessage(turn);
  scrollToEnd();
  setBusy(true);
  try {
    await receive(turn, view, told);
  } catch (error) {
    if (!mine.signal.aborted) throw error;
    turn.note = NOTES.stopped;
  } finally {
    if (turns !== conversation) {
      view.remove(); // a new chat was begun
    } else if (turn.content || turn.thoughts || turn.calls.length || turn.note) {
      turns.push(turn);
      if (turn.note) view.showNote(turn.note);
    } else {
      view.remove();
    }
    if (abort === mine) {
      abort = null;
      setBusy(false);
    }
    keep();
  }
}
