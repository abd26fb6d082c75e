// Plays the music: notes are written a little ahead of the clock.  For tests it can be rendered without a clock.

import * as Tone from 'tone';
import { Instrument } from './instrument';
import type { MusicSettings } from './mapping';
import type { Targets } from './names';
import { seededRandom } from './places';
import { Composer } from './composer';

const AHEAD_SECONDS = 0.4;
const TICK_MS = 100;
const START_TIMEOUT_MS = 800;

/** What the music follows; `quiet`: nothing sounds. */
export interface MusicInput {
  targets: Targets;
  notes: MusicSettings;
  quiet: boolean;
}

export class Music {
  private readonly instrument = new Instrument();
  private readonly composer = new Composer(Math.random);
  private readonly timer: ReturnType<typeof setInterval>;
  private writtenUntil = 0;

  constructor(private readonly readInput: () => MusicInput) {
    this.timer = setInterval(() => this.write(), TICK_MS);
  }

  /** Start the audio; false where the browser does not allow it before somebody touches the page. */
  async start(): Promise<boolean> {
    const timeout = new Promise<void>((resolve) => setTimeout(resolve, START_TIMEOUT_MS));
    await Promise.race([Tone.start(), timeout]);
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
    const { targets, notes, quiet } = this.readInput();
    this.instrument.tune(quiet ? { ...targets, loudness: -60, drone: 0 } : targets, notes.root, now);
    const from = Math.max(this.writtenUntil, now + 0.05);
    this.writtenUntil = now + AHEAD_SECONDS;
    if (quiet || this.writtenUntil <= from) return;
    for (const note of this.composer.compose(targets, notes, from, this.writtenUntil)) this.instrument.play({ ...note, at: Math.max(note.at, now + 0.02) });
  }
}

export interface RenderedMusic {
  rate: number;
  samples: Float32Array;
  onsets: number[];
  voices: number;
}

/** The music for targets that do not change, rendered faster than it plays: for tests. */
export async function renderMusic(targets: Targets, notes: MusicSettings, seconds: number, rate = 16_000, seed = 1): Promise<RenderedMusic> {
  const score = new Composer(seededRandom(seed)).compose(targets, notes, 0.1, seconds - 0.5);
  let voices = 0;
  const buffer = await Tone.Offline(
    () => {
      const instrument = new Instrument();
      voices = instrument.voices;
      instrument.tune(targets, notes.root, 0);
      for (const note of score) instrument.play(note);
    },
    seconds,
    1,
    rate,
  );
  return { rate, samples: buffer.toArray(0) as Float32Array, onsets: score.map((note) => note.at), voices };
}
