// The lines on which prompts and answers are read: letters come in one after the other, scroll by, and leave for their place.
// Each station that speaks has a lane; with more stations than lanes, they share.  The letters that wait are bounded.

import { pieces } from './atlas';
import { ARRIVED_SECONDS, LANES, type LetterMesh } from './letter_mesh';

const READABLE_SPEED = 26; // letters a second
const MAX_LAG_SECONDS = 1.6; // a lane with more waiting letters than this goes faster
const MAX_WAITING = 4000;
const SPEAKER_GAP = 2.4; // em between the words of two speakers
const VISIBLE_WIDTH = 22; // em; letters further back leave
const IDLE_SECONDS = 1.7; // after which the letters of a line that is not continued leave
const MAX_PROMPT_LETTERS = 160;

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
  scroll: number;
  visible: { index: number; x: number }[];
  lastLetterAt: number;
  voice: 0 | 1;
}

export class TextLines {
  readonly lanes: Lane[];

  constructor(private mesh: LetterMesh) {
    this.lanes = Array.from({ length: LANES }, () => emptyLane());
  }

  /** Go on with another mesh, which has taken over all letters shown so far. */
  setMesh(mesh: LetterMesh): void {
    this.mesh = mesh;
    for (const lane of this.lanes) lane.visible = [];
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
      while (lane.waiting.length > 0) this.showNext(number, lane, before);
      for (const { index } of lane.visible) this.mesh.leaveLine(index, before);
      lane.visible = [];
      lane.scroll = lane.x;
    }
  }

  /** Drop all letters that wait. */
  clear(): void {
    for (const lane of this.lanes) Object.assign(lane, emptyLane());
  }

  /** How many lanes have letters that wait or can be read. */
  get active(): number {
    return this.lanes.filter((lane) => lane.waiting.length > 0 || lane.visible.length > 0).length;
  }

  /** Go on by `elapsed` seconds. */
  step(now: number, elapsed: number): void {
    for (const [number, lane] of this.lanes.entries()) {
      const speed = Math.max(READABLE_SPEED, lane.waiting.length / MAX_LAG_SECONDS);
      lane.due = Math.min(lane.due + speed * elapsed, lane.waiting.length, 400);
      for (; lane.due >= 1 && lane.waiting.length > 0; lane.due -= 1) this.showNext(number, lane, now);
      lane.scroll += (lane.x - lane.scroll) * (1 - Math.exp(-elapsed * 5));
      this.releaseLetters(lane, now);
    }
  }

  private showNext(number: number, lane: Lane, now: number): void {
    const letter = lane.waiting.shift()!;
    lane.lastLetterAt = now;
    if (letter.voice !== lane.voice) {
      this.mesh.endWord(number);
      lane.x += SPEAKER_GAP;
      lane.voice = letter.voice;
    }
    if (/^\s*$/.test(letter.piece)) {
      this.mesh.endWord(number);
      lane.x += 0.28;
      return;
    }
    const { index, advance } = this.mesh.addLetter({ ...letter, lane: number, x: lane.x }, now);
    lane.visible.push({ index, x: lane.x });
    lane.x += advance;
  }

  private releaseLetters(lane: Lane, now: number): void {
    const idle = lane.waiting.length === 0 && now - lane.lastLetterAt > IDLE_SECONDS;
    let released = 0;
    for (const letter of lane.visible) {
      if (!idle && letter.x > lane.scroll - VISIBLE_WIDTH) break;
      this.mesh.leaveLine(letter.index, now + (idle ? released * 0.02 : 0));
      released += 1;
    }
    lane.visible.splice(0, released);
    if (idle && lane.visible.length === 0) {
      this.mesh.endWord(this.lanes.indexOf(lane));
      if (lane.station !== null) Object.assign(lane, emptyLane());
    }
  }

  private queue(station: string, letters: WaitingLetter[]): void {
    const lane =
      this.lanes.find((candidate) => candidate.station === station) ??
      this.lanes.find((candidate) => candidate.station === null) ??
      this.lanes.reduce((least, candidate) => (candidate.waiting.length < least.waiting.length ? candidate : least));
    lane.station = station;
    lane.waiting.push(...letters);
    if (lane.waiting.length > MAX_WAITING) lane.waiting.splice(0, lane.waiting.length - MAX_WAITING);
  }
}

function emptyLane(): Lane {
  return { station: null, waiting: [], due: 0, x: 0, scroll: 0, visible: [], lastLetterAt: 0, voice: 0 };
}
