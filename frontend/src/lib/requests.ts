// Requests to the owner: JSON in both directions, and replies that are streams of server-sent events.  Streams are read with
// fetch, because they answer a POST and EventSource can only GET.

/** The owner answered with an error status; the message is the sentence in its reply. */
export class RefusedError extends Error {
  constructor(
    message: string,
    /** Of the reply; 0 where the refusal came in the middle of a stream. */
    readonly status = 0,
    /** The owner is being started anew, and asks to be asked again in a moment. */
    readonly again = false,
  ) {
    super(message);
  }
}

/** An event of a stream: its name, and its data parsed from JSON. */
export interface ServerEvent {
  name: string;
  data: unknown;
}

/** POST a JSON body.  Throws RefusedError on any status but success, TypeError when the owner cannot be reached. */
export async function post(path: string, body: unknown, signal?: AbortSignal): Promise<Response> {
  const reply = await fetch(path, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(body),
    signal: signal ?? null,
  });
  if (!reply.ok) throw new RefusedError(await errorSentence(reply), reply.status, reply.status === 503 && reply.headers.has('Retry-After'));
  return reply;
}

/** GET a JSON reply.  Throws as `post` does. */
export async function get<Reply>(path: string): Promise<Reply> {
  const reply = await fetch(path);
  if (!reply.ok) throw new RefusedError(await errorSentence(reply), reply.status);
  return (await reply.json()) as Reply;
}

/** POST a JSON body and yield the reply's events.  Throws as `post` does, and the abort's reason once `signal` is aborted. */
export async function* streamEvents(path: string, body: unknown, signal?: AbortSignal): AsyncGenerator<ServerEvent> {
  const reply = await post(path, body, signal);
  if (!reply.body) return;
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = '';
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      buffer += value;
      // A chunk may end between the two characters of a line break: keep the carriage return until the next chunk.
      const carriageReturn = buffer.endsWith('\r') ? '\r' : '';
      const blocks = buffer.slice(0, buffer.length - carriageReturn.length).replaceAll('\r\n', '\n').split('\n\n');
      buffer = (blocks.pop() ?? '') + carriageReturn;
      for (const block of blocks) {
        const event = parseEvent(block);
        if (event) yield event;
      }
    }
  } finally {
    // End the request when the caller stops reading.  A stream that broke off rejects again here; `read` has thrown that already.
    reader.cancel().catch(() => {});
  }
}

/** The sentence in a reply with an error status, or the status where the body holds none. */
export async function errorSentence(reply: Response): Promise<string> {
  try {
    return ((await reply.json()) as { error?: string }).error ?? `HTTP ${reply.status}`;
  } catch (error) {
    if (error instanceof SyntaxError) return `HTTP ${reply.status}`;
    throw error;
  }
}

function parseEvent(block: string): ServerEvent | null {
  let name = 'message';
  const data: string[] = [];
  for (const line of block.split('\n')) {
    if (line.startsWith('event:')) name = line.slice(6).trim();
    if (line.startsWith('data:')) data.push(line.slice(5).replace(/^ /, ''));
  }
  return data.length ? { name, data: JSON.parse(data.join('\n')) } : null;
}
