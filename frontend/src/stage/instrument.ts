// The instrument: a fixed number of voices, made once, in Tone's current audio context (the speakers', or an offline one).

import * as Tone from 'tone';
import type { Targets } from './names';
import { seededRandom } from './places';
import { audible, type Note } from './composer';

const BELLS = 6;
const PADS = 3;

const REVERB_SECONDS = 3.2;

export class Instrument {
  private readonly bells: Tone.Synth[];
  private readonly pads: Tone.Synth[];
  private readonly tick: Tone.NoiseSynth;
  private readonly drone: Tone.Oscillator;
  private readonly droneLevel: Tone.Gain;
  private readonly filter: Tone.Filter;
  private readonly level: Tone.Gain;
  private readonly master: Tone.Gain;
  private readonly nodes: { dispose(): unknown }[] = [];
  private turns = { bell: 0, pad: 0 };

  constructor() {
    const register = <Node extends { dispose(): unknown }>(node: Node): Node => {
      this.nodes.push(node);
      return node;
    };
    this.master = register(new Tone.Gain(1));
    this.level = register(new Tone.Gain(0.3));
    // Many notes at once are distorted softly instead of clipping.
    const softClip = register(new Tone.WaveShaper((x: number) => Math.tanh(x * 1.4) * 0.9, 4096));
    this.filter = register(new Tone.Filter({ frequency: 2400, type: 'lowpass', rolloff: -24, Q: 0.4 }));
    const reverb = register(new Tone.Convolver(impulseResponse()));
    const reverbLevel = register(new Tone.Gain(0.4));
    this.filter.connect(this.level);
    this.filter.chain(reverb, reverbLevel, this.level);
    this.level.chain(softClip, this.master, Tone.getDestination());
    this.bells = Array.from({ length: BELLS }, () =>
      register(
        new Tone.Synth({
          oscillator: { type: 'custom', partials: [1, 0.42, 0.2, 0.12, 0.05, 0.04] },
          envelope: { attack: 0.006, decay: 1.4, sustain: 0, release: 0.8 },
          volume: -8,
        }).connect(this.filter),
      ),
    );
    this.pads = Array.from({ length: PADS }, () =>
      register(
        new Tone.Synth({
          oscillator: { type: 'custom', partials: [1, 0.3, 0.14, 0.08] },
          envelope: { attack: 1.8, decay: 1, sustain: 0.7, release: 3 },
          volume: -13,
        }).connect(this.filter),
      ),
    );
    const tickFilter = register(new Tone.Filter({ frequency: 1900, type: 'bandpass', Q: 3 }).connect(this.level));
    this.tick = register(new Tone.NoiseSynth({ noise: { type: 'pink' }, envelope: { attack: 0.001, decay: 0.03, sustain: 0 }, volume: -14 }).connect(tickFilter));
    this.droneLevel = register(new Tone.Gain(0).connect(this.filter));
    this.drone = register(new Tone.Oscillator({ type: 'sine', frequency: 73.4, volume: -11 }).connect(this.droneLevel));
    this.drone.start();
  }

  /** Glide to the timbre, loudness and drone of the targets from the time `at` on; `root` is a MIDI note. */
  tune(targets: Targets, root: number, at: number): void {
    const glide = 0.4;
    this.filter.frequency.setTargetAtTime(targets.timbre, at, glide);
    this.level.gain.setTargetAtTime(Tone.dbToGain(targets.loudness), at, glide);
    this.droneLevel.gain.setTargetAtTime(targets.drone * 0.6 * audible(targets.density), at, glide);
    this.drone.frequency.setTargetAtTime(Tone.Frequency(root - 12, 'midi').toFrequency(), at, glide);
    this.drone.detune.setTargetAtTime(-targets.detune, at, glide);
  }

  /** How many tones can sound at the same time. */
  get voices(): number {
    return this.bells.length + this.pads.length + [this.drone, this.tick].length;
  }

  play(note: Note): void {
    if (note.voice === 'tick') {
      this.tick.triggerAttackRelease(note.seconds, note.at, note.velocity);
      return;
    }
    const pool = note.voice === 'bell' ? this.bells : this.pads;
    const voice = pool[this.turns[note.voice]++ % pool.length]!;
    voice.detune.setValueAtTime(note.cents, note.at);
    voice.triggerAttackRelease(Tone.Frequency(note.midi, 'midi').toFrequency(), note.seconds, note.at, note.velocity);
  }

  mute(muted: boolean): void {
    this.master.gain.rampTo(muted ? 0 : 1, 0.4);
  }

  dispose(): void {
    this.drone.stop();
    for (const node of this.nodes) node.dispose();
  }
}

/** The reverb's impulse response: noise that dies away, the same every time. */
function impulseResponse(): Tone.ToneAudioBuffer {
  const rate = Tone.getContext().sampleRate;
  const random = seededRandom(11);
  const sides = [0, 1].map(() => {
    const samples = new Float32Array(Math.floor(rate * REVERB_SECONDS));
    let value = 0;
    for (let at = 0; at < samples.length; at += 1) {
      const share = at / samples.length;
      // High tones die first.
      value += (random() * 2 - 1 - value) * (0.6 - 0.5 * share);
      samples[at] = value * (1 - share) ** 3 * Math.min(1, at / (rate * 0.01));
    }
    return samples;
  });
  return Tone.ToneAudioBuffer.fromArray(sides);
}
