// Writes the music: which notes, when, by the same targets that the picture follows.  Pure; chance is given.
// Silence is a note like the others: where density is nothing, nothing sounds.

import type { Notes } from './mapping';
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

export class Composer {
  private next: number | null = null;
  private step = 0;
  private last: number | null = null;

  constructor(private readonly random: () => number) {}

  /** The notes from `from` to `to`, in order.  Called again and again with what follows; what was missed is not made up for. */
  compose(targets: Targets, notes: Notes, from: number, to: number): Note[] {
    const written: Note[] = [];
    if (this.next === null || this.next < from - 1) this.next = from;
    while (this.next < to) {
      this.bar(targets, notes, this.next, written);
      this.next += 30 / targets.tempo; // eighths
      this.step += 1;
    }
    return written.sort((a, b) => a.at - b.at);
  }

  private bar(targets: Targets, notes: Notes, at: number, written: Note[]): void {
    const { random } = this;
    const eighth = 30 / targets.tempo;
    const place = this.step % STEPS_A_BAR;
    const accent = place === 0 ? 1.25 : place % 2 === 0 ? 1 : 0.75;
    if (random() < targets.density * accent) {
      written.push(this.bell(targets, notes, at + random() * 0.02, accent));
      // A lively language answers itself.
      if (random() < (targets.density - 0.45) * 0.9) written.push(this.bell(targets, notes, at + eighth / 2, 0.6));
    }
    if (place === 0 && random() < 0.35 + targets.density) {
      const low = this.pitch(targets, notes) - 12;
      const bar = eighth * STEPS_A_BAR;
      written.push({ voice: 'pad', at, midi: fold(low, 38, 62), cents: this.astray(targets), velocity: 0.3, seconds: bar * 0.8 });
      if (random() < targets.harmony) {
        const third = fold(this.pitch(targets, notes), 50, 70);
        written.push({ voice: 'pad', at: at + eighth, midi: third, cents: this.astray(targets), velocity: 0.22, seconds: bar * 0.6 });
      }
    }
    for (const half of [0, 0.5]) {
      if (random() < targets.ticks * 0.7) {
        written.push({ voice: 'tick', at: at + half * eighth, midi: 0, cents: 0, velocity: 0.1 + 0.2 * random(), seconds: 0.03 });
      }
    }
  }

  private bell(targets: Targets, notes: Notes, at: number, accent: number): Note {
    const same = this.last !== null && this.random() < targets.sameness;
    const midi = same ? this.last! : this.pitch(targets, notes) + (this.random() < targets.harmony * 0.5 ? 12 : 0);
    this.last = midi;
    const velocity = (0.28 + 0.3 * this.random()) * Math.min(1, accent);
    return { voice: 'bell', at, midi, cents: this.astray(targets), velocity, seconds: 0.4 + 1.6 * this.random() };
  }

  private pitch(targets: Targets, notes: Notes): number {
    const whole = this.random() < targets.harmony;
    const scale = whole ? notes.whole : notes.dying;
    const reach = whole ? Math.max(1, Math.ceil(scale.length * (0.35 + 0.65 * targets.harmony))) : scale.length;
    return notes.root + (whole ? 12 : 0) + scale[Math.floor(this.random() * reach)]!;
  }

  private astray(targets: Targets): number {
    return (this.random() * 2 - 1) * targets.detune;
  }
}

function fold(midi: number, low: number, high: number): number {
  let folded = midi;
  while (folded < low) folded += 12;
  while (folded > high) folded -= 12;
  return folded;
}
