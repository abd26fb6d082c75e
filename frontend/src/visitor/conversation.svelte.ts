// One station's conversation on this page: what was asked, what is answered token by token, and what the owner remembers of it.
// Nothing of it is kept anywhere else in the browser.  Knows no element of the page.

import { Refused, streamed } from '../lib/requests';
import type { ChatEnd, ChatStart, ChatToken, Exchange, ShownExchange } from '../lib/wire';
import { cut, remembered, textOf, type Token } from './tokens';

const FADE_MS = 900;

/** Why the last prompt was not answered: the owner's sentence, or none where the answer broke off. */
export type Trouble = { refusal: string } | 'unfinished' | null;

/** A prompt and its answer. */
export class Talked {
  tokens = $state.raw<Token[]>([]);
  iteration = $state<number | null>(null);
  restarted = $state(false);
  broken = $state(false);
  settled = $state(false);

  constructor(readonly prompt: string) {}

  static remembered(exchange: ShownExchange): Talked {
    const one = new Talked(exchange.prompt);
    one.tokens = remembered(exchange);
    one.iteration = exchange.iteration;
    one.settled = true;
    return one;
  }

  begin(start: ChatStart): void {
    this.tokens = [];
    this.iteration = start.iteration;
    this.restarted = start.restarted;
  }

  hear({ text, probability, alternatives }: ChatToken): void {
    if (text) this.tokens = [...this.tokens, { text, probability, alternatives, gone: false }];
  }

  keep(characters: number): void {
    this.tokens = cut(this.tokens, characters);
    this.settled = true;
    setTimeout(() => (this.tokens = this.tokens.filter((token) => !token.gone)), FADE_MS);
  }

  breakOff(): void {
    this.broken = this.settled = true;
  }

  shows({ prompt, text }: Exchange): boolean {
    return this.settled && !this.broken && this.prompt === prompt && textOf(this.tokens) === text;
  }
}

export class Conversation {
  talked = $state.raw<Talked[]>([]);
  asking = $state(false);
  /** What stands in the field and has not been said. */
  draft = $state('');
  trouble = $state.raw<Trouble>(null);
  /** The last complete answer, for who listens instead of reading. */
  spoken = $state('');
  #under_way: AbortController | null = null;

  /** Ask, and take the answer in as it comes.  Where that fails, the words are back in the field. */
  async ask(prompt: string, station: string, language: string): Promise<void> {
    const one = new Talked(prompt);
    const under_way = (this.#under_way = new AbortController());
    this.talked = [...this.talked.filter((before) => !before.broken), one];
    this.asking = true;
    this.trouble = null;
    try {
      for await (const { name, data } of streamed('chat', { prompt, station, language }, under_way.signal)) {
        if (name === 'start') one.begin(data as ChatStart);
        if (name === 'token') one.hear(data as ChatToken);
        if (name === 'error') throw new Refused((data as { error: string }).error);
        if (name === 'end') {
          one.keep((data as ChatEnd).kept);
          this.spoken = (data as ChatEnd).text;
        }
      }
      if (!one.settled) throw new TypeError('the stream stopped before the answer ended');
    } catch (error) {
      if (under_way.signal.aborted) return;
      if (!(error instanceof Refused || error instanceof TypeError)) throw error;
      if (error instanceof Refused) this.talked = this.talked.filter((other) => other !== one);
      else one.breakOff();
      this.draft ||= prompt;
      this.trouble = error instanceof Refused ? { refusal: error.message } : 'unfinished';
    } finally {
      if (this.#under_way === under_way) {
        this.#under_way = null;
        this.asking = false;
      }
    }
  }

  /** Show what the owner remembers; what was streamed here stays as it is, for it shows how sure each token was. */
  remember(exchanges: ShownExchange[]): void {
    if (this.asking) return;
    const shown = this.talked.filter((one) => !one.broken);
    const next = exchanges.map((exchange, place) => {
      const here = shown[place];
      return here?.shows(exchange) ? here : Talked.remembered(exchange);
    });
    const broken = this.talked.filter((one) => one.broken && next.length === shown.length);
    if (next.length !== shown.length || next.some((one, place) => one !== shown[place])) this.talked = [...next, ...broken];
  }

  /** Forget every word, and end an answer that is under way. */
  forget(): void {
    this.#under_way?.abort();
    this.#under_way = null;
    this.talked = [];
    this.asking = false;
    this.draft = this.spoken = '';
    this.trouble = null;
  }
}
