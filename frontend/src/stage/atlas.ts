// All letters that are shown, each drawn once into one texture: sharp in red, its halo in green.
// Letters are counted by whoever shows them, so that cells of forgotten ones are used again: the texture never grows.

import { CanvasTexture, LinearFilter, LinearMipmapLinearFilter } from 'three';

export const FONT_SHARE = 0.5; // of a cell, so that a halo has room
const COMMON = 'abcdefghijklmnopqrstuvwxyzäöüßABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÜ0123456789.,;:!?…-–’\'"„“()';

export interface Glyph {
  text: string;
  cell: number;
  /** Width in em. */
  advance: number;
  shown: number;
}

export class Atlas {
  readonly texture: CanvasTexture;
  readonly perRow: number;
  private readonly brush: CanvasRenderingContext2D;
  private readonly glyphs = new Map<string, Glyph>();
  private readonly free: number[];
  private readonly nothing: Glyph = { text: '', cell: 0, advance: 0.5, shown: 0 };

  constructor(
    side: number,
    private readonly cell: number,
    private readonly halo: boolean,
    private family: string,
  ) {
    const canvas = document.createElement('canvas');
    canvas.width = canvas.height = side;
    const brush = canvas.getContext('2d', { willReadFrequently: false });
    if (!brush) throw new Error('This browser gives no canvas to draw letters on.');
    this.brush = brush;
    this.perRow = Math.floor(side / cell);
    this.free = Array.from({ length: this.perRow * this.perRow - 1 }, (_, index) => this.perRow * this.perRow - 1 - index);
    this.texture = new CanvasTexture(canvas);
    this.texture.minFilter = LinearMipmapLinearFilter;
    this.texture.magFilter = LinearFilter;
    this.texture.anisotropy = 4;
    this.draw('·', 0); // what no cell is left for
    for (const letter of COMMON) this.take(letter).shown -= 1;
  }

  /** The glyph of a letter, counted as shown once more. */
  take(text: string): Glyph {
    const known = this.glyphs.get(text);
    if (known) {
      known.shown += 1;
      return known;
    }
    const cell = this.free.pop() ?? this.emptied();
    if (cell === null) return this.nothing;
    const glyph = { text, cell, advance: this.draw(text, cell), shown: 1 };
    this.glyphs.set(text, glyph);
    return glyph;
  }

  /** It is shown once less. */
  release(glyph: Glyph): void {
    glyph.shown -= 1;
  }

  dispose(): void {
    this.texture.dispose();
  }

  private emptied(): number | null {
    for (const [text, glyph] of this.glyphs) {
      if (glyph.shown <= 0) {
        this.glyphs.delete(text);
        return glyph.cell;
      }
    }
    return null;
  }

  private draw(text: string, cell: number): number {
    const { brush, halo } = this;
    const size = this.cell * FONT_SHARE;
    const x = (cell % this.perRow) * this.cell;
    const y = Math.floor(cell / this.perRow) * this.cell;
    brush.save();
    brush.beginPath();
    brush.rect(x, y, this.cell, this.cell);
    brush.clip();
    brush.fillStyle = '#000';
    brush.fillRect(x, y, this.cell, this.cell);
    brush.font = `420 ${size}px ${this.family}`;
    brush.textAlign = 'center';
    brush.textBaseline = 'alphabetic';
    const width = Math.max(1, brush.measureText(text).width);
    const room = this.cell * 0.92;
    brush.translate(x + this.cell / 2, y + this.cell / 2 + size * 0.3);
    if (width > room) brush.scale(room / width, room / width);
    brush.globalCompositeOperation = 'lighter';
    if (halo) {
      brush.filter = `blur(${size * 0.16}px)`;
      brush.fillStyle = '#0f0';
      brush.fillText(text, 0, 0);
      brush.filter = 'none';
    }
    brush.fillStyle = '#f00';
    brush.fillText(text, 0, 0);
    brush.restore();
    this.texture.needsUpdate = true;
    return Math.min(width, room) / size;
  }
}

const PIECES = new Intl.Segmenter(undefined, { granularity: 'grapheme' });
const JOINED = /[\p{Script=Arabic}\p{Script=Hebrew}\p{Script=Devanagari}\p{Script=Bengali}\p{Script=Thai}]/u;

/** A text as what is drawn in one piece: characters as one sees them; scripts that join their letters, word by word. */
export function pieces(text: string): string[] {
  if (JOINED.test(text)) return text.split(/(\s+)/).filter((one) => one !== '');
  return [...PIECES.segment(text)].map((one) => one.segment);
}
