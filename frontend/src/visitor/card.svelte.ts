// The card while it is made: the question, and each iteration's answer as it comes.  Stored nowhere; knows no element of the page.

import { Refused, streamed } from '../lib/requests';
import type { CardAnswer, CardBegins } from '../lib/wire';

export class Card {
  question = $state('');
  iterations = $state.raw<number[]>([]);
  answers = $state.raw<CardAnswer[]>([]);
  complete = $state(false);
  /** Why it was not finished: the owner's sentence, or none where the connection broke. */
  failed = $state.raw<{ refusal: string } | 'lost' | null>(null);
  #under_way: AbortController | null = null;

  /** Have it made for this station. */
  async make(station: string): Promise<void> {
    this.discard();
    const under_way = (this.#under_way = new AbortController());
    try {
      for await (const { name, data } of streamed('card', { station }, under_way.signal)) {
        if (name === 'card') {
          this.question = (data as CardBegins).prompt;
          this.iterations = (data as CardBegins).iterations;
        }
        if (name === 'answer') this.answers = [...this.answers, data as CardAnswer];
        if (name === 'error') throw new Refused((data as { error: string }).error);
        if (name === 'end') this.complete = true;
      }
      if (!this.complete) throw new TypeError('the stream stopped before the card was complete');
    } catch (error) {
      if (under_way.signal.aborted) return;
      if (!(error instanceof Refused || error instanceof TypeError)) throw error;
      this.failed = error instanceof Refused ? { refusal: error.message } : 'lost';
    }
  }

  /** Forget it, and ask no more for it. */
  discard(): void {
    this.#under_way?.abort();
    this.question = '';
    this.iterations = [];
    this.answers = [];
    this.complete = false;
    this.failed = null;
  }
}
