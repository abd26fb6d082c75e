// The owner's event stream, listened to for as long as the page lives: over restarts of the owner and losses of the network.

import type { Events } from './wire';

const RETRY_MS = 2000;

export type Hearers = { [Name in keyof Events]?: (data: Events[Name]) => void };

/**
 * Listen to `path` until the returned function is called.
 *
 * `hear` is called for each event by its name; `connected` with true whenever the stream is open (again), with false when it is gone.
 * The browser tries again by itself; where it gives up, since something else than a stream answered, this tries on.
 */
export function listen(path: string, hear: Hearers, connected: (there: boolean) => void): () => void {
  let source: EventSource;
  let again: ReturnType<typeof setTimeout> | undefined;
  const open = () => {
    source = new EventSource(path);
    source.onopen = () => connected(true);
    source.onerror = () => {
      connected(false);
      if (source.readyState === EventSource.CLOSED) again = setTimeout(open, RETRY_MS);
    };
    for (const [name, handle] of Object.entries(hear) as [string, (data: unknown) => void][]) {
      source.addEventListener(name, (event) => handle(JSON.parse((event as MessageEvent<string>).data)));
    }
  };
  open();
  return () => {
    clearTimeout(again);
    source.close();
  };
}
