import { describe, expect, it } from 'vitest';
import type { RoundRecord, RunState, TokenEvent } from '../lib/wire';
import { TargetSmoother, mapValue, restingTargets, sceneNamed, targetsFor, type MappingRule } from './mapping';
import { LiveMeasures, wordsOf } from './measures';
import { seededRandom } from './places';
import { Composer, audible } from './composer';
import { FrameWatch, firstTier, tierBelow } from './tiers';
import cases from '../../../tests/fixtures/measure_cases.json';

const token = (text: string, entropy = 1, probability = 0.5, station = 's'): TokenEvent => ({ station, text, entropy, probability, iteration: 0 });
const rule = (more: Partial<MappingRule>): MappingRule => ({
  target: 'order', input: 'loss', range_in: [0, 2], range_out: [1, 0], curve: 'linear', weight: 1, seconds: 1, ...more,
});
const state = (more: Partial<RunState>): RunState =>
  ({ run: 'r', phase: 'running', iteration: -1, num_total_iters: 9, elapsed_seconds: 30, time_left_seconds: 90, round: null, rounds: [], measures: {}, ...more }) as RunState;

describe('measures', () => {
  it('takes what is measured once of an iteration from the state', () => {
    const live = new LiveMeasures();
    live.setState(state({ measures: { perplexity: 12.5 } }));
    expect(live.read(0).perplexity).toBe(12.5);
    expect(live.read(0).divergence).toBeNull();
  });

  it('is null before the first token', () => {
    const measures = new LiveMeasures().read(0);
    expect(measures.entropy).toBeNull();
    expect(measures.distinct_2).toBeNull();
    expect(measures.typing).toBe(0);
  });

  it('counts words as the owner does, over the borders of tokens', () => {
    expect(wordsOf('Die Rose, DIE Straße!')).toEqual(['die', 'rose', 'die', 'straße']);
    const live = new LiveMeasures();
    for (const piece of ['Wört', 'ern', ' aus Wör', 'tern', '. ', 'aus ', 'aus ', 'aus ', 'Haus']) live.addToken(token(piece), 0);
    live.endAnswer('s');
    const measures = live.read(0);
    // wörtern aus wörtern aus aus aus haus: too few words to measure
    expect(measures.repetition).toBeNull();
    live.beginAnswer('s', false);
    live.addToken(token('aus '), 0);
    const more = live.read(0);
    expect(more.repetition).toBeCloseTo(2 / 8);
    expect(more.distinct_1).toBeCloseTo(3 / 8);
    // pairs: wa, aw, wa, aa, aa, ah; the new answer's first word follows nothing
    expect(more.distinct_2).toBeCloseTo(4 / 6);
  });

  it.each(cases.cases)('computes what the Python functions do: $texts', ({ texts, ...values }) => {
    const live = new LiveMeasures();
    for (const text of texts) {
      live.beginAnswer('s', false);
      for (const piece of text.match(/.{1,3}/gsu) ?? []) live.addToken(token(piece), 0);
      live.endAnswer('s');
    }
    const measures = live.read(0);
    for (const [name, value] of Object.entries(values)) expect(measures[name as keyof typeof measures], name).toBeCloseTo(value, 9);
  });

  it('takes what it does not compute from the owner', () => {
    const live = new LiveMeasures();
    expect(live.read(0).compression_ratio).toBeNull();
    live.setState(state({ measures: { compression_ratio: 2.5, distinct_2: 0.1 } }));
    expect(live.read(0).compression_ratio).toBe(2.5);
    expect(live.read(0).distinct_2).toBeNull(); // its own, of what it has heard
  });

  it('follows life as the owner shows it, also between two states', () => {
    const live = new LiveMeasures();
    expect(live.read(0).life).toBeNull();
    live.setState(state({ iteration: 2, life: null, measures: { life: 0.3 } }));
    expect(live.read(0).life).toBeCloseTo(6 / 9); // nothing was measured: the rounds that are left
    live.setState(state({ iteration: 2, life: 0.8, measures: { life: 0.3 } }));
    expect(live.read(0).life).toBe(0.8); // on its way to 0.3
    live.setLife(0.7);
    expect(live.read(0).life).toBe(0.7);
  });

  it('hears silence after a while without tokens and keys', () => {
    const live = new LiveMeasures();
    expect(live.read(0).silence).toBe(0);
    live.addToken(token('a'), 5);
    expect([12, 24, 60].map((at) => live.read(at).silence)).toEqual([0, 0.5, 1]);
    live.setTyping('s', true, 60);
    expect(live.read(61).silence).toBe(0);
  });

  it('averages tokens over a window that stays bounded', () => {
    const live = new LiveMeasures();
    for (let number = 0; number < 5000; number += 1) live.addToken(token(' a', 3, 0.1), 0);
    for (let number = 0; number < 240; number += 1) live.addToken(token(' b', 1, 0.9), 10);
    const measures = live.read(10);
    expect(measures.entropy).toBeCloseTo(1);
    expect(measures.probability).toBeCloseTo(0.9);
    expect(measures.repetition).toBeCloseTo(1);
    expect(measures.speaking).toBeCloseTo(60);
    expect(live.read(20).speaking).toBe(0);
  });

  it('forgets an unfinished answer that begins again', () => {
    const live = new LiveMeasures();
    live.addToken(token('a', 2, 0.5, 'other'), 0);
    live.addToken(token('b', 8), 0);
    live.beginAnswer('s', true);
    expect(live.read(0).entropy).toBe(2);
  });

  it('reads iteration, loss, progress, time, typing off the run', () => {
    const live = new LiveMeasures();
    live.setState(state({ iteration: 2 }));
    live.setRound({ status: 'training', step: 3, steps: 4, loss: 1.5 } as RoundRecord);
    live.setTyping('s', true, 0);
    const measures = live.read(1);
    expect(measures).toMatchObject({ loss: 1.5, learning: 1, progress: 0.75, time: 0.25, typing: 1, last_words: 0 });
    expect(measures.iteration).toBeCloseTo(1 / 3);
    expect(live.read(60).typing).toBe(0);
    live.setState(state({ run: 'another' }));
    expect(live.read(60).loss).toBeNull();
  });
});

describe('mapping', () => {
  it('goes from range to range along its curve and stays within', () => {
    expect(mapValue(rule({}), 0.5)).toBeCloseTo(0.75);
    expect(mapValue(rule({}), 9)).toBe(0);
    expect(mapValue(rule({ range_in: [2, 0] }), 0.5)).toBeCloseTo(0.25);
    expect(mapValue(rule({ curve: 'late' }), 1)).toBeCloseTo(0.75);
    expect(mapValue(rule({ curve: 'early' }), 1)).toBeCloseTo(0.25);
    expect(mapValue(rule({ curve: 'smooth' }), 1)).toBeCloseTo(0.5);
  });

  it('averages by weight, leaves out what is not known, and rests where nothing is', () => {
    const live = new LiveMeasures();
    live.setRound({ status: 'training', step: 1, steps: 2, loss: 1 } as RoundRecord);
    const rules = [rule({ weight: 3 }), rule({ input: 'learning', range_in: [0, 1], range_out: [1, 0.1] }), rule({ input: 'entropy' })];
    expect(targetsFor(rules, live.read(0)).value.order).toBeCloseTo((3 * 0.5 + 0.1) / 4);
    expect(targetsFor([], live.read(0)).value).toEqual(restingTargets());
  });

  it('follows at its own pace, or at once', () => {
    const live = new LiveMeasures();
    live.setRound({ status: 'training', step: 1, steps: 2, loss: 2 } as RoundRecord);
    const smoother = new TargetSmoother();
    expect(smoother.step([rule({})], live.read(0), 1).order).toBeCloseTo(Math.exp(-1));
    expect(smoother.step([rule({})], live.read(0), 0, true).order).toBe(0);
  });
});

describe('scenes', () => {
  it('are those of the file, but for one that follows a measure or that the address names', () => {
    const live = new LiveMeasures();
    live.setRound({ status: 'training', step: 1, steps: 2, loss: 1 } as RoundRecord);
    const { body, page, map } = targetsFor([rule({ target: 'page' })], live.read(0), { body: 0.2, page: 0, map: 0.7 }).value;
    expect([body, page, map]).toEqual([0.2, 0.5, 0.7]);
    expect(restingTargets()).toMatchObject({ body: 1, page: 0, map: 0, legible: 1 });
    expect(sceneNamed('map')).toEqual({ body: 0, page: 0, map: 1 });
    expect(sceneNamed('nothing')).toBeNull();
  });
});

describe('tiers', () => {
  it('steps down after slow frames in a row, and not for a hidden tab', () => {
    const anySlow = (count: number, milliseconds: number, watch = new FrameWatch()) =>
      Array.from({ length: count }, () => watch.tooSlow(milliseconds)).some(Boolean);
    expect(anySlow(600, 17)).toBe(false);
    expect(anySlow(49, 40)).toBe(false);
    expect(anySlow(50, 40)).toBe(true);
    expect(anySlow(6, 900)).toBe(true);
    // A machine that was asleep is not too slow.
    const woken = new FrameWatch();
    for (let time = 0; time < 9; time += 1) expect([anySlow(1, 60_000, woken), anySlow(60, 17, woken)]).toEqual([false, false]);
    expect(tierBelow('high')).toBe('middle');
    expect(tierBelow('low')).toBeNull();
    expect(firstTier('ANGLE (Google, Vulkan (SwiftShader Device))')).toBe('low');
    expect(firstTier('NVIDIA GeForce')).toBe('high');
  });
});

describe('music', () => {
  const notes = { root: 50, whole: [0, 2, 4, 7, 9, 12], dying: [0, 1, 7] };
  const compose = (more: object, seconds = 120) => new Composer(seededRandom(1)).compose({ ...restingTargets(), ...more }, notes, 0, seconds);

  it('is as dense as the targets say, and silent where they say nothing', () => {
    const many = compose({ density: 0.7, tempo: 66 }).length;
    const few = compose({ density: 0.1, tempo: 40 }).length;
    expect(many).toBeGreaterThan(3 * few);
    expect(compose({ density: 0, ticks: 0 })).toEqual([]);
    expect(compose({ density: 0, ticks: 1 })).toEqual([]);
    expect(new Set(compose({ density: 0.06, ticks: 1 }).map((note) => note.voice)).has('tick')).toBe(true);
    expect([0, 0.03, 0.06, 1].map(audible)).toEqual([0, 0.5, 1, 1]);
    expect(compose({ density: 0.06 }).some((note) => note.voice === 'pad')).toBe(true);
  });

  it('stammers, and loses its scale', () => {
    const same = (sameness: number) => {
      const bells = compose({ sameness, density: 0.8 }).filter((note) => note.voice === 'bell');
      return bells.filter((note, at) => note.midi === bells[at - 1]?.midi).length / bells.length;
    };
    expect(same(0.9)).toBeGreaterThan(2 * same(0));
    const dead = compose({ harmony: 0, density: 0.8 }).filter((note) => note.voice === 'bell');
    expect(new Set(dead.map((note) => note.midi - 50))).toEqual(new Set([0, 1, 7]));
  });

  it('does not make up for what was missed', () => {
    const composer = new Composer(seededRandom(1));
    composer.compose(restingTargets(), notes, 0, 1);
    expect(composer.compose({ ...restingTargets(), density: 1 }, notes, 3600, 3601).length).toBeLessThan(12);
  });
});
