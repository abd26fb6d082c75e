// Server-sent events over fetch, which a POST needs (EventSource can only GET). Knows nothing of what the events mean.

/** The owner refused; the message is its sentence. */
export class Refused extends Error {}

/**
 * POST a JSON body and yield the reply's events as {name, data}, data parsed from JSON.
 * Throws Refused with the owner's sentence on any other status than 200, and TypeError when the connection fails.
 */
export async function* events(url, body) {
  const reply = await fetch(url, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', Accept: 'text/event-stream' },
    body: JSON.stringify(body),
  });
  if (!reply.ok) throw new Refused(await sentence(reply));
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    // A carriage return may come in one piece and its line feed in the next: keep it back until then.
    rest += value;
    const held = rest.endsWith('\r') ? '\r' : '';
    const blocks = rest.slice(0, rest.length - held.length).replaceAll('\r\n', '\n').split('\n\n');
    rest = blocks.pop() + held;
    for (const block of blocks) {
      const event = parse(block);
      if (event) yield event;
    }
  }
}

/** The sentence of a refusal; its status where the body holds none. */
export async function sentence(reply) {
  try {
    return (await reply.json()).error ?? `HTTP ${reply.status}`;
  } catch (error) {
    if (error instanceof SyntaxError) return `HTTP ${reply.status}`;
    throw error;
  }
}

function parse(block) {
  let name = 'message';
  const data = [];
  for (const line of block.split('\n')) {
    if (line.startsWith('event:')) name = line.slice(6).trim();
    if (line.startsWith('data:')) data.push(line.slice(5).replace(/^ /, ''));
  }
  return data.length ? { name, data: JSON.parse(data.join('\n')) } : null;
}
