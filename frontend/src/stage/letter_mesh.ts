// All letters on the stage as instances of one mesh.  The arrays are as long as the tier allows and never grow: when they are full,
// new letters overwrite the oldest.  When a letter is added and when it leaves its line is decided in `text_lines.ts`.

import { DynamicDrawUsage, InstancedBufferAttribute, InstancedBufferGeometry, PlaneGeometry } from 'three';
import { pieces, type Atlas, type Glyph } from './atlas';
import { hashOf, placesFor, type Places } from './places';

export const LANES = 4;
const NEVER = 1e6; // seconds; a float32 can still hold such a time
/** A letter added or sent off this many seconds ago has arrived at its place. */
export const ARRIVED_SECONDS = 30;
const MAX_WORD_LETTERS = 22; // a longer word is broken

/** A word and its letters so far. */
interface Word {
  text: string;
  letters: number[]; // indices into the arrays; not contiguous, for all lanes add letters at the same time
  width: number;
  place: number;
  surprise: number;
  voice: 0 | 1;
}

export interface NewLetter {
  piece: string;
  lane: number;
  x: number;
  /** 1 − probability. */
  surprise: number;
  voice: 0 | 1;
}

export class LetterMesh {
  readonly geometry = new InstancedBufferGeometry();
  readonly places: Places;
  private readonly home: InstancedBufferAttribute;
  private readonly glyph: InstancedBufferAttribute;
  private readonly line: InstancedBufferAttribute;
  private readonly traits: InstancedBufferAttribute;
  private readonly glyphs: (Glyph | null)[];
  private readonly wordAtPlace: (Word | null)[];
  private readonly openWords: (Word | null)[] = Array<Word | null>(LANES).fill(null);
  private nextIndex = 0;
  private nextPlace = 0;
  private filledPlaces = 0;

  /** Room for this many words and letters. */
  constructor(
    words: number,
    private readonly capacity: number,
    private readonly atlas: Atlas,
  ) {
    this.places = placesFor(words);
    const plane = new PlaneGeometry(1, 1);
    this.geometry.index = plane.index;
    this.geometry.setAttribute('position', plane.getAttribute('position'));
    const addAttribute = (name: string) => {
      const attribute = new InstancedBufferAttribute(new Float32Array(capacity * 4), 4);
      attribute.setUsage(DynamicDrawUsage);
      this.geometry.setAttribute(name, attribute);
      return attribute;
    };
    this.home = addAttribute('aHome');
    this.glyph = addAttribute('aGlyph');
    this.line = addAttribute('aLine');
    this.traits = addAttribute('aTraits');
    this.geometry.instanceCount = 0;
    this.glyphs = Array<Glyph | null>(capacity).fill(null);
    this.wordAtPlace = Array<Word | null>(this.places.count).fill(null);
  }

  /** The share of places that hold a word, 0 to 1. */
  get fullness(): number {
    return Math.min(1, this.filledPlaces / this.places.count);
  }

  /** Add a letter to the open word of its lane, and return its index and its width in em. */
  addLetter(letter: NewLetter, now: number): { index: number; advance: number } {
    let word = this.openWords[letter.lane] ?? null;
    if (word && word.letters.length >= MAX_WORD_LETTERS) {
      this.endWord(letter.lane);
      word = null;
    }
    word ??= this.beginWord(letter, now);
    const index = this.nextIndex;
    this.nextIndex = (this.nextIndex + 1) % this.capacity;
    this.geometry.instanceCount = Math.min(this.capacity, Math.max(this.geometry.instanceCount, index + 1));
    const overwritten = this.glyphs[index];
    if (overwritten) this.atlas.release(overwritten);
    const glyph = this.atlas.acquire(letter.piece);
    this.glyphs[index] = glyph;
    const { directions } = this.places;
    const at = word.place * 3;
    this.home.setXYZW(index, directions[at]!, directions[at + 1]!, directions[at + 2]!, 0);
    this.glyph.setXYZW(index, glyph.cell, word.width + glyph.advance / 2, 1, letter.surprise);
    this.line.setXYZW(index, letter.x + glyph.advance / 2, letter.lane, now, NEVER);
    this.traits.setXYZW(index, letter.voice, Math.random(), NEVER, hashOf(`place ${word.place}`));
    for (const attribute of [this.home, this.glyph, this.line, this.traits]) markChanged(attribute, index);
    word.text += letter.piece;
    word.letters.push(index);
    word.width += glyph.advance;
    return { index, advance: glyph.advance };
  }

  /** The word of a lane is complete: centre it on its place and scale it to fit there. */
  endWord(lane: number): void {
    const word = this.openWords[lane];
    this.openWords[lane] = null;
    if (!word) return;
    const hash = hashOf(word.text);
    const scale = Math.min(1.25, (this.places.width * 0.94) / Math.max(word.width, 0.5));
    for (const index of word.letters) {
      this.home.setW(index, hash);
      this.glyph.setY(index, this.glyph.getY(index) - word.width / 2);
      this.glyph.setZ(index, scale);
      markChanged(this.home, index);
      markChanged(this.glyph, index);
    }
  }

  /** A letter leaves its line at the time `at` and flies to its place.  Ignored when it has left already. */
  leaveLine(index: number, at: number): void {
    if (this.line.getW(index) !== NEVER) return;
    this.line.setW(index, at);
    markChanged(this.line, index);
  }

  /** Take over the words of another mesh, the oldest first, each at its place at once: for a change of tier or fonts. */
  copyWords(other: LetterMesh, now: number): void {
    const before = now - ARRIVED_SECONDS;
    const words = other.wordAtPlace.map((_, at) => other.wordAtPlace[(other.nextPlace + at) % other.wordAtPlace.length]);
    for (const word of words.filter((candidate) => candidate != null).slice(-this.places.count)) {
      for (const piece of pieces(word.text)) {
        const { index } = this.addLetter({ piece, lane: 0, x: 0, surprise: word.surprise, voice: word.voice }, before);
        this.leaveLine(index, before);
      }
      this.endWord(0);
    }
  }

  clear(): void {
    for (const glyph of this.glyphs) if (glyph) this.atlas.release(glyph);
    this.glyphs.fill(null);
    this.wordAtPlace.fill(null);
    this.openWords.fill(null);
    this.nextIndex = this.nextPlace = this.filledPlaces = 0;
    this.geometry.instanceCount = 0;
  }

  dispose(): void {
    this.geometry.dispose();
  }

  private beginWord({ lane, surprise, voice }: NewLetter, now: number): Word {
    const place = this.nextPlace;
    this.nextPlace = (place + 1) % this.places.count;
    const replaced = this.wordAtPlace[place];
    if (replaced) {
      for (const index of replaced.letters) {
        // The array's entry may have been overwritten by a letter of another word since.
        if (this.traits.getZ(index) === NEVER && this.belongsTo(index, place)) {
          this.traits.setZ(index, now);
          markChanged(this.traits, index);
        }
      }
    } else {
      this.filledPlaces += 1;
    }
    const word = { text: '', letters: [], width: 0, place, surprise, voice };
    this.wordAtPlace[place] = word;
    this.openWords[lane] = word;
    return word;
  }

  private belongsTo(index: number, place: number): boolean {
    const { directions } = this.places;
    return this.home.getX(index) === directions[place * 3]! && this.home.getY(index) === directions[place * 3 + 1]!;
  }
}

function markChanged(attribute: InstancedBufferAttribute, index: number): void {
  attribute.addUpdateRange(index * 4, 4);
  attribute.needsUpdate = true;
}
