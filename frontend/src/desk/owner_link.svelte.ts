// The desk's one connection to the owner: asks for the state every second, notices when the owner is gone, and presses
// its buttons.  Keeps nothing in the browser; the session is a cookie that scripts cannot read.

import { Refused, get, post, sentence } from '../lib/requests';
import type { DeskState } from './desk_wire';

const ASK_MS = 1000;
const PATIENCE_MS = 8000;

/** Where the operator stands: not known yet, before the door, or at the desk. */
export type Where = 'unknown' | 'door' | 'desk';

export class OwnerLink {
  where: Where = $state('unknown');
  state: DeskState | null = $state.raw(null);
  /** When the owner was first missed, in milliseconds since 1970; null while it answers. */
  goneSince: number | null = $state(null);
  /** The desk was open and was closed by the owner: restarted, a new PIN, or the day is over. */
  closed = $state(false);
  /** The owner's sentence about what could not be done last, empty if it was not reached; null once something was done. */
  refusal: string | null = $state(null);

  #timer: ReturnType<typeof setTimeout> | undefined;
  #ended = false;

  /** Ask until the returned function is called. */
  begin(): () => void {
    void this.#ask();
    return () => {
      this.#ended = true;
      clearTimeout(this.#timer);
    };
  }

  /** Try a PIN.  Null when it was right; else why not, and for how many seconds there is to wait. */
  async login(pin: string): Promise<{ why: 'wrong' | 'soon' | 'other'; seconds: number; said: string } | null> {
    const reply = await fetch('desk/login', {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ pin }),
    });
    if (reply.ok) {
      this.where = 'desk';
      this.closed = false;
      this.#again(0);
      return null;
    }
    const why = reply.status === 401 ? 'wrong' : reply.status === 429 ? 'soon' : 'other';
    return { why, seconds: Number(reply.headers.get('Retry-After') ?? 0), said: await sentence(reply) };
  }

  async logout(): Promise<void> {
    if (await this.press('logout')) this.#close(false);
  }

  /** Have the owner do something; its answer, or null when it was not done. */
  async press(what: string, body: unknown = {}): Promise<Record<string, unknown> | null> {
    try {
      const reply = await post(`desk/${what}`, body);
      this.refusal = null;
      this.#again(0);
      return (await reply.json()) as Record<string, unknown>;
    } catch (error) {
      if (!(error instanceof Refused || error instanceof TypeError)) throw error;
      this.refusal = error instanceof Refused ? error.message : '';
      this.#again(0);
      return null;
    }
  }

  async #ask(): Promise<void> {
    try {
      if (this.where !== 'desk') {
        const { open } = await get<{ open: boolean }>('desk/door');
        this.where = open ? 'desk' : 'door';
      }
      if (this.where === 'desk') await this.#look();
      this.goneSince = null;
    } catch (error) {
      if (!(error instanceof TypeError || error instanceof DOMException || error instanceof Refused)) throw error;
      this.goneSince ??= Date.now();
    }
    this.#again(ASK_MS);
  }

  async #look(): Promise<void> {
    const reply = await fetch('desk/state', { signal: AbortSignal.timeout(PATIENCE_MS) });
    if (reply.status === 401) {
      this.#close(true);
    } else if (reply.ok) {
      this.state = (await reply.json()) as DeskState;
    } else {
      throw new Refused(await sentence(reply));
    }
  }

  #close(byOwner: boolean): void {
    this.where = 'door';
    this.state = null;
    this.closed = byOwner;
    this.refusal = null;
  }

  #again(after: number): void {
    clearTimeout(this.#timer);
    if (!this.#ended) this.#timer = setTimeout(() => void this.#ask(), after);
  }
}
