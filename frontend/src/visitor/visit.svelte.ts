// A visit at this station: the run's state, the language chosen in it, and the conversation.
// All requests about the run and the station are made here; the components show what this holds.

import { listen } from '../lib/owner_events';
import { RefusedError, get, post } from '../lib/requests';
import { loadSession, newSession, saveSession, secondsUntouched, type StationSession } from '../lib/station';
import type { ForgetReply, RunState, ShownExchange, StationWords } from '../lib/wire';
import { Conversation } from './conversation.svelte';
import { isPhone } from './kiosk';

const STOPPED_TYPING_MS = 1500;
const NEWEST_WITH_TOKENS = 20;
const AGAIN_MS = 1000; // between two tries to reach an owner that is away in mid-answer

/** A visitor's wish to talk; `accepted`: the other language of a run under way that the visitor was told of, and joins. */
interface Entry {
  language: string;
  accepted: string | null;
}

/** Why a run could not be started or joined: the owner's sentence, or 'lost' where it was not reached. */
export type EntryFailure = { refusal: string } | 'lost' | null;

export class Visit {
  state = $state.raw<RunState | null>(null);
  /** When `state` was received, on the clock of `performance.now()`. */
  stateReceivedAt = $state(0);
  session = $state.raw<StationSession>(loadSession());
  connected = $state(true);
  /** The run that this tab took part in has ended. */
  reborn = $state(false);
  entryFailure = $state.raw<EntryFailure>(null);
  /** What became of the visitor's wish to have their words deleted; null where there was none. */
  forgotten = $state.raw<ForgetReply | 'failed' | null>(null);
  readonly conversation = new Conversation();
  /** A visitor has a language and takes part in a run. */
  readonly talking = $derived(this.session.run !== null && this.session.language !== null);
  #updates = 0;
  #entry: Entry | null = null;
  #startingAwaited = false;
  #typingTimer: ReturnType<typeof setTimeout> | null = null;
  #stopListening = () => {};

  /** Listen to the owner's events for this station, instead of those for the station before. */
  listen(): void {
    this.#stopListening();
    const fetchState = () => void this.#fetchState();
    this.#stopListening = listen(
      `events?station=${encodeURIComponent(this.session.station)}`,
      {
        state: (state) => this.#setState(state),
        round: (round) => {
          this.#updates += 1;
          if (!this.state) return;
          const worker = round.status === 'training' ? 'training' : this.state.worker;
          this.state = { ...this.state, round, worker };
        },
        life: ({ life }) => {
          this.#updates += 1;
          if (this.state) this.state = { ...this.state, life };
        },
        swap: fetchState,
        run_started: fetchState,
        last_words: fetchState,
        run_end: fetchState,
        // An answer is complete that streamed to another tab, or to this one before it was reloaded.
        response: () => void this.#fetchExchanges(),
      },
      (connected) => {
        this.connected = connected;
        if (connected) void this.#fetchAll();
      },
    );
  }

  /**
   * Start a run in this language, or join the one under way.
   *
   * A run that speaks another language is joined only where that is `accepted`: one that somebody began a moment before is not,
   * and the visitor stays at the threshold, which says so.
   */
  async enter(language: string, accepted: string | null): Promise<void> {
    this.entryFailure = null;
    try {
      if (!(await this.#fetchState())) throw new TypeError('the owner cannot be reached');
      if (this.state?.phase === 'waiting') await post('language', { language, station: this.session.station, join: true });
      this.#entry = { language, accepted };
      await this.#fetchState();
    } catch (error) {
      if (!(error instanceof RefusedError || error instanceof TypeError)) throw error;
      this.entryFailure = error instanceof RefusedError ? { refusal: error.message } : 'lost';
    }
  }

  /** Wait for a run in this language: one is begun as soon as a language is awaited. */
  wait(language: string): void {
    this.entryFailure = null;
    this.#setSession({ ...this.session, awaits: language });
    void this.#fetchState();
  }

  /** Wait no longer. */
  stopWaiting(): void {
    this.entryFailure = null;
    this.#setSession({ ...this.session, awaits: null });
  }

  /** Send the draft as a prompt. */
  sendPrompt(): void {
    const prompt = this.conversation.draft.trim();
    if (!prompt || this.conversation.asking || !this.session.language) return;
    this.conversation.draft = '';
    this.setTyping('stopped');
    void this.conversation.ask(prompt, this.session.station, this.session.language, (signal) => this.#untilBack(signal));
  }

  /** Ask for the state and the stored exchanges until both are there, and the run is this tab's; returns the exchanges. */
  async #untilBack(signal: AbortSignal): Promise<ShownExchange[]> {
    const { station } = this.session;
    while (!signal.aborted) {
      await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
      // A run that has ended meanwhile aborts the request.
      if (signal.aborted || !(await this.#fetchState()) || signal.aborted) continue;
      try {
        return (await get<StationWords>(`station?station=${encodeURIComponent(station)}&tokens=${NEWEST_WITH_TOKENS}`)).exchanges;
      } catch (error) {
        if (!(error instanceof RefusedError || error instanceof TypeError)) throw error;
      }
    }
    return [];
  }

  /** The visitor types, or stopped typing.  Each change is sent to the owner once, for the stage and OSC. */
  setTyping(status: 'typing' | 'stopped'): void {
    const wasTyping = this.#typingTimer !== null;
    if (this.#typingTimer) clearTimeout(this.#typingTimer);
    this.#typingTimer = status === 'typing' ? setTimeout(() => this.setTyping('stopped'), STOPPED_TYPING_MS) : null;
    if ((status === 'typing') === wasTyping) return;
    // A failure is not shown: the visitor misses nothing, and the event stream already says that the connection is lost.
    post('typing_event', { status, station: this.session.station }).catch(() => {});
  }

  /** Forget the visitor: every word and the station.  The next visitor is a new station. */
  reset(): void {
    this.setTyping('stopped');
    this.conversation.clear();
    this.#entry = null;
    this.entryFailure = null;
    this.reborn = false;
    this.session = newSession();
    this.listen();
  }

  /** Returns false when the owner cannot be reached; everything is fetched again when the event stream has reconnected. */
  async #fetchState(): Promise<boolean> {
    try {
      const updates = this.#updates;
      const state = await get<RunState>('state');
      // An event that came meanwhile is newer than this reply.
      if (this.#updates !== updates) return await this.#fetchState();
      this.#setState(state);
      return true;
    } catch (error) {
      if (!(error instanceof RefusedError || error instanceof TypeError)) throw error;
      this.connected = false;
      return false;
    }
  }

  async #fetchAll(): Promise<void> {
    if (await this.#fetchState()) await this.#fetchExchanges();
  }

  /** Who left this tab on another page, or the tab, is forgotten when it comes back, before a word is shown. */
  #forgetWhoLeft(idleSeconds: number): void {
    // Who waits with a phone need not touch it.
    const stays = this.session.awaits !== null && isPhone();
    if (idleSeconds && !stays && secondsUntouched() > idleSeconds) this.reset();
  }

  #setState(next: RunState): void {
    this.#updates += 1;
    if (this.state === null) this.#forgetWhoLeft(next.idle_seconds);
    if (this.session.run && (next.run !== this.session.run || next.phase === 'waiting')) this.#leaveRun();
    this.state = next;
    this.stateReceivedAt = performance.now();
    const { awaits } = this.session;
    if (next.phase === 'waiting') {
      if (awaits) void this.#startAwaited(awaits);
    } else if (next.run) {
      const entry = this.#entry;
      this.#entry = null;
      if (awaits && awaits === next.language) this.#joinRun(awaits, next.run);
      else if (entry && [entry.language, entry.accepted].includes(next.language)) this.#joinRun(entry.language, next.run);
    }
  }

  /** Begin the run that is waited for; does nothing if somebody else was quicker.  Tried again with the next state if it fails. */
  async #startAwaited(language: string): Promise<void> {
    if (this.#startingAwaited) return;
    this.#startingAwaited = true;
    try {
      await post('language', { language, station: this.session.station, join: true });
      this.entryFailure = null;
    } catch (error) {
      if (!(error instanceof RefusedError || error instanceof TypeError)) throw error;
      this.entryFailure = error instanceof RefusedError ? { refusal: error.message } : 'lost';
    } finally {
      this.#startingAwaited = false;
    }
    if (!this.entryFailure) await this.#fetchState();
  }

  #joinRun(language: string, run: string): void {
    this.reborn = false;
    this.entryFailure = null;
    this.#setSession({ ...this.session, language, run, awaits: null });
    void this.#fetchExchanges();
  }

  /** Have everything that was said here deleted now, on this page and at the owner. */
  async forget(): Promise<void> {
    this.conversation.clear();
    this.forgotten = null;
    try {
      this.forgotten = (await (await post('forget', { station: this.session.station })).json()) as ForgetReply;
    } catch (error) {
      if (!(error instanceof RefusedError || error instanceof TypeError)) throw error;
      this.forgotten = 'failed';
      await this.#fetchExchanges();
    }
  }

  /** The run has ended: the page forgets the words said in it. */
  #leaveRun(): void {
    this.reborn = true;
    this.forgotten = null;
    this.conversation.clear();
    this.#setSession({ ...this.session, run: null });
  }

  #setSession(session: StationSession): void {
    this.session = session;
    saveSession(session);
  }

  async #fetchExchanges(): Promise<void> {
    const { station, run } = this.session;
    if (!run) return;
    try {
      // Exchanges already on the page keep their tokens; at most the newest one is missing.
      const tokens = this.conversation.exchanges.length ? 1 : NEWEST_WITH_TOKENS;
      const { exchanges } = await get<StationWords>(`station?station=${encodeURIComponent(station)}&tokens=${tokens}`);
      // The station or the run may have changed before the reply.
      if (this.session.station === station && this.session.run === run) this.conversation.restore(exchanges);
    } catch (error) {
      if (!(error instanceof RefusedError || error instanceof TypeError)) throw error;
    }
  }
}
