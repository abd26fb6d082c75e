// The line that says where the run is: iteration, what is happening, time left, and the loss as a tiny curve.
// Knows the run's state as the owner tells it, and no visitor.

const WIDTH = 90;
const HEIGHT = 22;
const PAD = 2;

/** What is happening, in a few words. */
export function doing(state, words) {
  if (state.inference === 'away') return words.inferenceAway;
  if (state.phase === 'last_words') return words.lastWords;
  if (state.phase === 'seeding') return words.seeding;
  const round = state.round;
  if (round && ['open', 'training'].includes(round.status)) {
    if (state.worker === 'away') return words.workerAway;
    return words.learning + (round.steps ? ` ${round.step}/${round.steps}` : '');
  }
  return words.listening;
}

/** Seconds as m:ss. */
export function clock(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, '0')}`;
}

/** Losses seen so far, oldest first: {iteration, step, loss}; step 0 stands for a round's first, Infinity for its last. */
export function lossesOf(rounds, seen) {
  const points = new Map(seen.map((point) => [`${point.iteration}/${point.step}`, point]));
  for (const round of rounds) {
    const had = seen.some((point) => point.iteration === round.iteration);
    const put = (step, loss) => {
      if (Number.isFinite(loss)) points.set(`${round.iteration}/${step}`, { iteration: round.iteration, step, loss });
    };
    if (round.step > 0) put(round.step, round.loss);
    // What was missed while this page was not looking: the first and last loss of the round, if nothing else is known.
    if (!had && Number.isFinite(round.loss_first)) {
      put(1, round.loss_first);
      put(Math.max(2, round.steps), round.loss_last);
    }
  }
  return [...points.values()].sort((a, b) => a.iteration - b.iteration || a.step - b.step);
}

/** The curve's points, as an SVG polyline wants them. */
export function polyline(losses) {
  const values = losses.map((point) => point.loss);
  const low = Math.min(...values);
  const span = Math.max(...values) - low || 1;
  return values
    .map((value, index) => {
      const x = PAD + (index / Math.max(1, values.length - 1)) * (WIDTH - 2 * PAD);
      const y = HEIGHT - PAD - ((value - low) / span) * (HEIGHT - 2 * PAD);
      return `${x.toFixed(1)},${y.toFixed(1)}`;
    })
    .join(' ');
}

/** Draw everything but the time left, which runs on between two states. */
export function draw(state, losses, words) {
  const by = (id) => document.getElementById(id);
  by('iteration').textContent = `${words.iteration} ${String(state.iteration).replace('-', '−')}`
    + (state.iteration < 0 ? ` (${words.untouched})` : '');
  by('doing').textContent = doing(state, words);
  const ticks = by('ticks');
  if (ticks.children.length !== state.num_total_iters + 1) {
    ticks.replaceChildren(...Array.from({ length: state.num_total_iters + 1 }, () => document.createElement('i')));
  }
  [...ticks.children].forEach((tick, index) => {
    tick.className = index < state.iteration + 1 ? 'past' : index === state.iteration + 1 ? 'now' : '';
  });
  by('loss').toggleAttribute('hidden', losses.length < 2);
  if (losses.length > 1) {
    by('loss-line').setAttribute('points', polyline(losses));
    by('loss-title').textContent = `${words.loss}: ${losses.at(-1).loss.toFixed(2)}`;
  }
}
