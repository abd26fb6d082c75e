// The losses of a run as they come in, step by step, and what was missed while nobody looked.

import type { RoundRecord } from './wire';

export interface Loss {
  iteration: number;
  step: number;
  loss: number;
}

/** The losses seen so far and those of these rounds, oldest first. */
export function lossesOf(rounds: RoundRecord[], seen: Loss[]): Loss[] {
  const points = new Map(seen.map((point) => [`${point.iteration}/${point.step}`, point]));
  for (const round of rounds) {
    const had = seen.some((point) => point.iteration === round.iteration);
    const put = (step: number, loss: number | null) => {
      if (loss !== null && Number.isFinite(loss)) {
        points.set(`${round.iteration}/${step}`, { iteration: round.iteration, step, loss });
      }
    };
    if (round.step > 0) put(round.step, round.loss);
    // What was missed: the first and last loss of the round, if nothing else is known.
    if (!had && round.loss_first !== null) {
      put(1, round.loss_first);
      put(Math.max(2, round.steps), round.loss_last);
    }
  }
  return [...points.values()].sort((a, b) => a.iteration - b.iteration || a.step - b.step);
}
