import { describe, expect, it } from 'vitest';
import type { RoundRecord, RunState, TokenTold } from '../lib/wire';
import { Follower, atRest, mappedTo, wanted, type Mapped } from './mapping';
import { Meter, wordsOf } from './meter';
import { seeded } from './places';
import { Composer } from './score';
import { FrameWatch, below, firstTier } from './tiers';

const token = (text: string, entropy = 1, probability = 0.5, station = 's'): TokenTold => ({ station, text, entropy, probability, iteration: 0 });
const mapped = (more: Partial<Mapped>): Mapped => ({
  target: 'order', input: 'loss', range_in: [0, 2], range_out: [1, 0], curve: 'linear', weight: 1, seconds: 1, ...more,
});
const state = (more: Partial<RunState>): RunState =>
  ({ run: 'r', phase: 'running', iteration: -1, num_total_iters: 9, elapsed_seconds: 30, time_left_seconds: 90, round: null, rounds: [], ...more }) as RunState;

describe('measures', () => {
  it('knows nothing before anything was said', () => {
    const read = new Meter().read(0);
    expect(read.entropy).toBeNull();
    expect(read.distinct_2).toBeNull();
    expect(read.typing).toBe(0);
  });

  it('counts words as the owner does, over the borders of tokens', () => {
    expect(wordsOf('Die Rose, DIE Straße!')).toEqual(['die', 'rose', 'die', 'straße']);
    const meter = new Meter();
    for (const piece of ['Wört', 'ern', ' aus Wör', 'tern', '. ', 'aus ', 'aus ', 'aus ', 'Haus']) meter.token(token(piece), 0);
    meter.ends('s');
    const read = meter.read(0);
    // wörtern aus wörtern aus aus aus haus: too few words to measure
    expect(read.repetition).toBeNull();
    meter.begins('s', false);
    meter.token(token('aus '), 0);
    const more = meter.read(0);
    expect(more.repetition).toBeCloseTo(2 / 8);
    expect(more.distinct_1).toBeCloseTo(3 / 8);
    // pairs: wa, aw, wa, aa, aa, ah; the new answer's first word follows nothing
    expect(more.distinct_2).toBeCloseTo(4 / 6);
  });

  it('averages tokens over a window that stays bounded', () => {
    const meter = new Meter();
    for (let number = 0; number < 5000; number += 1) meter.token(token(' a', 3, 0.1), 0);
    for (let number = 0; number < 240; number += 1) meter.token(token(' b', 1, 0.9), 10);
    const read = meter.read(10);
    expect(read.entropy).toBeCloseTo(1);
    expect(read.probability).toBeCloseTo(0.9);
    expect(read.repetition).toBeCloseTo(1);
    expect(read.speaking).toBeCloseTo(60);
    expect(meter.read(20).speaking).toBe(0);
  });

  it('forgets what an answer said before it began again', () => {
    const meter = new Meter();
    meter.token(token('a', 2, 0.5, 'other'), 0);
    meter.token(token('b', 8), 0);
    meter.begins('s', true);
    expect(meter.read(0).entropy).toBe(2);
  });

  it('reads iteration, loss, progress, time, typing off the run', () => {
    const meter = new Meter();
    meter.stands(state({ iteration: 2 }));
    meter.trains({ status: 'training', step: 3, steps: 4, loss: 1.5 } as RoundRecord);
    meter.types('s', true, 0);
    const read = meter.read(1);
    expect(read).toMatchObject({ loss: 1.5, learning: 1, progress: 0.75, time: 0.25, typing: 1, last_words: 0 });
    expect(read.iteration).toBeCloseTo(1 / 3);
    expect(meter.read(60).typing).toBe(0);
    meter.stands(state({ run: 'another' }));
    expect(meter.read(60).loss).toBeNull();
  });
});

describe('mapping', () => {
  it('goes from range to range along its curve and stays within', () => {
    expect(mappedTo(mapped({}), 0.5)).toBeCloseTo(0.75);
    expect(mappedTo(mapped({}), 9)).toBe(0);
    expect(mappedTo(mapped({ range_in: [2, 0] }), 0.5)).toBeCloseTo(0.25);
    expect(mappedTo(mapped({ curve: 'late' }), 1)).toBeCloseTo(0.75);
    expect(mappedTo(mapped({ curve: 'early' }), 1)).toBeCloseTo(0.25);
    expect(mappedTo(mapped({ curve: 'smooth' }), 1)).toBeCloseTo(0.5);
  });

  it('averages by weight, leaves out what is not known, and rests where nothing is', () => {
    const meter = new Meter();
    meter.trains({ status: 'training', step: 1, steps: 2, loss: 1 } as RoundRecord);
    const both = [mapped({ weight: 3 }), mapped({ input: 'learning', range_in: [0, 1], range_out: [1, 0.1] }), mapped({ input: 'entropy' })];
    expect(wanted(both, meter.read(0)).value.order).toBeCloseTo((3 * 0.5 + 0.1) / 4);
    expect(wanted([], meter.read(0)).value).toEqual(atRest());
  });

  it('follows at its own pace, or at once', () => {
    const meter = new Meter();
    meter.trains({ status: 'training', step: 1, steps: 2, loss: 2 } as RoundRecord);
    const follower = new Follower();
    expect(follower.step([mapped({})], meter.read(0), 1).order).toBeCloseTo(Math.exp(-1));
    expect(follower.step([mapped({})], meter.read(0), 0, true).order).toBe(0);
  });
});

describe('tiers', () => {
  it('steps down after slow frames in a row, and not for a hidden tab', () => {
    const frames = (count: number, milliseconds: number, watch = new FrameWatch()) =>
      Array.from({ length: count }, () => watch.tooSlow(milliseconds)).some(Boolean);
    expect(frames(600, 17)).toBe(false);
    expect(frames(49, 40)).toBe(false);
    expect(frames(50, 40)).toBe(true);
    expect(frames(6, 900)).toBe(true);
    // A machine that slept once is none that is too slow.
    const woken = new FrameWatch();
    for (let time = 0; time < 9; time += 1) expect([frames(1, 60_000, woken), frames(60, 17, woken)]).toEqual([false, false]);
    expect(below('high')).toBe('middle');
    expect(below('low')).toBeNull();
    expect(firstTier('ANGLE (Google, Vulkan (SwiftShader Device))')).toBe('low');
    expect(firstTier('NVIDIA GeForce')).toBe('high');
  });
});

describe('music', () => {
  const notes = { root: 50, whole: [0, 2, 4, 7, 9, 12], dying: [0, 1, 7] };
  const written = (more: object, seconds = 120) => new Composer(seeded(1)).compose({ ...atRest(), ...more }, notes, 0, seconds);

  it('is as dense as the targets say, and silent where they say nothing', () => {
    const many = written({ density: 0.7, tempo: 66 }).length;
    const few = written({ density: 0.1, tempo: 40 }).length;
    expect(many).toBeGreaterThan(3 * few);
    expect(written({ density: 0, ticks: 0 }).filter((note) => note.voice === 'bell')).toEqual([]);
  });

  it('stammers, and loses its scale', () => {
    const same = (sameness: number) => {
      const bells = written({ sameness, density: 0.8 }).filter((note) => note.voice === 'bell');
      return bells.filter((note, at) => note.midi === bells[at - 1]?.midi).length / bells.length;
    };
    expect(same(0.9)).toBeGreaterThan(2 * same(0));
    const dead = written({ harmony: 0, density: 0.8 }).filter((note) => note.voice === 'bell');
    expect(new Set(dead.map((note) => note.midi - 50))).toEqual(new Set([0, 1, 7]));
  });

  it('does not make up for what was missed', () => {
    const composer = new Composer(seeded(1));
    composer.compose(atRest(), notes, 0, 1);
    expect(composer.compose({ ...atRest(), density: 1 }, notes, 3600, 3601).length).toBeLessThan(12);
  });
});
