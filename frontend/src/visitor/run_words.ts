// The run's state in a few words, and as numbers for the page.  Pure.

import type { RunState } from '../lib/wire';
import type { Words } from './words';

/** What the run is doing now. */
export function activity(state: RunState, words: Words): string {
  if (state.inference === 'away') return words.inferenceAway;
  if (state.phase === 'last_words') return words.lastWords;
  if (state.phase === 'seeding') return words.seeding;
  if (isLearning(state)) return words.learning + (state.round?.steps ? ` ${state.round.step}/${state.round.steps}` : '');
  const waits = state.round && ['open', 'training'].includes(state.round.status);
  return waits && state.worker === 'away' ? words.workerAway : words.listening;
}

/** Whether a round trains, or is about to. */
export function isLearning(state: RunState): boolean {
  if (state.phase !== 'running' || state.worker === 'away') return false;
  return state.round !== null && ['open', 'training'].includes(state.round.status);
}

/** An iteration's name. */
export function iterationName(iteration: number, words: Words): string {
  return `${words.iteration} ${String(iteration).replace('-', '−')}${iteration < 0 ? ` (${words.untouched})` : ''}`;
}

/** Seconds as m:ss. */
export function clock(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, '0')}`;
}

/** How much of the run has passed, 0 to 1, so many seconds after `state` was received; 0 without a run. */
export function sharePassed(state: RunState, elapsedSince: number): number {
  if (state.time_left_seconds === null) return 0;
  const left = Math.max(0, state.time_left_seconds - elapsedSince);
  const elapsed = state.elapsed_seconds + elapsedSince;
  return elapsed / Math.max(1, elapsed + left);
}
