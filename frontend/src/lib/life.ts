// How much of the newborn language is left: 1 at birth, 0 at collapse (docs/measures.md).  Pure.

import type { RunState } from './wire';

/** Life as the owner shows it; where nothing was measured, the share of the rounds that are left.  1 without a run. */
export function lifeOf(state: RunState): number {
  if (!state.run) return 1;
  return bounded(state.life ?? shareLeft(state.iteration, state.num_total_iters));
}

/** The life of one iteration, as it was measured; where it was not, the share of the rounds that are left after it. */
export function lifeOfIteration(iteration: number, rounds: number, lives: Record<string, number> = {}): number {
  return bounded(lives[iteration] ?? shareLeft(iteration, rounds));
}

function shareLeft(iteration: number, rounds: number): number {
  return 1 - (iteration + 1) / Math.max(1, rounds);
}

function bounded(life: number): number {
  return Math.min(1, Math.max(0, life));
}
