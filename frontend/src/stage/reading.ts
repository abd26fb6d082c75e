// The reading lines: what is said comes in a letter at a time, passes, and leaves for the body.
// A line for each station that speaks; more stations than lines take turns.  Everything waiting is bounded.

import { pieces } from './atlas';
import { LANES, LONG_AGO, type Body } from './body';

const CALM = 26; // letters a second that can be read
const CATCH_UP = 1.6; // seconds that a line may lag behind
const MOST_WAITING = 4000;
const GAP = 2.4; // em between two speakers
const WIDTH = 22; // em of a line in sight; beyond, letters leave
const IDLE = 1.7; // seconds after which a line that nobody continues leaves
const LONGEST_PROMPT = 160;

interface Waiting {
  piece: string;
  surprise: number;
  voice: 0 | 1;
}

interface Lane {
  station: string | null;
  waiting: Waiting[];
  due: number;
  x: number;
  scroll: number;
  inSight: { index: number; x: number }[];
  spoken: number;
  voice: 0 | 1;
}

export class Reading {
  readonly lanes: Lane[];

  constructor(private body: Body) {
    this.lanes = Array.from({ length: LANES }, () => blank());
  }

  /** The same lines, another body: nothing is said twice. */
  moveTo(body: Body): void {
    this.body = body;
    for (const lane of this.lanes) lane.inSight = [];
  }

  /** A visitor's words: their beginning, since a body is not a book. */
  prompt(station: string, text: string): void {
    const all = pieces(text.replace(/\s+/g, ' ').trim());
    const shown = all.slice(0, LONGEST_PROMPT).concat(all.length > LONGEST_PROMPT ? ['…', ' '] : [' ']);
    this.put(station, shown.map((piece) => ({ piece, surprise: 0.4, voice: 1 })));
  }

  token(station: string, text: string, probability: number): void {
    const surprise = Math.min(1, Math.max(0, 1 - probability));
    this.put(station, pieces(text.replace(/\s+/g, ' ')).map((piece) => ({ piece, surprise, voice: 0 })));
  }

  /** An answer is complete: its last word is, too. */
  ends(station: string): void {
    this.put(station, [{ piece: ' ', surprise: 0, voice: 0 }]);
  }

  /** What waits and what is being read is at its place at once: it was said before anybody looked. */
  settle(now: number): void {
    const before = now - LONG_AGO;
    for (const [number, lane] of this.lanes.entries()) {
      while (lane.waiting.length > 0) this.sayNext(number, lane, before);
      for (const { index } of lane.inSight) this.body.fly(index, before);
      lane.inSight = [];
      lane.scroll = lane.x;
    }
  }

  /** What may still be said of a language that is gone is not said. */
  clear(): void {
    for (const lane of this.lanes) Object.assign(lane, blank());
  }

  /** How many lines are being read. */
  get speaking(): number {
    return this.lanes.filter((lane) => lane.waiting.length > 0 || lane.inSight.length > 0).length;
  }

  step(now: number, passed: number): void {
    for (const [number, lane] of this.lanes.entries()) {
      const pace = Math.max(CALM, lane.waiting.length / CATCH_UP);
      lane.due = Math.min(lane.due + pace * passed, lane.waiting.length, 400);
      for (; lane.due >= 1 && lane.waiting.length > 0; lane.due -= 1) this.sayNext(number, lane, now);
      lane.scroll += (lane.x - lane.scroll) * (1 - Math.exp(-passed * 5));
      this.letGo(lane, now);
    }
  }

  private sayNext(number: number, lane: Lane, now: number): void {
    const next = lane.waiting.shift()!;
    lane.spoken = now;
    if (next.voice !== lane.voice) {
      this.body.endWord(number);
      lane.x += GAP;
      lane.voice = next.voice;
    }
    if (/^\s*$/.test(next.piece)) {
      this.body.endWord(number);
      lane.x += 0.28;
      return;
    }
    const { index, advance } = this.body.say({ ...next, lane: number, x: lane.x }, now);
    lane.inSight.push({ index, x: lane.x });
    lane.x += advance;
  }

  private letGo(lane: Lane, now: number): void {
    const over = lane.waiting.length === 0 && now - lane.spoken > IDLE;
    let gone = 0;
    for (const letter of lane.inSight) {
      if (!over && letter.x > lane.scroll - WIDTH) break;
      this.body.fly(letter.index, now + (over ? gone * 0.02 : 0));
      gone += 1;
    }
    lane.inSight.splice(0, gone);
    if (over && lane.inSight.length === 0) {
      this.body.endWord(this.lanes.indexOf(lane));
      if (lane.station !== null) Object.assign(lane, blank());
    }
  }

  private put(station: string, what: Waiting[]): void {
    const lane =
      this.lanes.find((one) => one.station === station) ??
      this.lanes.find((one) => one.station === null) ??
      this.lanes.reduce((least, one) => (one.waiting.length < least.waiting.length ? one : least));
    lane.station = station;
    lane.waiting.push(...what);
    if (lane.waiting.length > MOST_WAITING) lane.waiting.splice(0, lane.waiting.length - MOST_WAITING);
  }
}

function blank(): Lane {
  return { station: null, waiting: [], due: 0, x: 0, scroll: 0, inSight: [], spoken: 0, voice: 0 };
}
