// How a token looks, from its probability and from how far the language has decayed.  Pure.
//
// Probable tokens are heavier and closer; improbable ones are thin, wide and faint, and a little out of their place.  With the
// untouched model this is hardly visible, at the end of a run it is strong.  Text never becomes fainter than FAINTEST.

import { lifeOfIteration } from '../lib/life';

/** How strongly probabilities are drawn with the untouched model; 1 at the end of a run. */
const UNTOUCHED_STRENGTH = 0.16;

/** With this opacity, text still has a contrast of 4.5 on the background. */
export const FAINTEST = 0.6;

export interface Shade {
  /** Of the variable font, 200 to 900. */
  weight: number;
  /** Letter spacing in em. */
  spacing: number;
  opacity: number;
  /** Offset from its place in em, and rotation in degrees. */
  x: number;
  y: number;
  turn: number;
}

/** How far the language has decayed while this iteration answers: 0 untouched, 1 collapsed.  `lives`: what was measured. */
export function decayOf(iteration: number, rounds: number, lives: Record<string, number> = {}): number {
  return 1 - lifeOfIteration(iteration, rounds, lives);
}

/**
 * The look of a token; plain where the probability is not known.  `place` is any number that stays the same for the same token, so
 * that it looks the same whenever it is drawn.
 */
export function shadeOf(probability: number | null, decay: number, place: number): Shade {
  if (probability === null) return { weight: 400, spacing: 0, opacity: 1, x: 0, y: 0, turn: 0 };
  const sure = clamp(probability);
  const doubt = (1 - sure) ** 0.8;
  const strength = UNTOUCHED_STRENGTH + (1 - UNTOUCHED_STRENGTH) * clamp(decay);
  const drift = doubt * strength ** 1.5;
  return {
    weight: Math.round(400 + strength * (sure > 0.5 ? 640 * (sure - 0.5) : 400 * (sure - 0.5))),
    spacing: round3(strength * (0.1 * doubt - 0.012 * sure)),
    opacity: round3(1 - (1 - FAINTEST) * doubt * strength),
    x: round3(0.1 * drift * noise(place, 1)),
    y: round3(0.22 * drift * noise(place, 2)),
    turn: round3(9 * drift * noise(place, 3)),
  };
}

/** A shade as CSS custom properties. */
export function styleOf(shade: Shade): string {
  const { weight, spacing, opacity, x, y, turn } = shade;
  return `--wght:${weight};--gap:${spacing}em;--seen:${opacity};--x:${x}em;--y:${y}em;--turn:${turn}deg`;
}

/** A pseudo-random number between -1 and 1, the same for the same place and kind. */
export function noise(place: number, kind: number): number {
  const wave = Math.sin(place * 12.9898 + kind * 78.233) * 43758.5453;
  return (wave - Math.floor(wave)) * 2 - 1;
}

function clamp(value: number): number {
  return Math.min(1, Math.max(0, value));
}

function round3(value: number): number {
  return Math.round(value * 1000) / 1000;
}
