// The named qualities of the picture, and the watch that steps down when frames take too long.  Pure.

export type TierName = 'low' | 'middle' | 'high' | 'ultra';

export interface Tier {
  /** Most device pixels of the canvas; a 4K projector is drawn coarser where the tier says so. */
  pixels: number;
  /** Words of the body, and letters of all that is shown. */
  words: number;
  letters: number;
  /** Side of the glyph atlas in pixels, and of one glyph's cell. */
  atlas: number;
  cell: number;
  /** A halo around letters: four times the area to draw. */
  halo: boolean;
  antialias: boolean;
}

export const TIERS: Record<TierName, Tier> = {
  low: { pixels: 520_000, words: 420, letters: 3_000, atlas: 1024, cell: 64, halo: false, antialias: false },
  middle: { pixels: 1_400_000, words: 900, letters: 6_500, atlas: 1024, cell: 64, halo: true, antialias: false },
  high: { pixels: 3_000_000, words: 1_500, letters: 11_000, atlas: 2048, cell: 96, halo: true, antialias: true },
  ultra: { pixels: 8_400_000, words: 2_400, letters: 18_000, atlas: 2048, cell: 96, halo: true, antialias: true },
};

const ORDER: TierName[] = ['low', 'middle', 'high', 'ultra'];

export function isTier(name: string | null): name is TierName {
  return name !== null && name in TIERS;
}

export function below(name: TierName): TierName | null {
  return ORDER[ORDER.indexOf(name) - 1] ?? null;
}

/** What to begin with: drawing in software has a name of its own. */
export function firstTier(renderer: string): TierName {
  return /swiftshader|llvmpipe|software|basic render/i.test(renderer) ? 'low' : 'high';
}

const WINDOW_MS = 2000;
const FRAMES = 5; // fewer say nothing
const SLOW_MS = 24; // 60 a second with a missed frame now and then is well
const PAUSE_MS = 400; // once: a hidden tab, a sleeping machine; again and again: a card that cannot do it

/** Watches the time between frames; steps down after two seconds of slow ones in a row, never up. */
export class FrameWatch {
  private slow = 0;
  private seen = 0;
  private passed = 0;
  private paused = false;

  /** Whether it is time to step down, after a frame that came so long after the one before. */
  tooSlow(milliseconds: number): boolean {
    const first = !this.paused;
    this.paused = milliseconds > PAUSE_MS;
    if (this.paused && first) return false;
    this.seen += 1;
    this.passed += milliseconds;
    if (milliseconds > SLOW_MS) this.slow += 1;
    if (this.seen < FRAMES || this.passed < WINDOW_MS) return false;
    const much = this.slow > this.seen / 2;
    this.seen = this.slow = this.passed = 0;
    return much;
  }
}
