// The shape of the run's line: the part that has passed trembles more the further the language has decayed, the rest is straight.

import { noise } from './shading';

export const WIDTH = 1000;
export const HEIGHT = 40;
const STEPS = 240;

/** The part of the line up to the share `passed` of the run, as the data of an SVG path. */
export function pastLine(passed: number, decay: number): string {
  const points = Math.max(2, Math.round(passed * STEPS));
  return Array.from({ length: points }, (_, index) => {
    const share = index / (points - 1);
    const x = share * passed * WIDTH;
    return `${index ? 'L' : 'M'}${x.toFixed(1)} ${(HEIGHT / 2 + tremble(index, share, decay)).toFixed(1)}`;
  }).join('');
}

/** How far the line is from its middle; nothing at both ends, where the present's dot is. */
function tremble(index: number, share: number, decay: number): number {
  const grown = decay * share ** 1.6 * Math.min(1, (1 - share) * 12);
  const swell = Math.sin(index * 0.55) * 0.45 + Math.sin(index * 0.23 + 1) * 0.35;
  return (HEIGHT / 2 - 3) * grown * (swell + 0.6 * noise(index, 5) * decay);
}
