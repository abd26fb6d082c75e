// Where words stand in the three scenes, from their real widths, so that no two words ever touch.  The body is an ellipse of lines,
// the page is a rectangle of lines, and the map has one place for each different word, near the word it was first used after.
// Lengths are in half heights of what is visible at the words' depth, times `HALF`; y is upwards.  Pure.

import { hashOf } from './places';

/** Half of the visible height, and the bands that the scenes and the lines being said have of it. */
export const HALF = 1.36;
export const SCENE_TOP = 1.27;
export const SCENE_BOTTOM = -0.5;
export const SCENE_MIDDLE = (SCENE_TOP + SCENE_BOTTOM) / 2;
export const SCENE_HALF = (SCENE_TOP - SCENE_BOTTOM) / 2;
const MARGIN = 0.94; // of half the width
const SPACE = 0.34; // em between two words
const BODY_LEADING = 1.42; // em from line to line
const PAGE_LEADING = 1.36;

/** Half of the width that scenes use at this aspect. */
export const sceneWidth = (aspect: number): number => HALF * aspect * MARGIN;

/** A word's place: the middle of its left edge. */
export interface Spot {
  x: number;
  y: number;
  /** The words that stood there, and must go. */
  replaced: number[];
}

interface Line {
  y: number;
  left: number;
  width: number;
  words: { id: number; from: number; to: number }[];
}

/** Lines that are filled one after the other, and from the first again when all are full. */
export class LineLayout {
  private at = 0;
  private x = 0;

  constructor(
    private readonly lines: Line[],
    readonly em: number,
  ) {}

  /** Lines in an ellipse. */
  static body(count: number, aspect: number): LineLayout {
    const height = (2 * SCENE_HALF) / count;
    const lines = Array.from({ length: count }, (_, number) => {
      const y = SCENE_HALF - (number + 0.5) * height;
      const half = sceneWidth(aspect) * Math.sqrt(1 - (y / SCENE_HALF) ** 2);
      return { y, left: -half, width: 2 * half, words: [] };
    });
    return new LineLayout(lines, height / BODY_LEADING);
  }

  /** Lines in a rectangle. */
  static page(count: number, aspect: number): LineLayout {
    const height = (2 * SCENE_HALF) / count;
    const half = sceneWidth(aspect);
    const lines = Array.from({ length: count }, (_, number) => ({ y: SCENE_HALF - (number + 0.5) * height, left: -half, width: 2 * half, words: [] }));
    return new LineLayout(lines, height / PAGE_LEADING);
  }

  /** The next place for a word of this width in em; a word that is wider than a line is laid on it nevertheless. */
  place(id: number, widthInEm: number): Spot {
    const width = widthInEm * this.em;
    for (let tried = 0; tried < this.lines.length && this.x > 0 && this.x + width > this.lines[this.at]!.width; tried += 1) this.nextLine();
    // A line at the ellipse's ends may be narrower than the word.
    for (let tried = 0; tried < this.lines.length && width > this.lines[this.at]!.width; tried += 1) this.nextLine();
    const line = this.lines[this.at]!;
    const from = this.x;
    const to = from + width;
    const gap = SPACE * this.em;
    const overlaps = (word: { from: number; to: number }) => word.from < to + gap && word.to > from - gap / 2;
    const replaced = line.words.filter(overlaps).map((word) => word.id);
    line.words = line.words.filter((word) => !overlaps(word));
    line.words.push({ id, from, to });
    this.x = to + gap;
    return { x: line.left + from, y: line.y, replaced };
  }

  private nextLine(): void {
    this.at = (this.at + 1) % this.lines.length;
    this.x = 0;
  }
}

interface Entry {
  id: number;
  x: number;
  y: number;
  halfWidth: number;
  uses: number;
  usedAt: number;
}

/** The parts of a word by which it is the same word. */
export function keyOf(word: string): string {
  return word.toLowerCase().replace(/[^\p{L}\p{N}]/gu, '');
}

const FORGOTTEN_AFTER = 260; // words: one that has not been used for so long is gone from the map
const SPIRAL_STEP = 0.35; // em
const SPIRAL_TURNS = 900;

/** A place for each different word; the next word is laid as near to the last as there is room. */
export class MapLayout {
  private readonly entries = new Map<string, Entry>();
  private words = 0;
  private previous: Entry | null = null;

  constructor(
    private readonly aspect: number,
    readonly em: number,
  ) {}

  /** How many different words have a place. */
  get size(): number {
    return this.entries.size;
  }

  /** The middle of the word that is used most: where everything ends. */
  get focus(): { x: number; y: number } {
    let most: Entry | null = null;
    for (const entry of this.entries.values()) if (!most || entry.uses > most.uses) most = entry;
    return most ?? { x: 0, y: 0 };
  }

  /** A word was used.  Its left edge; null for what is no word. */
  place(id: number, text: string, widthInEm: number): (Spot & { uses: number }) | null {
    this.words += 1;
    const key = keyOf(text);
    if (key === '') return null;
    const replaced = this.forget();
    const halfWidth = (widthInEm * this.em) / 2;
    const known = this.entries.get(key);
    if (known && known.halfWidth >= halfWidth) {
      replaced.push(known.id);
      Object.assign(known, { id, uses: known.uses * 0.995 + 1, usedAt: this.words });
      this.previous = known;
      return { x: known.x - halfWidth, y: known.y, replaced, uses: known.uses };
    }
    if (known) {
      replaced.push(known.id);
      this.entries.delete(key);
    }
    const half = halfWidth + 0.7 * this.em; // room for a comma, and for air
    const spot = this.freeSpot(hashOf(key), half, known ?? this.previous) ?? this.makeRoom(half, replaced);
    const entry = { id, ...spot, halfWidth: half, uses: (known?.uses ?? 0) + 1, usedAt: this.words };
    this.entries.set(key, entry);
    this.previous = entry;
    return { x: entry.x - halfWidth, y: entry.y, replaced, uses: entry.uses };
  }

  /** Remove the words that were not used for longest until one fits where the last of them was. */
  private makeRoom(half: number, removed: number[]): { x: number; y: number } {
    const width = Math.max(0, sceneWidth(this.aspect) - half);
    for (;;) {
      const [key, oldest] = [...this.entries].reduce((first, other) => (other[1].usedAt < first[1].usedAt ? other : first));
      this.entries.delete(key);
      removed.push(oldest.id);
      const x = Math.min(width, Math.max(-width, oldest.x));
      if (!this.isTaken(x, oldest.y, half)) return { x, y: oldest.y };
    }
  }

  private forget(): number[] {
    const gone: number[] = [];
    for (const [key, entry] of this.entries) {
      if (this.words - entry.usedAt <= FORGOTTEN_AFTER) continue;
      gone.push(entry.id);
      this.entries.delete(key);
    }
    return gone;
  }

  private freeSpot(random: number, half: number, near: { x: number; y: number } | null): { x: number; y: number } | null {
    const from = near ?? { x: 0, y: 0 };
    const width = sceneWidth(this.aspect);
    const height = 0.66 * this.em;
    for (let turn = 0; turn < SPIRAL_TURNS; turn += 1) {
      const angle = random * 2 * Math.PI + 2.4 * turn;
      const radius = SPIRAL_STEP * this.em * Math.sqrt(turn) * 1.6;
      const x = from.x + 1.9 * radius * Math.cos(angle);
      const y = from.y + radius * Math.sin(angle);
      if (Math.abs(x) + half > width || Math.abs(y) + height > SCENE_HALF) continue;
      if (!this.isTaken(x, y, half)) return { x, y };
    }
    return null;
  }

  private isTaken(x: number, y: number, half: number): boolean {
    for (const entry of this.entries.values()) {
      if (Math.abs(entry.x - x) < entry.halfWidth + half && Math.abs(entry.y - y) < 1.3 * this.em) return true;
    }
    return false;
  }
}
