// The music as it plays: writes a little ahead of the clock, starts where the browser lets it, and can be rendered without one.

import * as Tone from 'tone';
import { Instrument } from './instrument';
import type { Notes } from './mapping';
import type { Targets } from './names';
import { seeded } from './places';
import { Composer } from './score';

const AHEAD = 0.4;
const TICK_MS = 100;
const ALLOWED_MS = 800;

export class Music {
  private readonly instrument = new Instrument();
  private readonly composer = new Composer(Math.random);
  private readonly timer: ReturnType<typeof setInterval>;
  private until = 0;

  constructor(private readonly hear: () => { targets: Targets; notes: Notes; quiet: boolean }) {
    this.timer = setInterval(() => this.write(), TICK_MS);
  }

  /** Whether the browser lets it sound now. */
  async allowed(): Promise<boolean> {
    const waited = new Promise<void>((resolve) => setTimeout(resolve, ALLOWED_MS));
    await Promise.race([Tone.start(), waited]);
    return Tone.getContext().state === 'running';
  }

  mute(muted: boolean): void {
    this.instrument.mute(muted);
  }

  stop(): void {
    clearInterval(this.timer);
    this.instrument.dispose();
  }

  private write(): void {
    if (Tone.getContext().state !== 'running') return;
    const now = Tone.immediate();
    const { targets, notes, quiet } = this.hear();
    this.instrument.tune(quiet ? { ...targets, loudness: -60, drone: 0 } : targets, notes.root, now);
    const from = Math.max(this.until, now + 0.05);
    this.until = now + AHEAD;
    if (quiet || this.until <= from) return;
    for (const note of this.composer.compose(targets, notes, from, this.until)) this.instrument.play({ ...note, at: Math.max(note.at, now + 0.02) });
  }
}

export interface Rendered {
  rate: number;
  samples: Float32Array;
  onsets: number[];
  voices: number;
}

/** The same music in a state that stays, without a clock: what a test listens to. */
export async function rendered(targets: Targets, notes: Notes, seconds: number, rate = 16_000, seed = 1): Promise<Rendered> {
  const written = new Composer(seeded(seed)).compose(targets, notes, 0.1, seconds - 0.5);
  let voices = 0;
  const buffer = await Tone.Offline(
    () => {
      const instrument = new Instrument();
      voices = instrument.voices;
      instrument.tune(targets, notes.root, 0);
      for (const note of written) instrument.play(note);
    },
    seconds,
    1,
    rate,
  );
  return { rate, samples: buffer.toArray(0) as Float32Array, onsets: written.map((note) => note.at), voices };
}
