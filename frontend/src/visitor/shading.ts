// How a token looks by how sure the model was of it, and how far the language has decayed by then.  Pure numbers; knows no page.
//
// What is certain grows heavy and close, what is doubted grows thin, wide and faint and loses its place.  At the untouched model
// one sees it only when one looks for it; at the end it is what one sees.  It stays readable: text never fades below FAINTEST.

/** How strongly the untouched model's doubts are drawn, of 1. */
const FIRST = 0.16;

/** Text this faint still has a contrast of 4.5 on the ground. */
export const FAINTEST = 0.6;

export interface Shade {
  /** Of the variable font, 200 to 900. */
  weight: number;
  /** Letter spacing in em. */
  spacing: number;
  opacity: number;
  /** Drift from its place in em, and its turn in degrees. */
  x: number;
  y: number;
  turn: number;
}

/** How far the language has decayed while this iteration answers: 0 untouched, 1 after the last round. */
export function decayOf(iteration: number, rounds: number): number {
  return within((iteration + 1) / Math.max(1, rounds));
}

/**
 * The look of a token.  `probability` null: unknown, drawn plainly.  `place` is any number that stays the same for the same token,
 * so that it drifts the same way whenever it is drawn.
 */
export function shadeOf(probability: number | null, decay: number, place: number): Shade {
  if (probability === null) return { weight: 400, spacing: 0, opacity: 1, x: 0, y: 0, turn: 0 };
  const sure = within(probability);
  const doubt = (1 - sure) ** 0.8;
  const strength = FIRST + (1 - FIRST) * within(decay);
  const drift = doubt * strength ** 1.5;
  return {
    weight: Math.round(400 + strength * (sure > 0.5 ? 640 * (sure - 0.5) : 400 * (sure - 0.5))),
    spacing: rounded(strength * (0.1 * doubt - 0.012 * sure)),
    opacity: rounded(1 - (1 - FAINTEST) * doubt * strength),
    x: rounded(0.1 * drift * noise(place, 1)),
    y: rounded(0.22 * drift * noise(place, 2)),
    turn: rounded(9 * drift * noise(place, 3)),
  };
}

/** A shade as the custom properties that the style sheet reads. */
export function styleOf(shade: Shade): string {
  const { weight, spacing, opacity, x, y, turn } = shade;
  return `--wght:${weight};--gap:${spacing}em;--seen:${opacity};--x:${x}em;--y:${y}em;--turn:${turn}deg`;
}

/** A number between -1 and 1 that looks like chance and is always the same for the same place and kind. */
export function noise(place: number, kind: number): number {
  const wave = Math.sin(place * 12.9898 + kind * 78.233) * 43758.5453;
  return (wave - Math.floor(wave)) * 2 - 1;
}

function within(value: number): number {
  return Math.min(1, Math.max(0, value));
}

function rounded(value: number): number {
  return Math.round(value * 1000) / 1000;
}
