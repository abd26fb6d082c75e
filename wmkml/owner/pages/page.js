// Wires the page: the run's state and events from the owner, the threshold where a language is chosen, and the talk.
// The one place that knows the others; what is said lives in the column only, and goes when the run goes.

import { add, clear, restore } from './conversation.js';
import { clock, draw, lossesOf } from './run_line.js';
import { keep, station } from './station.js';
import { Refused, events, sentence } from './stream.js';
import { consent, wordsOf } from './words.js';

const RETRY_MS = 2000;
const STOPPED_TYPING_MS = 1500;

const by = (id) => document.getElementById(id);
const me = station();
let state = null;
let stateAt = 0;
let heard = 0;
let losses = [];
let asking = false;
let typing = null;
let died = false;
let wanted = null;

const words = () => wordsOf(me.language ?? 'en');
const post = (path, body) =>
  fetch(path, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) });

// --- the run's state ---

// False when the owner cannot be reached; the event stream tries on and reads again when it is back.
async function readState() {
  try {
    const before = heard;
    const reply = await fetch('state');
    if (!reply.ok) return false;
    const next = await reply.json();
    // What the stream told meanwhile is newer than this reply.
    if (heard !== before) return readState();
    take(next);
    return true;
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    connection(false);
    return false;
  }
}

function take(next) {
  const runBefore = me.run;
  state = next;
  stateAt = performance.now();
  if (runBefore && (next.run !== runBefore || next.phase === 'waiting')) {
    leave();
  }
  losses = lossesOf(next.rounds, losses);
  if (wanted && next.run && next.phase !== 'waiting') join();
  show();
}

// The language this tab asked for is spoken in the run that is alive now.
function join() {
  died = false;
  keep(Object.assign(me, { language: wanted, run: state.run }));
  wanted = null;
  dress();
  remember();
}

// The run this tab spoke in is over: its words leave the page.
function leave() {
  died = true;
  losses = [];
  keep(Object.assign(me, { run: null }));
  clear(by('conversation'), '');
  by('prompt').value = '';
  by('spoken').textContent = '';
  trouble('');
}

function show() {
  const talking = Boolean(me.run && me.language);
  by('talk').hidden = !talking;
  by('threshold').hidden = talking;
  if (talking) {
    draw(state, losses, words());
    showTime();
    fillConsent(by('consent').querySelector('div'), me.language);
  } else {
    showThreshold();
  }
}

function showTime() {
  if (!state || by('talk').hidden) return;
  const left = state.time_left_seconds;
  by('time-left').textContent =
    left === null ? '' : `${words().left} ${clock(left - (performance.now() - stateAt) / 1000)}`;
}

// --- the threshold ---

function showThreshold() {
  const list = by('languages');
  const before = list.dataset.shown;
  const running = state.phase !== 'waiting';
  const shown = JSON.stringify([state.languages, running, state.keep_runs, state.log_visitor_words]);
  by('reborn').textContent = died ? words().reborn : '';
  if (shown === before) return;
  list.dataset.shown = shown;
  list.replaceChildren(
    ...state.languages.map((language) => {
      const text = wordsOf(language);
      const panel = document.createElement('section');
      panel.lang = language === 'de' ? 'de' : 'en';
      const button = document.createElement('button');
      button.type = 'button';
      button.textContent = running ? text.join : text.choose;
      button.dataset.language = language;
      button.addEventListener('click', () => enter(language, button));
      const told = document.createElement('div');
      told.className = 'told';
      fillConsent(told, language);
      panel.append(told, button);
      return panel;
    }),
  );
}

function fillConsent(place, language) {
  const lines = consent(language, state);
  if (place.dataset.told === lines.join('\n')) return;
  place.dataset.told = lines.join('\n');
  place.replaceChildren(
    ...lines.map((line) => {
      const paragraph = document.createElement('p');
      paragraph.textContent = line;
      return paragraph;
    }),
  );
}

async function enter(language, button) {
  button.disabled = true;
  by('threshold-trouble').textContent = '';
  try {
    if (!(await readState())) throw new TypeError('the owner cannot be reached');
    if (state.phase === 'waiting') {
      const reply = await post('language', { language, station: me.station, join: true });
      if (!reply.ok) throw new Refused(await sentence(reply));
    }
    wanted = language;
    await readState();
    by('prompt').focus();
  } catch (error) {
    if (!(error instanceof Refused || error instanceof TypeError)) throw error;
    by('threshold-trouble').textContent =
      error instanceof Refused ? `${wordsOf(language).refused} ${error.message}` : wordsOf(language).lost;
  } finally {
    button.disabled = false;
  }
}

// Everything on the talk's side that is said once per language.
function dress() {
  const text = words();
  document.documentElement.lang = me.language;
  by('prompt-label').textContent = text.prompt;
  by('prompt').placeholder = text.placeholder;
  by('send').textContent = text.send;
  by('consent').querySelector('summary').textContent = text.consentTitle;
  by('conversation').setAttribute('aria-label', text.conversation);
}

// --- the talk ---

async function remember() {
  if (asking) return;
  const text = words();
  const exchanges = await remembered();
  if (asking || !exchanges) return;
  if (exchanges.length) restore(by('conversation'), exchanges, text);
  else clear(by('conversation'), state.iteration < 0 ? text.empty : text.emptyLater);
}

// The exchanges of this station in this run; null when the owner cannot be reached.
async function remembered() {
  try {
    const reply = await fetch(`station?station=${encodeURIComponent(me.station)}`);
    return reply.ok ? (await reply.json()).exchanges : [];
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    return null;
  }
}

async function ask(prompt) {
  const text = words();
  const run = me.run;
  const answer = add(by('conversation'), prompt, text);
  let ended = false;
  asking = true;
  by('send').disabled = true;
  trouble('');
  try {
    for await (const { name, data } of events('chat', { prompt, station: me.station, language: me.language })) {
      // The answer belongs to a run that is over, and so does not belong here any more.
      if (me.run !== run) return;
      if (name === 'start') answer.begin(data.iteration, data.restarted);
      if (name === 'token') answer.token(data.text, data.probability);
      if (name === 'error') throw new Refused(data.error);
      if (name === 'end') {
        ended = true;
        answer.keep(data.kept);
        by('spoken').textContent = `${text.machine}: ${data.text}`;
      }
    }
    if (!ended) throw new TypeError('the stream stopped before the answer ended');
  } catch (error) {
    if (!(error instanceof Refused || error instanceof TypeError)) throw error;
    if (me.run !== run) return;
    if (error instanceof Refused) answer.remove();
    else answer.breakOff();
    if (!by('prompt').value) by('prompt').value = prompt;
    grow();
    trouble(error instanceof Refused ? `${text.refused} ${error.message}` : text.unfinished);
  } finally {
    asking = false;
    by('send').disabled = false;
  }
}

function trouble(sentenceToShow) {
  by('trouble').textContent = sentenceToShow;
}

function grow() {
  const field = by('prompt');
  field.style.height = 'auto';
  field.style.height = `${Math.min(field.scrollHeight, window.innerHeight / 3)}px`;
}

function tellTyping(status) {
  clearTimeout(typing);
  const was = typing !== null;
  typing = status === 'typing' ? setTimeout(() => tellTyping('stopped'), STOPPED_TYPING_MS) : null;
  if ((status === 'typing') === was) return;
  // Only the room's visuals miss it when this fails; the event stream already says that the connection is gone.
  post('typing_event', { status, station: me.station }).catch(() => {});
}

by('ask').addEventListener('submit', (event) => {
  event.preventDefault();
  const prompt = by('prompt').value.trim();
  if (!prompt || asking) return;
  by('prompt').value = '';
  grow();
  tellTyping('stopped');
  ask(prompt);
});
by('prompt').addEventListener('keydown', (event) => {
  if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    by('ask').requestSubmit();
  }
});
by('prompt').addEventListener('input', () => {
  grow();
  tellTyping('typing');
});

// --- the owner's events ---

function listen() {
  const source = new EventSource(`events?station=${encodeURIComponent(me.station)}`);
  source.onopen = () => arrive();
  source.onerror = () => {
    connection(false);
    // The browser tries again by itself, unless it was answered by something that is no event stream.
    if (source.readyState === EventSource.CLOSED) setTimeout(listen, RETRY_MS);
  };
  const on = (name, handle) =>
    source.addEventListener(name, (event) => {
      heard += 1;
      handle(JSON.parse(event.data));
    });
  on('state', take);
  on('round', (round) => {
    losses = lossesOf([round], losses);
    if (!state) return;
    state.round = round;
    if (round.status === 'training') state.worker = 'training';
    show();
  });
  on('swap', readState);
  on('run_started', readState);
  on('last_words', readState);
  on('run_end', readState);
  // An answer that was under way when this page was reloaded is complete now.
  on('response', () => me.run && remember());
}

async function arrive() {
  connection(true);
  if ((await readState()) && me.run) await remember();
}

function connection(there) {
  by('connection').hidden = there;
  by('connection').textContent = there ? '' : words().lost;
}

if (me.language) dress();
listen();
setInterval(showTime, 1000);
