import { describe, expect, it } from 'vitest';
import { FAINTEST, decayOf, shadeOf, styleOf } from './shading';

const SURENESS = [1, 0.9, 0.7, 0.5, 0.3, 0.1, 0];

describe('how far the language has decayed', () => {
  it('goes from the untouched model to the last round', () => {
    const shares = [-1, 0, 4, 8].map((iteration) => decayOf(iteration, 9));
    for (const [index, share] of [0, 1 / 9, 5 / 9, 1].entries()) expect(shares[index]).toBeCloseTo(share);
  });
  it('follows what was measured of an iteration, wherever it stands in the run', () => {
    expect(decayOf(1, 9, { '-1': 1, '1': 0.25 })).toBe(0.75);
    expect(decayOf(8, 9, { '-1': 1, '1': 0.25 })).toBe(1); // not measured
  });
  it('stays within its bounds', () => {
    expect(decayOf(12, 9)).toBe(1);
    expect(decayOf(-1, 0)).toBe(0);
  });
});

describe('how a token is drawn', () => {
  it.each([0, 0.5, 1])('is heavier, closer and fuller the surer it was (decay %d)', (decay) => {
    const shades = SURENESS.map((sure) => shadeOf(sure, decay, 3));
    for (const [index, shade] of shades.slice(1).entries()) {
      const surer = shades[index]!;
      expect(shade.weight).toBeLessThan(surer.weight);
      expect(shade.spacing).toBeGreaterThan(surer.spacing);
      expect(shade.opacity).toBeLessThan(surer.opacity);
      expect(Math.abs(shade.turn)).toBeGreaterThan(Math.abs(surer.turn));
    }
  });
  it('is drawn so the more, the more iterations have passed', () => {
    const shades = [0, 0.5, 1].map((decay) => shadeOf(0.05, decay, 3));
    for (const part of ['weight', 'opacity'] as const) {
      const values = shades.map((shade) => shade[part]);
      expect(values).toEqual([...new Set(values)].sort((first, second) => second - first));
    }
    expect(shadeOf(0, 0, 3).opacity).toBeGreaterThan(0.9);
  });
  it('stays readable, and within what the font has', () => {
    const places = Array.from({ length: 200 }, (_, place) => place);
    const all = SURENESS.flatMap((sure) => places.map((place) => shadeOf(sure, 1, place)));
    const weights = all.map((shade) => shade.weight);
    expect(Math.min(...weights)).toBeGreaterThanOrEqual(200);
    expect(Math.max(...weights)).toBeLessThanOrEqual(900);
    expect(Math.min(...all.map((shade) => shade.opacity))).toBeGreaterThanOrEqual(FAINTEST);
    expect(Math.max(...all.map(({ x, y }) => Math.hypot(x, y)))).toBeLessThan(0.3);
    expect(Math.max(...all.map((shade) => Math.abs(shade.turn)))).toBeLessThanOrEqual(9);
  });
  it('is plain where it is not known how sure the model was', () => {
    expect(styleOf(shadeOf(null, 1, 3))).toBe('--wght:400;--gap:0em;--seen:1;--x:0em;--y:0em;--turn:0deg');
  });
  it('looks the same whenever it is drawn', () => {
    expect(shadeOf(0.3, 0.7, 5)).toEqual(shadeOf(0.3, 0.7, 5));
    expect(shadeOf(0.3, 0.7, 5)).not.toEqual(shadeOf(0.3, 0.7, 6));
  });
});
