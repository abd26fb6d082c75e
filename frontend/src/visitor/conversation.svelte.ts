// A station's conversation on this page: its exchanges, streamed answers included, and the prompt being written.
// Nothing of it is stored in the browser.

import { RefusedError, streamEvents } from '../lib/requests';
import type { ChatEnd, ChatQueued, ChatStart, ChatToken, Exchange, ShownExchange } from '../lib/wire';
import { cutAfter, textOf, tokensOf, type Token } from './tokens';

const FADE_MS = 900;

/** Why the last prompt was not answered: refused by the owner with a sentence. */
export type PromptFailure = { refusal: string } | null;

/** Waits until the owner answers again; returns the exchanges that it has stored.  Returns none once the signal is aborted. */
export type OwnerBack = (signal: AbortSignal) => Promise<ShownExchange[]>;

/** A prompt and its answer, which may still be streaming. */
export class PageExchange {
  tokens = $state.raw<Token[]>([]);
  iteration = $state<number | null>(null);
  restarted = $state(false);
  /** A line of help that the owner shows with the answer; mostly empty. */
  help = $state('');
  /** How many prompts are answered before this one, as long as it waits for its turn; null: it does not, or not for long. */
  before = $state<number | null>(null);
  /** The owner is away, and the prompt is asked again once it is back. */
  awaitsOwner = $state(false);
  broken = $state(false);
  /** No more tokens will come: the answer is complete or has broken off. */
  settled = $state(false);

  constructor(readonly prompt: string) {}

  /** A complete exchange as the owner has stored it. */
  static stored(shown: ShownExchange): PageExchange {
    const exchange = new PageExchange(shown.prompt);
    exchange.tokens = tokensOf(shown);
    exchange.iteration = shown.iteration;
    exchange.help = shown.help;
    exchange.settled = true;
    return exchange;
  }

  /** The answer begins, or begins again. */
  begin(start: ChatStart): void {
    this.tokens = [];
    this.iteration = start.iteration;
    this.restarted ||= start.restarted;
    this.before = null;
    this.help = start.help;
  }

  /** The connection broke off: what was read is dropped, for the prompt will be asked again. */
  awaitOwner(): void {
    this.restarted ||= this.tokens.length > 0;
    this.tokens = [];
    this.iteration = this.before = null;
    this.awaitsOwner = true;
  }

  addToken({ text, probability, alternatives }: ChatToken): void {
    if (text) this.tokens = [...this.tokens, { text, probability, alternatives, removed: false }];
  }

  /** The answer is complete, and so many of its characters are kept; the others fade. */
  complete(keptCharacters: number): void {
    this.tokens = cutAfter(this.tokens, keptCharacters);
    this.settled = true;
    // They fade from the next frame on, which a busy machine draws late: gone before that, they would vanish without a trace.
    const drop = () => (this.tokens = this.tokens.filter((token) => !token.removed));
    requestAnimationFrame(() => setTimeout(drop, FADE_MS));
  }

  breakOff(): void {
    this.broken = this.settled = true;
    this.awaitsOwner = false;
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

  /**
   * Send a prompt and show its answer as it streams.  Where the connection breaks off, it is asked again once `untilBack` says that
   * the owner is back, unless the answer is among the exchanges stored meanwhile.  Where it is refused, the prompt is put back into
   * the draft.
   */
  async ask(prompt: string, station: string, language: string, untilBack: OwnerBack): Promise<void> {
    const exchange = new PageExchange(prompt);
    const request = (this.#request = new AbortController());
    this.exchanges = [...this.exchanges.filter((before) => !before.broken), exchange];
    this.asking = true;
    this.failure = null;
    const answered = this.exchanges.length - 1;
    try {
      while (!(await this.#attempt(exchange, { prompt, station, language }, request.signal))) {
        exchange.awaitOwner();
        const stored = await untilBack(request.signal);
        if (request.signal.aborted) return;
        exchange.awaitsOwner = false;
        if (stored.length > answered && stored.at(-1)?.prompt === prompt) return this.#showStored(stored, request);
      }
    } catch (error) {
      if (request.signal.aborted) return;
      if (!(error instanceof RefusedError)) throw error;
      // Refused before a word of it came, it was never an exchange; an answer that was read and could not be kept stays.
      if (!exchange.tokens.length) this.exchanges = this.exchanges.filter((other) => other !== exchange);
      else exchange.breakOff();
      this.draft ||= prompt;
      this.failure = { refusal: error.message };
    } finally {
      if (this.#request === request) {
        this.#request = null;
        this.asking = false;
      }
    }
  }

  /** Ask once.  False where the connection broke off; RefusedError where the owner refuses. */
  async #attempt(exchange: PageExchange, body: object, signal: AbortSignal): Promise<boolean> {
    try {
      for await (const { name, data } of streamEvents('chat', body, signal)) {
        if (name === 'queued') exchange.before = (data as ChatQueued).before;
        if (name === 'start') exchange.begin(data as ChatStart);
        if (name === 'token') exchange.addToken(data as ChatToken);
        if (name === 'error') throw new RefusedError((data as { error: string }).error);
        if (name === 'end') {
          exchange.complete((data as ChatEnd).kept);
          this.lastAnswer = (data as ChatEnd).text;
        }
      }
      return exchange.settled;
    } catch (error) {
      if (signal.aborted) throw error;
      if (error instanceof TypeError || (error instanceof RefusedError && error.again)) return exchange.settled;
      throw error;
    }
  }

  /** The answer was stored before its end arrived: show what the owner has. */
  #showStored(stored: ShownExchange[], request: AbortController): void {
    if (this.#request !== request) return;
    this.asking = false;
    this.lastAnswer = stored.at(-1)?.text ?? '';
    this.restore(stored);
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
