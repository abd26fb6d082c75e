// The owner's event stream: reconnects for as long as the page is open, after restarts of the owner and losses of the network.

import type { Events } from './wire';

const RETRY_MS = 2000;

export type EventHandlers = { [Name in keyof Events]?: (data: Events[Name]) => void };

/**
 * Subscribe to the stream at `path` until the returned function is called.
 *
 * `handlers` maps an event's name to what is called with its data.  `onConnection` is called with true whenever the stream opens,
 * also after a reconnect, and with false when it breaks.  The browser reconnects by itself, except after a reply that is no event
 * stream: then a new connection is tried after `RETRY_MS`.
 */
export function listen(path: string, handlers: EventHandlers, onConnection: (connected: boolean) => void): () => void {
  let source: EventSource;
  let retry: ReturnType<typeof setTimeout> | undefined;
  const open = () => {
    source = new EventSource(path);
    source.onopen = () => onConnection(true);
    source.onerror = () => {
      onConnection(false);
      if (source.readyState === EventSource.CLOSED) retry = setTimeout(open, RETRY_MS);
    };
    for (const [name, handler] of Object.entries(handlers) as [string, (data: unknown) => void][]) {
      source.addEventListener(name, (event) => handler(JSON.parse((event as MessageEvent<string>).data)));
    }
  };
  open();
  return () => {
    clearTimeout(retry);
    source.close();
  };
}
