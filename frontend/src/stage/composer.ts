// Writes the music: which notes, and when, from the same targets that the picture follows.  Pure: the random numbers are an
// argument.  A density of 0 is silence: no bells, no pads, no ticks, and no drone either (`audible`).

import type { MusicSettings } from './mapping';
import type { Targets } from './names';

export interface Note {
  voice: 'bell' | 'pad' | 'tick';
  at: number;
  midi: number;
  cents: number;
  velocity: number;
  seconds: number;
}

const STEPS_A_BAR = 8;
const SPARSE = 0.06; // the shipped mapping's lowest density

/** How much of drone, pads and ticks is heard at this density: all of it but below `SPARSE`, and nothing at 0. */
export function audible(density: number): number {
  return Math.min(1, density / SPARSE);
}

export class Composer {
  private nextAt: number | null = null;
  private step = 0;
  private lastMidi: number | null = null;

  constructor(private readonly random: () => number) {}

  /**
   * The notes from `from` to `to` in seconds, in order.  Each call continues the last one; notes of a gap of more than a second
   * between two calls are left out.
   */
  compose(targets: Targets, notes: MusicSettings, from: number, to: number): Note[] {
    const score: Note[] = [];
    if (this.nextAt === null || this.nextAt < from - 1) this.nextAt = from;
    while (this.nextAt < to) {
      this.writeStep(targets, notes, this.nextAt, score);
      this.nextAt += 30 / targets.tempo; // eighths
      this.step += 1;
    }
    return score.sort((a, b) => a.at - b.at);
  }

  private writeStep(targets: Targets, notes: MusicSettings, at: number, score: Note[]): void {
    const { random } = this;
    const eighth = 30 / targets.tempo;
    const stepInBar = this.step % STEPS_A_BAR;
    const accent = stepInBar === 0 ? 1.25 : stepInBar % 2 === 0 ? 1 : 0.75;
    if (random() < targets.density * accent) {
      score.push(this.bellNote(targets, notes, at + random() * 0.02, accent));
      // At a high density a note is often followed by a second one.
      if (random() < (targets.density - 0.45) * 0.9) score.push(this.bellNote(targets, notes, at + eighth / 2, 0.6));
    }
    // Pads are likely while there are few bells, and fade out with them below the density that the shipped mapping ends with.
    const padLikelihood = 0.35 * audible(targets.density) + targets.density;
    if (stepInBar === 0 && random() < padLikelihood) {
      const low = this.pitch(targets, notes) - 12;
      const bar = eighth * STEPS_A_BAR;
      score.push({ voice: 'pad', at, midi: toRange(low, 38, 62), cents: this.randomDetune(targets), velocity: 0.3, seconds: bar * 0.8 });
      if (random() < targets.harmony) {
        const third = toRange(this.pitch(targets, notes), 50, 70);
        score.push({ voice: 'pad', at: at + eighth, midi: third, cents: this.randomDetune(targets), velocity: 0.22, seconds: bar * 0.6 });
      }
    }
    for (const half of [0, 0.5]) {
      if (random() < targets.ticks * 0.7 * audible(targets.density)) {
        score.push({ voice: 'tick', at: at + half * eighth, midi: 0, cents: 0, velocity: 0.1 + 0.2 * random(), seconds: 0.03 });
      }
    }
  }

  private bellNote(targets: Targets, notes: MusicSettings, at: number, accent: number): Note {
    const same = this.lastMidi !== null && this.random() < targets.sameness;
    const midi = same ? this.lastMidi! : this.pitch(targets, notes) + (this.random() < targets.harmony * 0.5 ? 12 : 0);
    this.lastMidi = midi;
    const velocity = (0.28 + 0.3 * this.random()) * Math.min(1, accent);
    return { voice: 'bell', at, midi, cents: this.randomDetune(targets), velocity, seconds: 0.4 + 1.6 * this.random() };
  }

  private pitch(targets: Targets, notes: MusicSettings): number {
    const whole = this.random() < targets.harmony;
    const scale = whole ? notes.whole : notes.dying;
    const reach = whole ? Math.max(1, Math.ceil(scale.length * (0.35 + 0.65 * targets.harmony))) : scale.length;
    return notes.root + (whole ? 12 : 0) + scale[Math.floor(this.random() * reach)]!;
  }

  private randomDetune(targets: Targets): number {
    return (this.random() * 2 - 1) * targets.detune;
  }
}

function toRange(midi: number, low: number, high: number): number {
  let folded = midi;
  while (folded < low) folded += 12;
  while (folded > high) folded -= 12;
  return folded;
}
