// A station's conversation on this page: its exchanges, streamed answers included, and the prompt being written.
// Nothing of it is stored in the browser.

import { RefusedError, streamEvents } from '../lib/requests';
import type { ChatEnd, ChatStart, ChatToken, Exchange, ShownExchange } from '../lib/wire';
import { cutAfter, textOf, tokensOf, type Token } from './tokens';

const FADE_MS = 900;

/** Why the last prompt was not answered: refused by the owner with a sentence, or broken off. */
export type PromptFailure = { refusal: string } | 'unfinished' | null;

/** A prompt and its answer, which may still be streaming. */
export class PageExchange {
  tokens = $state.raw<Token[]>([]);
  iteration = $state<number | null>(null);
  restarted = $state(false);
  /** A line of help that the owner shows with the answer; mostly empty. */
  help = $state('');
  broken = $state(false);
  /** No more tokens will come: the answer is complete or has broken off. */
  settled = $state(false);

  constructor(readonly prompt: string) {}

  /** A complete exchange as the owner has stored it. */
  static stored(shown: ShownExchange): PageExchange {
    const exchange = new PageExchange(shown.prompt);
    exchange.tokens = tokensOf(shown);
    exchange.iteration = shown.iteration;
    exchange.settled = true;
    return exchange;
  }

  /** The answer begins, or begins again. */
  begin(start: ChatStart): void {
    this.tokens = [];
    this.iteration = start.iteration;
    this.restarted = start.restarted;
    this.help = start.help;
  }

  addToken({ text, probability, alternatives }: ChatToken): void {
    if (text) this.tokens = [...this.tokens, { text, probability, alternatives, removed: false }];
  }

  /** The answer is complete, and so many of its characters are kept; the others fade. */
  complete(keptCharacters: number): void {
    this.tokens = cutAfter(this.tokens, keptCharacters);
    this.settled = true;
    setTimeout(() => (this.tokens = this.tokens.filter((token) => !token.removed)), FADE_MS);
  }

  breakOff(): void {
    this.broken = this.settled = true;
  }

  equals({ prompt, text }: Exchange): boolean {
    return this.settled && !this.broken && this.prompt === prompt && textOf(this.tokens) === text;
  }
}

export class Conversation {
  exchanges = $state.raw<PageExchange[]>([]);
  asking = $state(false);
  /** The prompt being written. */
  draft = $state('');
  failure = $state.raw<PromptFailure>(null);
  /** The last complete answer, for screen readers. */
  lastAnswer = $state('');
  #request: AbortController | null = null;

  /** Send a prompt and show its answer as it streams.  Where that fails, the prompt is put back into the draft. */
  async ask(prompt: string, station: string, language: string): Promise<void> {
    const exchange = new PageExchange(prompt);
    const request = (this.#request = new AbortController());
    this.exchanges = [...this.exchanges.filter((before) => !before.broken), exchange];
    this.asking = true;
    this.failure = null;
    try {
      for await (const { name, data } of streamEvents('chat', { prompt, station, language }, request.signal)) {
        if (name === 'start') exchange.begin(data as ChatStart);
        if (name === 'token') exchange.addToken(data as ChatToken);
        if (name === 'error') throw new RefusedError((data as { error: string }).error);
        if (name === 'end') {
          exchange.complete((data as ChatEnd).kept);
          this.lastAnswer = (data as ChatEnd).text;
        }
      }
      if (!exchange.settled) throw new TypeError('the stream stopped before the answer ended');
    } catch (error) {
      if (request.signal.aborted) return;
      if (!(error instanceof RefusedError || error instanceof TypeError)) throw error;
      // Refused before a word of it came, it was never an exchange; an answer that was read and could not be kept stays.
      if (error instanceof RefusedError && !exchange.tokens.length) this.exchanges = this.exchanges.filter((other) => other !== exchange);
      else exchange.breakOff();
      this.draft ||= prompt;
      this.failure = error instanceof RefusedError ? { refusal: error.message } : 'unfinished';
    } finally {
      if (this.#request === request) {
        this.#request = null;
        this.asking = false;
      }
    }
  }

  /** Show the exchanges that the owner has stored.  Those already on the page stay, for their tokens have probabilities. */
  restore(stored: ShownExchange[]): void {
    if (this.asking) return;
    const shown = this.exchanges.filter((exchange) => !exchange.broken);
    const next = stored.map((exchange, place) => {
      const onPage = shown[place];
      return onPage?.equals(exchange) ? onPage : PageExchange.stored(exchange);
    });
    const broken = this.exchanges.filter((exchange) => exchange.broken && next.length === shown.length);
    if (next.length !== shown.length || next.some((exchange, place) => exchange !== shown[place])) {
      this.exchanges = [...next, ...broken];
    }
  }

  /** Forget every word, and abort an answer that is streaming. */
  clear(): void {
    this.#request?.abort();
    this.#request = null;
    this.exchanges = [];
    this.asking = false;
    this.draft = this.lastAnswer = '';
    this.failure = null;
  }
}
