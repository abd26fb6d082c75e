// Requests to the owner: JSON there and back, and replies that are streams of server-sent events over fetch, which a POST
// needs (EventSource can only GET).  Knows nothing of what the messages mean.

/** The owner refused; the message is its sentence. */
export class Refused extends Error {}

/** An event of a stream: its name, and its data parsed from JSON. */
export interface Sent {
  name: string;
  data: unknown;
}

/** POST a JSON body.  Throws Refused with the owner's sentence on any status but success, TypeError when nobody is reached. */
export async function post(path: string, body: unknown, signal?: AbortSignal): Promise<Response> {
  const reply = await fetch(path, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(body),
    signal: signal ?? null,
  });
  if (!reply.ok) throw new Refused(await sentence(reply));
  return reply;
}

/** GET a JSON reply.  Throws as `post` does. */
export async function get<Reply>(path: string): Promise<Reply> {
  const reply = await fetch(path);
  if (!reply.ok) throw new Refused(await sentence(reply));
  return (await reply.json()) as Reply;
}

/** POST a JSON body and yield the reply's events.  Throws as `post` does, and the abort's reason once `signal` is aborted. */
export async function* streamed(path: string, body: unknown, signal?: AbortSignal): AsyncGenerator<Sent> {
  const reply = await post(path, body, signal);
  if (!reply.body) return;
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      rest += value;
      // A carriage return may come in one piece and its line feed in the next: keep it back until then.
      const held = rest.endsWith('\r') ? '\r' : '';
      const blocks = rest.slice(0, rest.length - held.length).replaceAll('\r\n', '\n').split('\n\n');
      rest = (blocks.pop() ?? '') + held;
      for (const block of blocks) {
        const event = parsed(block);
        if (event) yield event;
      }
    }
  } finally {
    // Whoever stops reading wants no more of it; a stream that broke off says so again, and was heard already.
    reader.cancel().catch(() => {});
  }
}

/** The sentence of a refusal; its status where the body holds none. */
export async function sentence(reply: Response): Promise<string> {
  try {
    return ((await reply.json()) as { error?: string }).error ?? `HTTP ${reply.status}`;
  } catch (error) {
    if (error instanceof SyntaxError) return `HTTP ${reply.status}`;
    throw error;
  }
}

function parsed(block: string): Sent | null {
  let name = 'message';
  const data: string[] = [];
  for (const line of block.split('\n')) {
    if (line.startsWith('event:')) name = line.slice(6).trim();
    if (line.startsWith('data:')) data.push(line.slice(5).replace(/^ /, ''));
  }
  return data.length ? { name, data: JSON.parse(data.join('\n')) } : null;
}
