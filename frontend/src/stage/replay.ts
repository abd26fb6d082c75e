// Plays a recorded run as if it happened now: an artist sees a death without waiting for it.  `at` is the iteration to begin with
// (7.5: half of iteration 7's time has passed), `speed` how many recorded seconds pass in a second.

import type { Events } from '../lib/wire';

/** Seconds since the recording's beginning, the event's name, its data. */
export type RecordedEvent = [number, keyof Events, unknown];

/** What a replay plays to: `Stage.feed`, with the whole page around it. */
export type Feed = (name: keyof Events, data: never) => void;

const READABLE_SPEED = 4; // up to this speed, every answer is shown
const MOST_PAST_EVENTS = 9000; // what is older is no longer on the stage
const PAUSE_SECONDS = 12; // between the recording's end and its repetition, of the page's own time

/** The recorded events of a text: one JSON array in each line, in the order of time.  Throws where a line is none. */
export function parseRecording(text: string): RecordedEvent[] {
  return text
    .split('\n')
    .filter((line) => line.startsWith('['))
    .map((line) => JSON.parse(line) as RecordedEvent);
}

/** Fetch a recording.  Throws a sentence for the stage's corner where there is none of this name. */
export async function loadRecording(name: string): Promise<RecordedEvent[]> {
  const reply = await fetch(`stage/recordings/${encodeURIComponent(name)}`);
  if (!reply.ok) throw new Error(`Stage: there is no recording "${name}" in stage/recordings/.`);
  return parseRecording(await new Response(reply.body!.pipeThrough(new DecompressionStream('gzip'))).text());
}

/** When an iteration begins to answer, in seconds of the recording: at its swap; −1 with the run.  Null: it never does. */
export function beginOf(events: RecordedEvent[], iteration: number): number | null {
  const begin = events.find(([, name, data]) =>
    iteration < 0 ? name === 'run_started' : name === 'swap' && (data as Events['swap']).iteration === iteration,
  );
  return begin ? begin[0] : null;
}

/** The second of the recording at which `at` lies; fractions count between an iteration's beginning and the next one's. */
export function secondOf(events: RecordedEvent[], at: number): number {
  let iteration = Math.max(-1, Math.floor(at));
  const part = at - Math.floor(at);
  while (iteration > -1 && beginOf(events, iteration) === null) iteration -= 1; // one that never came: the last before it
  const begin = beginOf(events, iteration) ?? 0;
  const end = beginOf(events, iteration + 1) ?? events.find(([second, name]) => name === 'run_end' && second > begin)?.[0] ?? events.at(-1)?.[0] ?? begin;
  return begin + part * Math.max(0, end - begin);
}

export class Replay {
  private clock = 0;
  private next = 0;
  private readonly answers = new Map<string, number>();

  constructor(
    private readonly events: RecordedEvent[],
    private readonly at: number,
    private readonly speed: number,
    private readonly feed: Feed,
    private readonly onSought: () => void,
  ) {
    this.seek();
  }

  /** Go on by so many seconds of the page's time. */
  advance(elapsed: number): void {
    this.clock += elapsed * this.speed;
    this.feedUntil(this.clock);
    const end = this.events.at(-1)?.[0] ?? 0;
    if (this.events.length > 0 && this.clock > end + PAUSE_SECONDS * this.speed) this.seek();
  }

  /** Feed what was before `at` as past, as to a page that was opened late. */
  private seek(): void {
    this.next = 0;
    this.clock = secondOf(this.events, this.at);
    this.next = this.events.findIndex(([second]) => second >= this.clock);
    if (this.next < 0) this.next = this.events.length;
    const before = this.events.slice(0, this.next);
    // A state ends the past, so the newest comes first and last; run's ends of before are over.
    const state = before.findLast(([, name]) => name === 'state');
    const past = before.filter(([, name]) => name !== 'state' && name !== 'run_end' && name !== 'typing').slice(-MOST_PAST_EVENTS);
    this.feed('run_started', { run: '', language: '' } as never);
    if (state) this.feed('state', state[2] as never);
    this.feed('past', { events: past.length } as never);
    for (const [, name, data] of past) if (name !== 'run_started') this.feed(name, data as never);
    if (state) this.feed('state', state[2] as never);
    this.onSought();
  }

  private feedUntil(second: number): void {
    for (let event = this.events[this.next]; event && event[0] <= second; event = this.events[this.next]) {
      this.next += 1;
      if (this.isShown(event)) this.feed(event[1], event[2] as never);
    }
  }

  /** Quicker than life nobody could read every answer: each station then says but so many of them that one can. */
  private isShown([, name, data]: RecordedEvent): boolean {
    if (name !== 'prompt' && name !== 'start' && name !== 'token' && name !== 'response') return true;
    const { station } = data as Events['prompt'];
    const every = Math.max(1, Math.round(this.speed / READABLE_SPEED));
    const answer = (this.answers.get(station) ?? -1) + (name === 'prompt' ? 1 : 0);
    this.answers.set(station, answer);
    return answer % every === 0;
  }
}
