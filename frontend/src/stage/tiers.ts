// The tiers of the picture's quality, and the watch that asks for a lower one when frames take too long.  Pure.

export type TierName = 'low' | 'middle' | 'high' | 'ultra';

export interface Tier {
  /** The most device pixels of the canvas; on a larger screen the picture is drawn coarser. */
  pixels: number;
  /** The most letters in all scenes together. */
  letters: number;
  /** Lines of the body and of the page, and the map's letters in the units of `layout.ts`: how much is shown at the same time. */
  body: number;
  page: number;
  mapEm: number;
  /** Side of the glyph atlas in pixels, and of one glyph's cell. */
  atlas: number;
  cell: number;
  /** A halo around letters: four times the area to draw. */
  halo: boolean;
  antialias: boolean;
}

export const TIERS: Record<TierName, Tier> = {
  low: { pixels: 520_000, letters: 3_000, body: 12, page: 10, mapEm: 0.12, atlas: 1024, cell: 64, halo: false, antialias: false },
  middle: { pixels: 1_400_000, letters: 6_500, body: 14, page: 11, mapEm: 0.114, atlas: 2048, cell: 96, halo: true, antialias: false },
  high: { pixels: 3_000_000, letters: 11_000, body: 16, page: 12, mapEm: 0.108, atlas: 2048, cell: 128, halo: true, antialias: true },
  ultra: { pixels: 8_400_000, letters: 18_000, body: 19, page: 13, mapEm: 0.1, atlas: 3072, cell: 160, halo: true, antialias: true },
};

const ORDER: TierName[] = ['low', 'middle', 'high', 'ultra'];

export function isTier(name: string | null): name is TierName {
  return name !== null && name in TIERS;
}

/** The next lower tier; null for the lowest. */
export function tierBelow(name: TierName): TierName | null {
  return ORDER[ORDER.indexOf(name) - 1] ?? null;
}

/** The tier to begin with on this graphics card; a renderer in software gets the lowest. */
export function firstTier(renderer: string): TierName {
  return /swiftshader|llvmpipe|software|basic render/i.test(renderer) ? 'low' : 'high';
}

const WINDOW_MS = 2000;
const MIN_FRAMES = 5; // fewer do not count
const SLOW_MS = 24; // at 60 frames a second, one missed now and then is no trouble
const PAUSE_MS = 400; // one such frame is a hidden tab or a sleeping machine; several in a row are a card that is too slow

/** Watches the time between frames.  It never asks for a higher tier. */
export class FrameWatch {
  private slowFrames = 0;
  private frames = 0;
  private elapsed = 0;
  private inPause = false;

  /** Whether most frames of the last two seconds were slow.  Called with each frame's time since the frame before. */
  tooSlow(milliseconds: number): boolean {
    const first = !this.inPause;
    this.inPause = milliseconds > PAUSE_MS;
    if (this.inPause && first) return false;
    this.frames += 1;
    this.elapsed += milliseconds;
    if (milliseconds > SLOW_MS) this.slowFrames += 1;
    if (this.frames < MIN_FRAMES || this.elapsed < WINDOW_MS) return false;
    const mostlySlow = this.slowFrames > this.frames / 2;
    this.frames = this.slowFrames = this.elapsed = 0;
    return mostlySlow;
  }
}
