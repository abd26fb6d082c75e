// The take-home card's content: the first question, and each iteration's answer to it as it streams.  Stored nowhere.

import { RefusedError, streamEvents } from '../lib/requests';
import type { CardAnswer, CardBegins } from '../lib/wire';

export class Card {
  question = $state('');
  iterations = $state.raw<number[]>([]);
  answers = $state.raw<CardAnswer[]>([]);
  complete = $state(false);
  /** Why it was not completed: the owner's sentence, or 'lost' where the connection broke. */
  failure = $state.raw<{ refusal: string } | 'lost' | null>(null);
  #request: AbortController | null = null;

  /** Have the owner ask every iteration this station's first question. */
  async make(station: string): Promise<void> {
    this.discard();
    const request = (this.#request = new AbortController());
    try {
      for await (const { name, data } of streamEvents('card', { station }, request.signal)) {
        if (name === 'card') {
          this.question = (data as CardBegins).prompt;
          this.iterations = (data as CardBegins).iterations;
        }
        if (name === 'answer') this.answers = [...this.answers, data as CardAnswer];
        if (name === 'error') throw new RefusedError((data as { error: string }).error);
        if (name === 'end') this.complete = true;
      }
      if (!this.complete) throw new TypeError('the stream stopped before the card was complete');
    } catch (error) {
      if (request.signal.aborted) return;
      if (!(error instanceof RefusedError || error instanceof TypeError)) throw error;
      this.failure = error instanceof RefusedError ? { refusal: error.message } : 'lost';
    }
  }

  /** Forget the content, and abort a request under way. */
  discard(): void {
    this.#request?.abort();
    this.question = '';
    this.iterations = [];
    this.answers = [];
    this.complete = false;
    this.failure = null;
  }
}
