// The column of prompts and answers.  Knows the elements it fills and nothing of where words come from.
// Everything is set as text, never as markup: what a visitor or a dying model writes stays what it is.

const FADE_MS = 700;

/** Faint where the model was unsure, and still readable on the dark ground. */
export function opacity(probability) {
  return 0.5 + 0.5 * Math.min(1, Math.max(0, probability));
}

function element(tag, className, text = '') {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

/** Forget everything and show the sentence that stands in an empty conversation. */
export function clear(section, sentence) {
  section.replaceChildren(element('p', 'empty', sentence));
}

/** Show the exchanges the owner remembers, a list of {prompt, text, iteration}; nothing happens when they are shown. */
export function restore(section, exchanges, words) {
  // What was streamed here shows how sure each token was, which the owner's memory does not.
  if (shows(section, exchanges)) return;
  section.replaceChildren();
  for (const { prompt, text, iteration } of exchanges) {
    const answer = add(section, prompt, words);
    answer.begin(iteration);
    answer.token(text, 1);
    answer.settle();
  }
  section.scrollTop = section.scrollHeight;
}

/**
 * Add a prompt and the place of its answer, which has not begun.
 * Returns what can happen to it: begin(iteration), token(text, probability), keep(characters), settle(), breakOff().
 */
export function add(section, prompt, words) {
  section.querySelector('.empty')?.remove();
  const exchange = element('article', 'exchange');
  const asked = element('p', 'prompt', prompt);
  asked.prepend(element('span', 'unseen', `${words.you}: `));
  const body = element('p', 'answer waits');
  const who = element('span', 'unseen', `${words.machine}: `);
  const text = element('span', 'text');
  const note = element('p', 'note', words.waits);
  body.append(who, text);
  exchange.append(asked, body, note);
  section.append(exchange);
  section.scrollTop = section.scrollHeight;

  return {
    begin(iteration, restarted = false) {
      text.replaceChildren();
      note.textContent = name(iteration, words) + (restarted ? ` · ${words.restarted}` : '');
    },
    token(piece, probability) {
      if (!piece) return;
      body.classList.remove('waits');
      const follow = atBottom(section);
      const span = element('span', 'token', piece);
      span.style.opacity = opacity(probability);
      text.append(span);
      if (follow) section.scrollTop = section.scrollHeight;
    },
    keep(characters) {
      for (const gone of cutAfter(text, characters)) {
        gone.classList.add('gone');
        setTimeout(() => gone.remove(), FADE_MS);
      }
      body.classList.remove('waits');
    },
    settle() {
      body.classList.remove('waits');
    },
    breakOff() {
      body.classList.remove('waits');
      note.textContent = words.broken;
    },
    remove() {
      exchange.remove();
    },
  };
}

function shows(section, exchanges) {
  const shown = [...section.querySelectorAll('.exchange')].map((exchange) => [
    exchange.querySelector('.prompt').lastChild.textContent,
    [...exchange.querySelectorAll('.token:not(.gone)')].map((token) => token.textContent).join(''),
  ]);
  return JSON.stringify(shown) === JSON.stringify(exchanges.map(({ prompt, text }) => [prompt, text]));
}

function name(iteration, words) {
  return `${words.iteration} ${String(iteration).replace('-', '−')}${iteration < 0 ? ` (${words.untouched})` : ''}`;
}

function atBottom(section) {
  return section.scrollHeight - section.scrollTop - section.clientHeight < 60;
}

// The owner counts characters as Python does, by code point; so does the iterator of a string, unlike its length.
function cutAfter(text, characters) {
  const gone = [];
  let left = characters;
  for (const span of [...text.children]) {
    const points = [...span.textContent];
    if (points.length <= left) {
      left -= points.length;
      continue;
    }
    const rest = span.cloneNode();
    rest.textContent = points.slice(left).join('');
    span.textContent = points.slice(0, left).join('');
    span.after(rest);
    gone.push(rest);
    left = 0;
  }
  return gone;
}
