// All letters on the stage as instances of one mesh.  The arrays are as long as the tier allows and never grow: when they are full,
// new letters overwrite the oldest.  When a letter is added and when it leaves its line is decided in `text_lines.ts`; where its word
// stands in each scene, once it is whole and its width known, in `layout.ts`.

import { DynamicDrawUsage, InstancedBufferAttribute, InstancedBufferGeometry, PlaneGeometry } from 'three';
import { pieces, type Atlas, type Glyph } from './atlas';
import { LineLayout, MapLayout, keyOf, type Spot } from './layout';
import { hashOf } from './places';

export const LANES = 4;
const NEVER = 1e6; // seconds; a float32 can still hold such a time
/** A letter added or sent off this many seconds ago has arrived at its place. */
export const ARRIVED_SECONDS = 30;
const MAX_WORD_LETTERS = 22; // a longer word is broken
const MAX_UPDATE_RANGES = 48; // with more changes than this in a frame, the whole array is sent
const WORD_HISTORY = 600; // words that are laid out anew for another tier, font or shape of the window

/** The lines of the body and the page, and the map's letters, of a tier. */
export interface Lines {
  body: number;
  page: number;
  mapEm: number;
}

/** A word and its letters so far. */
interface Word {
  id: number;
  text: string;
  letters: number[]; // indices into the arrays; not contiguous, for all lanes add letters at the same time
  advances: number[];
  width: number;
  surprise: number;
  voice: 0 | 1;
  /** In which scenes it stands: body 1, page 2, map 4. */
  scenes: number;
}

export interface NewLetter {
  piece: string;
  lane: number;
  /** On its line, in em, and the line's number. */
  x: number;
  row: number;
  /** 1 − probability. */
  surprise: number;
  voice: 0 | 1;
}

export class LetterMesh {
  readonly geometry = new InstancedBufferGeometry();
  readonly body: LineLayout;
  readonly page: LineLayout;
  readonly map: MapLayout;
  /** Of each scene: x, y of the letter's middle, when it goes, and a number: the word's hash, a random one, how often it was used. */
  private readonly scenes: InstancedBufferAttribute[];
  private readonly glyph: InstancedBufferAttribute;
  private readonly line: InstancedBufferAttribute;
  private readonly traits: InstancedBufferAttribute;
  private readonly glyphs: (Glyph | null)[];
  private readonly owners: (Word | null)[];
  private readonly words = new Map<number, Word>();
  private readonly openWords: (Word | null)[] = Array<Word | null>(LANES).fill(null);
  private readonly history: Pick<Word, 'text' | 'surprise' | 'voice'>[] = [];
  private nextIndex = 0;
  private nextWord = 0;

  /** Room for this many letters, laid out for a window of this aspect. */
  constructor(
    private readonly capacity: number,
    lines: Lines,
    readonly aspect: number,
    private readonly atlas: Atlas,
  ) {
    this.body = LineLayout.body(lines.body, aspect);
    this.page = LineLayout.page(lines.page, aspect);
    this.map = new MapLayout(aspect, lines.mapEm);
    const plane = new PlaneGeometry(1, 1);
    this.geometry.index = plane.index;
    this.geometry.setAttribute('position', plane.getAttribute('position'));
    const addAttribute = (name: string) => {
      const attribute = new InstancedBufferAttribute(new Float32Array(capacity * 4), 4);
      attribute.setUsage(DynamicDrawUsage);
      this.geometry.setAttribute(name, attribute);
      return attribute;
    };
    this.scenes = ['aBody', 'aPage', 'aMap'].map(addAttribute);
    this.glyph = addAttribute('aGlyph');
    this.line = addAttribute('aLine');
    this.traits = addAttribute('aTraits');
    this.geometry.instanceCount = 0;
    this.glyphs = Array<Glyph | null>(capacity).fill(null);
    this.owners = Array<Word | null>(capacity).fill(null);
  }

  /** How many words stand in the scenes, those on their lines left out. */
  get standing(): number {
    return this.words.size;
  }

  /** Add a letter to the open word of its lane, and return its index and its width in em. */
  addLetter(letter: NewLetter, now: number): { index: number; advance: number } {
    let word = this.openWords[letter.lane] ?? null;
    if (word && word.letters.length >= MAX_WORD_LETTERS) {
      this.endWord(letter.lane, now);
      word = null;
    }
    if (!word) {
      word = { id: this.nextWord, text: '', letters: [], advances: [], width: 0, surprise: letter.surprise, voice: letter.voice, scenes: 0 };
      this.nextWord += 1;
      this.openWords[letter.lane] = word;
    }
    const index = this.nextIndex;
    this.nextIndex = (this.nextIndex + 1) % this.capacity;
    this.geometry.instanceCount = Math.min(this.capacity, Math.max(this.geometry.instanceCount, index + 1));
    this.overwrite(index);
    const glyph = this.atlas.acquire(letter.piece);
    this.glyphs[index] = glyph;
    this.owners[index] = word;
    for (const scene of this.scenes) this.set(scene, index, 0, 0, 0, 0); // nowhere until its word is whole
    this.set(this.glyph, index, glyph.cell, word.width + glyph.advance / 2, 0, letter.surprise);
    this.set(this.line, index, letter.x + glyph.advance / 2, letter.lane + LANES * letter.row, now, NEVER);
    this.set(this.traits, index, letter.voice, Math.random(), 0, Math.random());
    word.text += letter.piece;
    word.letters.push(index);
    word.advances.push(glyph.advance);
    word.width += glyph.advance;
    return { index, advance: glyph.advance };
  }

  /** The open word of a lane goes on to another row, and begins there at 0.  Returns its width so far, in em. */
  moveWord(lane: number, row: number): number {
    const word = this.openWords[lane];
    if (!word) return 0;
    let x = 0;
    for (const [at, index] of word.letters.entries()) {
      this.line.setX(index, x + word.advances[at]! / 2);
      this.line.setY(index, lane + LANES * row);
      markChanged(this.line, index);
      x += word.advances[at]!;
    }
    return x;
  }

  /** The letters of a lane's open word, each with its left edge in it, in em. */
  openLetters(lane: number): { index: number; x: number }[] {
    const word = this.openWords[lane];
    let right = 0;
    return (word?.letters ?? []).map((index, at) => ({ index, x: (right += word!.advances[at]!) - word!.advances[at]! }));
  }

  /** The word of a lane is complete: it gets its place in each scene. */
  endWord(lane: number, now: number): void {
    const word = this.openWords[lane];
    this.openWords[lane] = null;
    if (!word || word.letters.length === 0) return;
    const random = Math.random();
    const hash = hashOf(keyOf(word.text) || word.text);
    this.words.set(word.id, word);
    const known = this.map.place(word.id, word.text, word.width);
    const spots: [Spot | null, number, number][] = [
      [this.body.place(word.id, word.width), this.body.em, hash],
      [this.page.place(word.id, word.width), this.page.em, random],
      [known, this.map.em, known?.uses ?? 0],
    ];
    for (const [number, [spot, em, trait]] of spots.entries()) {
      if (!spot) continue;
      this.dismiss(spot.replaced, number, now);
      word.scenes |= 1 << number;
      let x = spot.x;
      for (const [at, index] of word.letters.entries()) {
        const advance = word.advances[at]! * em;
        if (this.owners[index] === word) this.set(this.scenes[number]!, index, x + advance / 2, spot.y, NEVER, trait);
        x += advance;
      }
    }
    for (const index of word.letters) {
      if (this.owners[index] !== word) continue;
      this.glyph.setY(index, this.glyph.getY(index) - word.width / 2);
      this.traits.setW(index, random);
      markChanged(this.glyph, index);
      markChanged(this.traits, index);
    }
    this.history.push({ text: word.text, surprise: word.surprise, voice: word.voice });
    if (this.history.length > WORD_HISTORY) this.history.splice(0, this.history.length - WORD_HISTORY);
  }

  /** A letter leaves its line at the time `at` and flies to its place.  Ignored when it has left already. */
  leaveLine(index: number, at: number): void {
    if (this.line.getW(index) !== NEVER) return;
    this.line.setW(index, at);
    markChanged(this.line, index);
  }

  /** Take over the newest words of another mesh, each at its place at once: for a change of tier, fonts or shape. */
  copyWords(other: LetterMesh, now: number): void {
    const before = now - ARRIVED_SECONDS;
    for (const { text, surprise, voice } of other.history) {
      for (const piece of pieces(text)) {
        const { index } = this.addLetter({ piece, lane: 0, x: 0, row: 0, surprise, voice }, before);
        this.leaveLine(index, before);
      }
      this.endWord(0, before);
    }
  }

  dispose(): void {
    this.geometry.dispose();
  }

  /** Forget what is no longer in the arrays; the word whose letter is overwritten first is gone from all scenes. */
  private overwrite(index: number): void {
    const glyph = this.glyphs[index];
    if (glyph) this.atlas.release(glyph);
    const word = this.owners[index];
    if (word) this.words.delete(word.id);
  }

  private dismiss(ids: number[], scene: number, now: number): void {
    for (const id of ids) {
      const word = this.words.get(id);
      if (!word) continue;
      for (const index of word.letters) {
        if (this.owners[index] !== word) continue;
        this.scenes[scene]!.setZ(index, now);
        markChanged(this.scenes[scene]!, index);
      }
      word.scenes &= ~(1 << scene);
      if (word.scenes === 0) this.words.delete(id);
    }
  }

  private set(attribute: InstancedBufferAttribute, index: number, x: number, y: number, z: number, w: number): void {
    attribute.setXYZW(index, x, y, z, w);
    markChanged(attribute, index);
  }
}


function markChanged(attribute: InstancedBufferAttribute, index: number): void {
  attribute.needsUpdate = true;
  const ranges = attribute.updateRanges;
  const last = ranges.at(-1);
  if (last && last.start + last.count === index * 4) last.count += 4;
  else if (last && last.start <= index * 4 && index * 4 < last.start + last.count) return;
  else if (ranges.length < MAX_UPDATE_RANGES) attribute.addUpdateRange(index * 4, 4);
  else {
    attribute.clearUpdateRanges();
    attribute.addUpdateRange(0, attribute.array.length);
  }
}
