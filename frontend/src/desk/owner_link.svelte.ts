// The desk's connection to the owner: fetches its state every second, notices when it does not answer, and sends the operator's
// actions.  Stores nothing in the browser; the session is a cookie that scripts cannot read.

import { RefusedError, errorSentence, get, post } from '../lib/requests';
import type { DeskState } from './desk_wire';

const POLL_MS = 1000;
const STATE_TIMEOUT_MS = 8000;

/** What the page shows: the login, the desk, or neither before the owner has said whether a session is open. */
export type DeskView = 'unknown' | 'login' | 'desk';

/** Why a PIN did not open the desk. */
export interface LoginRefusal {
  reason: 'wrong' | 'soon' | 'other';
  /** How long to wait before the next try. */
  seconds: number;
  /** The owner's own sentence. */
  sentence: string;
}

export class OwnerLink {
  view: DeskView = $state('unknown');
  state: DeskState | null = $state.raw(null);
  /** When the owner first did not answer, in milliseconds since 1970; null while it answers. */
  offlineSince: number | null = $state(null);
  /** The owner closed the open desk: after a restart, for a new PIN, or because the session is too old. */
  closedByOwner = $state(false);
  /** Why the last action failed: the owner's sentence, or empty when it was not reached; null when it succeeded. */
  refusal: string | null = $state(null);

  #timer: ReturnType<typeof setTimeout> | undefined;
  #stopped = false;

  /** Poll the owner until the returned function is called. */
  start(): () => void {
    void this.#poll();
    return () => {
      this.#stopped = true;
      clearTimeout(this.#timer);
    };
  }

  /** Try a PIN.  Null when it was right. */
  async login(pin: string): Promise<LoginRefusal | null> {
    const reply = await fetch('desk/login', {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ pin }),
    });
    if (reply.ok) {
      this.view = 'desk';
      this.closedByOwner = false;
      this.#schedulePoll(0);
      return null;
    }
    const reason = reply.status === 401 ? 'wrong' : reply.status === 429 ? 'soon' : 'other';
    return { reason, seconds: Number(reply.headers.get('Retry-After') ?? 0), sentence: await errorSentence(reply) };
  }

  async logout(): Promise<void> {
    if (await this.perform('logout')) this.#closeDesk(false);
  }

  /** Have the owner do something.  Returns its reply, or null when it failed; `refusal` then says why. */
  async perform(action: string, body: unknown = {}): Promise<Record<string, unknown> | null> {
    try {
      const reply = await post(`desk/${action}`, body);
      this.refusal = null;
      this.#schedulePoll(0);
      return (await reply.json()) as Record<string, unknown>;
    } catch (error) {
      if (!(error instanceof RefusedError || error instanceof TypeError)) throw error;
      this.refusal = error instanceof RefusedError ? error.message : '';
      this.#schedulePoll(0);
      return null;
    }
  }

  async #poll(): Promise<void> {
    try {
      if (this.view !== 'desk') {
        const { open } = await get<{ open: boolean }>('desk/door');
        this.view = open ? 'desk' : 'login';
      }
      if (this.view === 'desk') await this.#fetchState();
      this.offlineSince = null;
    } catch (error) {
      if (!(error instanceof TypeError || error instanceof DOMException || error instanceof RefusedError)) throw error;
      this.offlineSince ??= Date.now();
    }
    this.#schedulePoll(POLL_MS);
  }

  async #fetchState(): Promise<void> {
    const reply = await fetch('desk/state', { signal: AbortSignal.timeout(STATE_TIMEOUT_MS) });
    if (reply.status === 401) {
      this.#closeDesk(true);
    } else if (reply.ok) {
      this.state = (await reply.json()) as DeskState;
    } else {
      throw new RefusedError(await errorSentence(reply));
    }
  }

  #closeDesk(byOwner: boolean): void {
    this.view = 'login';
    this.state = null;
    this.closedByOwner = byOwner;
    this.refusal = null;
  }

  #schedulePoll(delay: number): void {
    clearTimeout(this.#timer);
    if (!this.#stopped) this.#timer = setTimeout(() => void this.#poll(), delay);
  }
}
