// How turns of the conversation look: one element each, to which a reply's text is added as
// it comes.

const log = document.getElementById('log');

function make(kind, className, text) {
  const element = document.createElement(kind);

  element.className = className;
  if (text) element.textContent = text;
  return element;
}

// Keep the end in sight, unless somebody is reading further up.
function keepingEnd(change) {
  const isAtEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;

  change();
  if (isAtEnd) log.scrollTop = log.scrollHeight;
}

class MessageView {
  constructor(role) {
    const who = role === 'user' ? 'You' : 'Model';

    this.element = make('article', `message ${role}`);
    this.element.setAttribute('aria-label', who);
    this.element.append(make('h2', 'who', who));
    keepingEnd(() => log.append(this.element));
  }

  // The element for a part of the message, in the order in which parts first come.
  part(name, create) {
    this[name] ??= this.element.appendChild(create());
    return this[name];
  }

  addText(text) {
    keepingEnd(() => this.part('text', () => make('div', 'text')).append(text));
  }

  addThoughts(text) {
    keepingEnd(() => {
      const thoughts = this.part('thoughts', () => {
        const details = make('details', 'thoughts');
        details.append(make('summary', '', 'Thoughts'), make('div', 'text'));
        return details;
      });
      thoughts.lastChild.append(text);
    });
  }

  // All calls so far.
  showCalls(calls) {
    const text = calls.map((call) => `${call.name}(${call.arguments})`).join('\n');

    keepingEnd(() => {
      this.part('calls', () => make('pre', 'calls')).textContent = text;
    });
  }

  showNote(text) {
    keepingEnd(() => {
      this.part('note', () => make('p', 'note')).textContent = text;
    });
  }

  remove() {
    this.element.remove();
  }
}

export function showMessage(message) {
  const view = new MessageView(message.role);

  if (message.thoughts) view.addThoughts(message.thoughts);
  if (message.content) view.addText(message.content);
  if (message.calls?.length) view.showCalls(message.calls);
  if (message.note) view.showNote(message.note);
  return view;
}

// While a reply comes, readers of the screen wait for its end.
export function setBusy(isBusy) {
  log.setAttribute('aria-busy', String(isBusy));
}

export function clearMessages() {
  log.replaceChildren();
}

export function removeLastMessage() {
  log.lastElementChild?.remove();
}

export function scrollToEnd() {
  log.scrollTop = log.scrollHeight;
}
