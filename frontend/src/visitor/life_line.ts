// The line of a run's life: what has passed trembles more the further the language has decayed, what is left is straight.
// Numbers only; the component draws them.

import { noise } from './shading';

export const WIDTH = 1000;
export const HEIGHT = 40;
const STEPS = 240;

/** The line of what has passed, as the data of an SVG path that ends where the present is. */
export function pastLine(passed: number, decay: number): string {
  const points = Math.max(2, Math.round(passed * STEPS));
  return Array.from({ length: points }, (_, index) => {
    const share = index / (points - 1);
    const x = share * passed * WIDTH;
    return `${index ? 'L' : 'M'}${x.toFixed(1)} ${(HEIGHT / 2 + tremble(index, share, decay)).toFixed(1)}`;
  }).join('');
}

/** How far the line is from its middle: nothing at the beginning and at the present, where the dot stands. */
function tremble(index: number, share: number, decay: number): number {
  const grown = decay * share ** 1.6 * Math.min(1, (1 - share) * 12);
  const swell = Math.sin(index * 0.55) * 0.45 + Math.sin(index * 0.23 + 1) * 0.35;
  return (HEIGHT / 2 - 3) * grown * (swell + 0.6 * noise(index, 5) * decay);
}
