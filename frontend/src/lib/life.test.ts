import { describe, expect, it } from 'vitest';
import { lifeOf } from './life';
import type { RunState } from './wire';

const state = (more: Partial<RunState>): RunState => ({ run: 'r', phase: 'running', iteration: 2, num_total_iters: 9, life: null, lives: {}, ...more }) as RunState;

describe('life', () => {
  it('is what the owner shows, whatever the iteration', () => {
    expect(lifeOf(state({ life: 0.25 }))).toBe(0.25);
    expect(lifeOf(state({ life: 0.25, iteration: 8 }))).toBe(0.25);
    expect(lifeOf(state({ life: 0 }))).toBe(0);
  });
  it('is the share of rounds that are left where nothing was measured', () => {
    expect(lifeOf(state({}))).toBeCloseTo(6 / 9);
    expect(lifeOf(state({ iteration: -1 }))).toBe(1);
    expect(lifeOf(state({ iteration: 12 }))).toBe(0);
  });
  it('is whole without a run', () => {
    expect(lifeOf(state({ run: null, life: 0.1 }))).toBe(1);
  });
});
