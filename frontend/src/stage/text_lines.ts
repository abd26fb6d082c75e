// The lines on which prompts and answers are read: letters come in one after the other, whole words go on to the next row where there
// is no room, and the oldest row leaves for its places in the scenes.  The station that speaks has the headline, the others the small
// lines beneath; with more stations than lanes, they share.  The letters that wait are bounded.

import { pieces } from './atlas';
import { ARRIVED_SECONDS, LANES, type LetterMesh } from './letter_mesh';

const READABLE_SPEED = 26; // letters a second
const HURRIED_SPEED = 40; // while more letters wait than `MAX_LAG_SECONDS` say
const MAX_LAG_SECONDS = 1.6;
const MAX_WAITING = 180; // what nobody could read goes to its places without having been on the line
const SPEAKER_GAP = 1.1; // em between the words of two speakers
const SPACE = 0.28; // em
const IDLE_SECONDS = 1.7; // after which another station may have the lane
const HELD_SECONDS = 9; // for which the last words of a lane stay where they can be read
const MAX_PROMPT_LETTERS = 160;

/** Rows of each lane that are read at the same time; the first lane is the headline. */
export const LANE_ROWS = [2, 1, 1, 1];

interface WaitingLetter {
  piece: string;
  surprise: number;
  voice: 0 | 1;
}

interface Lane {
  station: string | null;
  waiting: WaitingLetter[];
  due: number;
  x: number;
  row: number;
  /** The row at the lane's top, on its way to the newest ones. */
  scroll: number;
  visible: { index: number; row: number; x: number; piece: string }[];
  lastLetterAt: number;
  voice: 0 | 1;
  /** Nothing has come for `IDLE_SECONDS`: another station may have it. */
  idle: boolean;
}

export class TextLines {
  readonly lanes: Lane[];

  /** `widths`: the width of each lane in em. */
  constructor(
    private mesh: LetterMesh,
    private widths: number[],
  ) {
    this.lanes = Array.from({ length: LANES }, () => emptyLane());
  }

  /** Go on with another mesh, which has taken over all words shown so far. */
  setMesh(mesh: LetterMesh, widths: number[]): void {
    this.mesh = mesh;
    this.widths = widths;
    for (const lane of this.lanes) Object.assign(lane, { visible: [], x: 0, row: 0, scroll: 0 });
  }

  /** Queue a visitor's prompt, shortened to `MAX_PROMPT_LETTERS`. */
  addPrompt(station: string, text: string): void {
    const letters = pieces(text.replace(/\s+/g, ' ').trim());
    const shown = letters.slice(0, MAX_PROMPT_LETTERS).concat(letters.length > MAX_PROMPT_LETTERS ? ['…', ' '] : [' ']);
    this.queue(station, shown.map((piece) => ({ piece, surprise: 0.4, voice: 1 })));
  }

  addToken(station: string, text: string, probability: number): void {
    const surprise = Math.min(1, Math.max(0, 1 - probability));
    this.queue(station, pieces(text.replace(/\s+/g, ' ')).map((piece) => ({ piece, surprise, voice: 0 })));
  }

  /** An answer is complete, and so is its last word. */
  endAnswer(station: string): void {
    this.queue(station, [{ piece: ' ', surprise: 0, voice: 0 }]);
  }

  /** Put all letters that wait or are on a line at their places at once: they are from before the page was opened. */
  settle(now: number): void {
    const before = now - ARRIVED_SECONDS;
    for (const [number, lane] of this.lanes.entries()) {
      while (lane.waiting.length > 0) this.placeNext(number, lane, before);
      this.mesh.endWord(number, before);
      for (const { index } of lane.visible) this.mesh.leaveLine(index, before);
      Object.assign(lane, emptyLane());
    }
  }

  /** Drop all letters that wait. */
  clear(): void {
    for (const lane of this.lanes) Object.assign(lane, emptyLane());
  }

  /** How many lanes have letters that wait or were shown just now. */
  active(now: number): number {
    return this.lanes.filter((lane) => lane.waiting.length > 0 || (lane.visible.length > 0 && now - lane.lastLetterAt < IDLE_SECONDS)).length;
  }

  /** What stands in the headline: its letters, each with its row and its left edge in em. */
  get headline(): { piece: string; row: number; x: number }[] {
    const [lane] = this.lanes;
    return lane!.visible.map(({ piece, row, x }) => ({ piece, row: row - lane!.scroll, x }));
  }

  /** Go on by `elapsed` seconds. */
  step(now: number, elapsed: number): void {
    for (const [number, lane] of this.lanes.entries()) {
      if (lane.waiting.length > MAX_WAITING) this.skip(number, lane, now);
      const speed = Math.min(HURRIED_SPEED, Math.max(READABLE_SPEED, lane.waiting.length / MAX_LAG_SECONDS));
      lane.due = Math.min(lane.due + speed * elapsed, lane.waiting.length);
      for (; lane.due >= 1 && lane.waiting.length > 0; lane.due -= 1) this.showNext(number, lane, now);
      const top = Math.max(0, lane.row - LANE_ROWS[number]! + 1);
      lane.scroll += (top - lane.scroll) * (1 - Math.exp(-elapsed * 6));
      this.releaseLetters(number, lane, top, now);
      lane.idle = lane.waiting.length === 0 && now - lane.lastLetterAt > IDLE_SECONDS;
    }
  }

  /** Whole words go to their places until no more letters wait than can be read. */
  private skip(number: number, lane: Lane, now: number): void {
    while (lane.waiting.length > MAX_WAITING || (lane.waiting.length > 0 && !isBlank(lane.waiting[0]!))) this.placeNext(number, lane, now);
  }

  /** The next letter goes to its place at once. */
  private placeNext(number: number, lane: Lane, now: number): void {
    const letter = lane.waiting.shift()!;
    lane.lastLetterAt = now;
    if (letter.voice !== lane.voice || isBlank(letter)) this.mesh.endWord(number, now);
    lane.voice = letter.voice;
    if (isBlank(letter)) return;
    const { index } = this.mesh.addLetter({ ...letter, lane: number, x: lane.x, row: lane.row }, now);
    this.mesh.leaveLine(index, now - ARRIVED_SECONDS);
  }

  private showNext(number: number, lane: Lane, now: number): void {
    const letter = lane.waiting.shift()!;
    lane.lastLetterAt = now;
    if (letter.voice !== lane.voice) {
      this.mesh.endWord(number, now);
      // The visitor's question and the answer stand in rows of their own in the headline; beside each other in a small line.
      if (lane.x > 0 && LANE_ROWS[number]! > 1) this.breakLine(lane);
      else if (lane.x > 0) lane.x += SPEAKER_GAP;
      lane.voice = letter.voice;
    }
    if (isBlank(letter)) {
      this.mesh.endWord(number, now);
      if (lane.x > 0) lane.x += SPACE;
      return;
    }
    const { index, advance } = this.mesh.addLetter({ ...letter, lane: number, x: lane.x, row: lane.row }, now);
    lane.visible.push({ index, row: lane.row, x: lane.x, piece: letter.piece });
    lane.x += advance;
    if (lane.x > this.widths[number]!) this.wrap(number, lane);
  }

  private breakLine(lane: Lane): void {
    lane.row += 1;
    lane.x = 0;
  }

  /** The word under way goes on to the next row. */
  private wrap(number: number, lane: Lane): void {
    lane.row += 1;
    const moved = this.mesh.moveWord(number, lane.row);
    if (moved >= this.widths[number]!) this.mesh.endWord(number, lane.lastLetterAt); // a word wider than a row is broken
    lane.x = moved;
    for (const { index, x } of this.mesh.openLetters(number)) {
      const letter = lane.visible.findLast((shown) => shown.index === index);
      if (letter) Object.assign(letter, { row: lane.row, x });
    }
  }

  private releaseLetters(number: number, lane: Lane, top: number, now: number): void {
    const held = lane.waiting.length === 0 && now - lane.lastLetterAt > HELD_SECONDS;
    let released = 0;
    for (const letter of lane.visible) {
      if (!held && letter.row >= top) break;
      this.mesh.leaveLine(letter.index, now + released * (held ? 0.02 : 0.006));
      released += 1;
    }
    lane.visible.splice(0, released);
    if (held && lane.visible.length === 0) {
      this.mesh.endWord(number, now);
      if (lane.station !== null) Object.assign(lane, emptyLane());
    }
  }

  private queue(station: string, letters: WaitingLetter[]): void {
    const isFree = (lane: Lane) => lane.station === null || (lane.waiting.length === 0 && lane.idle);
    const lane =
      this.lanes.find((candidate) => candidate.station === station && !candidate.idle) ??
      this.lanes.find(isFree) ??
      this.lanes.find((candidate) => candidate.station === station) ??
      this.lanes.reduce((least, candidate) => (candidate.waiting.length < least.waiting.length ? candidate : least));
    lane.station = station;
    lane.idle = false;
    lane.waiting.push(...letters);
  }
}

function isBlank(letter: WaitingLetter): boolean {
  return letter.piece.trim() === '';
}

function emptyLane(): Lane {
  return { station: null, waiting: [], due: 0, x: 0, row: 0, scroll: 0, visible: [], lastLetterAt: 0, voice: 0, idle: false };
}
