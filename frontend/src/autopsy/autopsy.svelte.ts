// The state of the autopsy's page: who can be asked, their answers and forks, and the place that is looked at.
// Nothing of it is stored in the browser.

import { get, post, RefusedError, streamEvents } from '../lib/requests';
import type { AutopsyAnswerEnd, AutopsyNext, AutopsySelves, AutopsyToken, CandidateToken } from '../lib/wire';
import type { Token } from '../visitor/tokens';

const REFRESH_MS = 4000;

/** A token with the number that the model knows it by. */
export interface SelfToken extends Token {
  id: number;
}

/** A self's answer, which may still be streaming. */
export class SelfAnswer {
  tokens = $state.raw<SelfToken[]>([]);
  settled = $state(false);
  trouble = $state('');

  constructor(
    readonly iteration: number,
    /** What a fork begins with: the tokens before it, and the one that was taken. */
    readonly begun: SelfToken[] = [],
  ) {
    this.tokens = begun;
  }

  add({ id, text, probability }: AutopsyToken): void {
    this.tokens = [...this.tokens, { id, text, probability, alternatives: [], removed: false }];
  }

  end({ trouble }: AutopsyAnswerEnd): void {
    this.settled = true;
    this.trouble = trouble;
  }
}

/** The place in an answer that is looked at: before its token with this index. */
export interface Place {
  answer: SelfAnswer;
  index: number;
}

export class Autopsy {
  selves = $state.raw<AutopsySelves | null>(null);
  /** Why nobody can be asked: the page is locked, or no run lives. */
  closed = $state<'locked' | 'no run' | null>(null);
  connected = $state(true);
  reborn = $state(false);
  answers = $state.raw<SelfAnswer[]>([]);
  forks = $state.raw<SelfAnswer[]>([]);
  asking = $state(false);
  refusal = $state('');
  broken = $state(false);
  place = $state.raw<Place | null>(null);
  next = $state.raw<AutopsyNext | null>(null);
  /** Which of `next.selves` is shown. */
  shown = $state(0);
  language = $state('');
  #asked = { prompt: '', language: '' };
  #request: AbortController | null = null;
  #looking: AbortController | null = null;

  /** Learn who can be asked, and go on learning; returns how to stop. */
  watch(): () => void {
    void this.refresh();
    const timer = setInterval(() => void this.refresh(), REFRESH_MS);
    return () => clearInterval(timer);
  }

  async refresh(): Promise<void> {
    try {
      const selves = await get<AutopsySelves>('autopsy/selves');
      if (this.selves && this.selves.run !== selves.run) this.#forget();
      if (!this.selves || !selves.languages.includes(this.language)) this.language = selves.language;
      this.selves = selves;
      this.closed = null;
      this.connected = true;
    } catch (error) {
      if (error instanceof RefusedError) this.#refused(error);
      else if (error instanceof TypeError) this.connected = false;
      else throw error;
    }
  }

  /** Ask everybody. */
  async ask(prompt: string): Promise<void> {
    if (!this.selves || !prompt.trim()) return;
    this.#asked = { prompt, language: this.language };
    this.forks = [];
    this.reborn = false;
    this.#leavePlace();
    this.answers = this.selves.iterations.map((iteration) => new SelfAnswer(iteration));
    await this.#stream(this.answers, { ...this.#asked });
  }

  /** Let the shown self go on with another token at the place that is looked at. */
  async fork(token: CandidateToken): Promise<void> {
    const self = this.next?.selves[this.shown];
    if (!self || !this.place || !token.text) return;
    const before = this.#before(this.place).map((kept) => ({ ...kept, probability: null }));
    const taken = { ...token, alternatives: [], removed: false };
    const answer = new SelfAnswer(self.iteration, [...before, taken]);
    this.forks = [answer, ...this.forks];
    await this.#stream([answer], { ...this.#asked, iterations: [self.iteration], answer_ids: answer.begun.map(({ id }) => id) });
  }

  /** Look at a place: ask what everybody would say there. */
  async look(place: Place): Promise<void> {
    this.#looking?.abort();
    const looking = (this.#looking = new AbortController());
    const first = this.place === null;
    this.place = place;
    const body = { ...this.#asked, answer_ids: this.#before(place).map(({ id }) => id) };
    try {
      const next = (await (await post('autopsy/next', body, looking.signal)).json()) as AutopsyNext;
      if (looking.signal.aborted) return;
      this.next = next;
      const own = next.selves.findIndex(({ iteration }) => iteration === place.answer.iteration);
      if (first || this.shown >= next.selves.length) this.shown = Math.max(0, own);
    } catch (error) {
      if (looking.signal.aborted) return;
      this.#failed(error);
    }
  }

  /** End the answers under way. */
  stop(): void {
    this.#request?.abort();
  }

  #before({ answer, index }: Place): SelfToken[] {
    return answer.tokens.slice(0, index);
  }

  async #stream(answers: SelfAnswer[], body: object): Promise<void> {
    this.#request?.abort();
    const request = (this.#request = new AbortController());
    const answerOf = (data: unknown) => answers.find(({ iteration }) => iteration === (data as { iteration: number }).iteration);
    this.asking = true;
    this.refusal = '';
    this.broken = false;
    try {
      for await (const { name, data } of streamEvents('autopsy/answers', body, request.signal)) {
        if (name === 'token') answerOf(data)?.add(data as AutopsyToken);
        if (name === 'answer') answerOf(data)?.end(data as AutopsyAnswerEnd);
        if (name === 'error') throw new RefusedError((data as { error: string }).error);
      }
    } catch (error) {
      if (!request.signal.aborted) this.#failed(error);
    } finally {
      for (const answer of answers) answer.settled = true;
      if (this.#request === request) this.asking = false;
    }
  }

  #failed(error: unknown): void {
    if (error instanceof RefusedError) this.refusal = error.message;
    else if (error instanceof TypeError) this.broken = true;
    else throw error;
  }

  #refused(refusal: RefusedError): void {
    this.connected = true;
    if (refusal.status === 401) this.closed = 'locked';
    else if (refusal.status === 409) this.closed = 'no run';
    else return; // away for a moment
    if (this.selves) this.#forget();
    this.selves = null;
  }

  /** The run is over: nothing of it stays on the page. */
  #forget(): void {
    this.stop();
    this.reborn = this.answers.length > 0;
    this.answers = this.forks = [];
    this.#asked = { prompt: '', language: '' };
    this.#leavePlace();
  }

  #leavePlace(): void {
    this.#looking?.abort();
    this.place = this.next = null;
  }
}
