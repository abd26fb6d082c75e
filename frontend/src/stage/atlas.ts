// The glyph atlas: every different letter on the stage, drawn once into one texture, sharp in red and its halo in green.
// A glyph counts its uses, and cells of glyphs without one are used again: the texture never grows.

import { CanvasTexture, LinearFilter, LinearMipmapLinearFilter } from 'three';

export const FONT_SHARE = 0.5; // of a cell, so that a halo has room
const WEIGHT = 560; // bold enough to be read from across a lit room
const COMMON_LETTERS = 'abcdefghijklmnopqrstuvwxyzäöüßABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÜ0123456789.,;:!?…-–’\'"„“()';

export interface Glyph {
  text: string;
  cell: number;
  /** Width in em. */
  advance: number;
  /** How many letters on the stage use it. */
  uses: number;
}

export class Atlas {
  readonly texture: CanvasTexture;
  readonly perRow: number;
  private readonly context: CanvasRenderingContext2D;
  private readonly glyphs = new Map<string, Glyph>();
  private readonly freeCells: number[];
  private readonly fallback: Glyph = { text: '', cell: 0, advance: 0.5, uses: 0 };

  constructor(
    side: number,
    private readonly cell: number,
    private readonly halo: boolean,
    private family: string,
  ) {
    this.perRow = Math.floor(side / cell);
    const canvas = document.createElement('canvas');
    // Exactly its cells: the shader finds a cell by its share of the texture.
    canvas.width = canvas.height = this.perRow * cell;
    const context = canvas.getContext('2d', { willReadFrequently: false });
    if (!context) throw new Error('This browser gives no canvas to draw letters on.');
    this.context = context;
    this.freeCells = Array.from({ length: this.perRow * this.perRow - 1 }, (_, index) => this.perRow * this.perRow - 1 - index);
    this.texture = new CanvasTexture(canvas);
    this.texture.minFilter = LinearMipmapLinearFilter;
    this.texture.magFilter = LinearFilter;
    this.texture.anisotropy = 4;
    this.draw('·', 0); // drawn for letters for which no cell is free
    for (const letter of COMMON_LETTERS) this.acquire(letter).uses -= 1;
  }

  /** The glyph of a letter, drawn if need be, with one use more; the fallback where no cell is free. */
  acquire(text: string): Glyph {
    const drawn = this.glyphs.get(text);
    if (drawn) {
      drawn.uses += 1;
      return drawn;
    }
    const cell = this.freeCells.pop() ?? this.reclaimCell();
    if (cell === null) return this.fallback;
    const glyph = { text, cell, advance: this.draw(text, cell), uses: 1 };
    this.glyphs.set(text, glyph);
    return glyph;
  }

  /** A letter that used the glyph is gone. */
  release(glyph: Glyph): void {
    glyph.uses -= 1;
  }

  /** All letters are gone. */
  releaseAll(): void {
    for (const glyph of this.glyphs.values()) glyph.uses = 0;
  }

  dispose(): void {
    this.texture.dispose();
  }

  /** The cell of a glyph that no letter uses any more; null where all are in use. */
  private reclaimCell(): number | null {
    for (const [text, glyph] of this.glyphs) {
      if (glyph.uses <= 0) {
        this.glyphs.delete(text);
        return glyph.cell;
      }
    }
    return null;
  }

  private draw(text: string, cell: number): number {
    const { context, halo } = this;
    const size = this.cell * FONT_SHARE;
    const x = (cell % this.perRow) * this.cell;
    const y = Math.floor(cell / this.perRow) * this.cell;
    context.save();
    context.beginPath();
    context.rect(x, y, this.cell, this.cell);
    context.clip();
    context.fillStyle = '#000';
    context.fillRect(x, y, this.cell, this.cell);
    context.font = `${WEIGHT} ${size}px ${this.family}`;
    context.textAlign = 'center';
    context.textBaseline = 'alphabetic';
    const width = Math.max(1, context.measureText(text).width);
    const widest = this.cell * 0.92;
    context.translate(x + this.cell / 2, y + this.cell / 2 + size * 0.3);
    if (width > widest) context.scale(widest / width, widest / width);
    context.globalCompositeOperation = 'lighter';
    if (halo) {
      context.filter = `blur(${size * 0.16}px)`;
      context.fillStyle = '#0f0';
      context.fillText(text, 0, 0);
      context.filter = 'none';
    }
    context.fillStyle = '#f00';
    context.fillText(text, 0, 0);
    context.restore();
    this.texture.needsUpdate = true;
    return Math.min(width, widest) / size;
  }
}

const GRAPHEMES = new Intl.Segmenter(undefined, { granularity: 'grapheme' });
const JOINED_SCRIPTS = /[\p{Script=Arabic}\p{Script=Hebrew}\p{Script=Devanagari}\p{Script=Bengali}\p{Script=Thai}]/u;

/** A text cut into what is drawn as one glyph: graphemes, or whole words and spaces where the script joins its letters. */
export function pieces(text: string): string[] {
  if (JOINED_SCRIPTS.test(text)) return text.split(/(\s+)/).filter((part) => part !== '');
  return [...GRAPHEMES.segment(text)].map(({ segment }) => segment);
}
