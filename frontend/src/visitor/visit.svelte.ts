// A visit at this station: the run as the owner tells it, the language that was chosen in it, and the conversation.
// The one place that speaks with the owner about the run; what is shown of it is the components' business.

import { listen } from '../lib/owner_events';
import { Refused, get, post } from '../lib/requests';
import { keep, renewed, station, type Station } from '../lib/station';
import type { RunState, StationWords } from '../lib/wire';
import { Conversation } from './conversation.svelte';

const STOPPED_TYPING_MS = 1500;
const NEWEST_WITH_TOKENS = 20;

/** Why one could not enter: the owner's sentence, or none where nobody was reached. */
export type Barred = { refusal: string } | 'lost' | null;

export class Visit {
  state = $state.raw<RunState | null>(null);
  /** When `state` was heard, by the page's clock. */
  stateAt = $state(0);
  me = $state.raw<Station>(station());
  connected = $state(true);
  /** The run that this tab spoke in has ended. */
  reborn = $state(false);
  barred = $state.raw<Barred>(null);
  readonly conversation = new Conversation();
  /** Somebody speaks here, in a run that is alive. */
  readonly talking = $derived(this.me.run !== null && this.me.language !== null);
  #heard = 0;
  #wanted: string | null = null;
  #typing: ReturnType<typeof setTimeout> | null = null;
  #stop = () => {};

  /** Listen to the owner for as long as the page lives. */
  listen(): void {
    this.#stop();
    const again = () => void this.#read();
    this.#stop = listen(
      `events?station=${encodeURIComponent(this.me.station)}`,
      {
        state: (state) => this.#take(state),
        round: (round) => {
          this.#heard += 1;
          if (!this.state) return;
          const worker = round.status === 'training' ? 'training' : this.state.worker;
          this.state = { ...this.state, round, worker };
        },
        swap: again,
        run_started: again,
        last_words: again,
        run_end: again,
        // An answer that was under way elsewhere, or when this page was reloaded, is complete now.
        response: () => void this.#remember(),
      },
      (there) => {
        this.connected = there;
        if (there) void this.#arrive();
      },
    );
  }

  /** Start a run in this language, or join the one that is alive. */
  async enter(language: string): Promise<void> {
    this.barred = null;
    try {
      if (!(await this.#read())) throw new TypeError('the owner cannot be reached');
      if (this.state?.phase === 'waiting') await post('language', { language, station: this.me.station, join: true });
      this.#wanted = language;
      await this.#read();
    } catch (error) {
      if (!(error instanceof Refused || error instanceof TypeError)) throw error;
      this.barred = error instanceof Refused ? { refusal: error.message } : 'lost';
    }
  }

  /** Say what stands in the field. */
  say(): void {
    const prompt = this.conversation.draft.trim();
    if (!prompt || this.conversation.asking || !this.me.language) return;
    this.conversation.draft = '';
    this.typing('stopped');
    void this.conversation.ask(prompt, this.me.station, this.me.language);
  }

  /** Somebody types, or stopped: told once each, so that the room can follow. */
  typing(status: 'typing' | 'stopped'): void {
    const was = this.#typing !== null;
    if (this.#typing) clearTimeout(this.#typing);
    this.#typing = status === 'typing' ? setTimeout(() => this.typing('stopped'), STOPPED_TYPING_MS) : null;
    if ((status === 'typing') === was) return;
    // Only the room misses it when this fails, and the event stream already says that the connection is gone.
    post('typing_event', { status, station: this.me.station }).catch(() => {});
  }

  /** Nobody is here any more: nothing of whoever was is left, and the next one is another station. */
  vacate(): void {
    this.typing('stopped');
    this.conversation.forget();
    this.#wanted = null;
    this.barred = null;
    this.reborn = false;
    this.me = renewed();
    this.listen();
  }

  /** False when the owner cannot be reached; the event stream tries on and reads again when it is back. */
  async #read(): Promise<boolean> {
    try {
      const before = this.#heard;
      const next = await get<RunState>('state');
      // What the stream told meanwhile is newer than this reply.
      if (this.#heard !== before) return await this.#read();
      this.#take(next);
      return true;
    } catch (error) {
      if (!(error instanceof Refused || error instanceof TypeError)) throw error;
      this.connected = false;
      return false;
    }
  }

  async #arrive(): Promise<void> {
    if (await this.#read()) await this.#remember();
  }

  #take(next: RunState): void {
    this.#heard += 1;
    if (this.me.run && (next.run !== this.me.run || next.phase === 'waiting')) this.#leave();
    this.state = next;
    this.stateAt = performance.now();
    if (this.#wanted && next.run && next.phase !== 'waiting') this.#join(this.#wanted, next.run);
  }

  #join(language: string, run: string): void {
    this.#wanted = null;
    this.reborn = false;
    this.#become({ ...this.me, language, run });
    void this.#remember();
  }

  /** The run this tab spoke in is over: its words leave the page. */
  #leave(): void {
    this.reborn = true;
    this.conversation.forget();
    this.#become({ ...this.me, run: null });
  }

  #become(me: Station): void {
    this.me = me;
    keep(me);
  }

  async #remember(): Promise<void> {
    const { station: mine, run } = this.me;
    if (!run) return;
    try {
      // What is here already is shown as it was drawn: only what is missing needs its tokens.
      const tokens = this.conversation.talked.length ? 1 : NEWEST_WITH_TOKENS;
      const { exchanges } = await get<StationWords>(`station?station=${encodeURIComponent(mine)}&tokens=${tokens}`);
      // Whoever was asked about may be gone by now.
      if (this.me.station === mine && this.me.run === run) this.conversation.remember(exchanges);
    } catch (error) {
      if (!(error instanceof Refused || error instanceof TypeError)) throw error;
    }
  }
}
