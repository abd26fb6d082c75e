// The language as a body: every letter an instance of one mesh, in arrays that are as long as the tier allows and never longer.
// Newest letters overwrite the oldest.  Knows places, letters and lanes; when something is said, `reading.ts` knows.

import { DynamicDrawUsage, InstancedBufferAttribute, InstancedBufferGeometry, PlaneGeometry } from 'three';
import { pieces, type Atlas, type Glyph } from './atlas';
import { hashOf, placesFor, type Places } from './places';

export const LANES = 4;
const NEVER = 1e6; // seconds; a float32 still counts them
/** Seconds after which everything that was said has arrived. */
export const LONG_AGO = 30;
const LONGEST = 22; // letters of a word before it is broken

/** A word that is being said: its letters so far. */
interface Word {
  text: string;
  letters: number[]; // where they are in the arrays; other lanes speak between them
  width: number;
  place: number;
  surprise: number;
  voice: 0 | 1;
}

export interface Saying {
  piece: string;
  lane: number;
  x: number;
  /** 1 − probability. */
  surprise: number;
  voice: 0 | 1;
}

export class Body {
  readonly geometry = new InstancedBufferGeometry();
  readonly places: Places;
  private readonly home: InstancedBufferAttribute;
  private readonly glyph: InstancedBufferAttribute;
  private readonly line: InstancedBufferAttribute;
  private readonly look: InstancedBufferAttribute;
  private readonly shown: (Glyph | null)[];
  private readonly tenants: (Word | null)[];
  private readonly open: (Word | null)[] = Array<Word | null>(LANES).fill(null);
  private next = 0;
  private nextPlace = 0;
  alive = 0;

  constructor(
    words: number,
    readonly letters: number,
    private readonly atlas: Atlas,
  ) {
    this.places = placesFor(words);
    const plane = new PlaneGeometry(1, 1);
    this.geometry.index = plane.index;
    this.geometry.setAttribute('position', plane.getAttribute('position'));
    const made = (name: string) => {
      const attribute = new InstancedBufferAttribute(new Float32Array(letters * 4), 4);
      attribute.setUsage(DynamicDrawUsage);
      this.geometry.setAttribute(name, attribute);
      return attribute;
    };
    [this.home, this.glyph, this.line, this.look] = [made('aHome'), made('aGlyph'), made('aLine'), made('aLook')];
    this.geometry.instanceCount = 0;
    this.shown = Array<Glyph | null>(letters).fill(null);
    this.tenants = Array<Word | null>(this.places.count).fill(null);
  }

  /** How full it is, 0 to 1. */
  get fullness(): number {
    return Math.min(1, this.alive / this.places.count);
  }

  /** One letter is said; its index and its width in em. */
  say(saying: Saying, now: number): { index: number; advance: number } {
    let word = this.open[saying.lane] ?? null;
    if (word && word.letters.length >= LONGEST) {
      this.endWord(saying.lane);
      word = null;
    }
    word ??= this.begin(saying, now);
    const index = this.next;
    this.next = (this.next + 1) % this.letters;
    this.geometry.instanceCount = Math.min(this.letters, Math.max(this.geometry.instanceCount, index + 1));
    const old = this.shown[index];
    if (old) this.atlas.release(old);
    const glyph = this.atlas.take(saying.piece);
    this.shown[index] = glyph;
    const { directions } = this.places;
    const at = word.place * 3;
    this.home.setXYZW(index, directions[at]!, directions[at + 1]!, directions[at + 2]!, 0);
    this.glyph.setXYZW(index, glyph.cell, word.width + glyph.advance / 2, 1, saying.surprise);
    this.line.setXYZW(index, saying.x + glyph.advance / 2, saying.lane, now, NEVER);
    this.look.setXYZW(index, saying.voice, Math.random(), NEVER, hashOf(`place ${word.place}`));
    for (const attribute of [this.home, this.glyph, this.line, this.look]) touched(attribute, index);
    word.text += saying.piece;
    word.letters.push(index);
    word.width += glyph.advance;
    return { index, advance: glyph.advance };
  }

  /** The word of a lane is complete: it is centred on its place and made to fit. */
  endWord(lane: number): void {
    const word = this.open[lane];
    this.open[lane] = null;
    if (!word) return;
    const hash = hashOf(word.text);
    const fits = Math.min(1.25, (this.places.width * 0.94) / Math.max(word.width, 0.5));
    for (const index of word.letters) {
      this.home.setW(index, hash);
      this.glyph.setY(index, this.glyph.getY(index) - word.width / 2);
      this.glyph.setZ(index, fits);
      touched(this.home, index);
      touched(this.glyph, index);
    }
  }

  /** A letter leaves the reading line for its place. */
  fly(index: number, at: number): void {
    if (this.line.getW(index) !== NEVER) return;
    this.line.setW(index, at);
    touched(this.line, index);
  }

  /** What another body still holds, the oldest first, each word at its place at once: another tier, other letters. */
  inherit(other: Body, now: number): void {
    const before = now - LONG_AGO;
    const words = other.tenants.map((_, at) => other.tenants[(other.nextPlace + at) % other.tenants.length]);
    for (const word of words.filter((one) => one != null).slice(-this.places.count)) {
      for (const piece of pieces(word.text)) {
        const { index } = this.say({ piece, lane: 0, x: 0, surprise: word.surprise, voice: word.voice }, before);
        this.fly(index, before);
      }
      this.endWord(0);
    }
  }

  /** Nothing is left of it. */
  clear(): void {
    for (const glyph of this.shown) if (glyph) this.atlas.release(glyph);
    this.shown.fill(null);
    this.tenants.fill(null);
    this.open.fill(null);
    this.next = this.nextPlace = this.alive = 0;
    this.geometry.instanceCount = 0;
  }

  dispose(): void {
    this.geometry.dispose();
  }

  private begin({ lane, surprise, voice }: Saying, now: number): Word {
    const place = this.nextPlace;
    this.nextPlace = (place + 1) % this.places.count;
    const tenant = this.tenants[place];
    if (tenant) {
      for (const index of tenant.letters) {
        // Unless another word's letter has taken its place in the array.
        if (this.look.getZ(index) === NEVER && this.isOf(index, place)) {
          this.look.setZ(index, now);
          touched(this.look, index);
        }
      }
    } else {
      this.alive += 1;
    }
    const word = { text: '', letters: [], width: 0, place, surprise, voice };
    this.tenants[place] = word;
    this.open[lane] = word;
    return word;
  }

  private isOf(index: number, place: number): boolean {
    const { directions } = this.places;
    return this.home.getX(index) === directions[place * 3]! && this.home.getY(index) === directions[place * 3 + 1]!;
  }
}

function touched(attribute: InstancedBufferAttribute, index: number): void {
  attribute.addUpdateRange(index * 4, 4);
  attribute.needsUpdate = true;
}
