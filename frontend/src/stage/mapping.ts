// From measures to what is seen and heard, as the artist's mapping.yaml says.  Pure.

import { TARGETS, type Measure, type Measures, type Target, type Targets } from './names';

export type Curve = 'linear' | 'smooth' | 'early' | 'late';

export interface Mapped {
  target: Target;
  input: Measure;
  range_in: [number, number];
  range_out: [number, number];
  curve: Curve;
  weight: number;
  seconds: number;
}

export interface Colours {
  ground: string;
  machine: string[];
  visitor: string;
  faded: string;
  learning: string;
}

export interface Notes {
  root: number;
  whole: number[];
  dying: number[];
}

export interface Mapping {
  mappings: Mapped[];
  colours: Colours;
  music: Notes;
}

const CURVES: Record<Curve, (x: number) => number> = {
  linear: (x) => x,
  smooth: (x) => x * x * (3 - 2 * x),
  early: (x) => 1 - (1 - x) * (1 - x),
  late: (x) => x * x,
};

/** One mapping's value for this reading; beyond its range it stays at the end. */
export function mappedTo(one: Mapped, value: number): number {
  const [from, to] = one.range_in;
  const share = Math.min(1, Math.max(0, (value - from) / (to - from)));
  return one.range_out[0] + CURVES[one.curve](share) * (one.range_out[1] - one.range_out[0]);
}

export function atRest(): Targets {
  return Object.fromEntries(Object.entries(TARGETS).map(([name, [, , rest]]) => [name, rest])) as Targets;
}

/** Where every target wants to be, and how many seconds it takes to follow. */
export function wanted(mappings: Mapped[], measures: Measures): { value: Targets; seconds: Targets } {
  const value = atRest();
  const seconds = Object.fromEntries(Object.keys(TARGETS).map((name) => [name, 2])) as Targets;
  const sums = new Map<Target, { value: number; seconds: number; weight: number }>();
  for (const one of mappings) {
    const reading = measures[one.input];
    if (reading === null || !Number.isFinite(reading)) continue;
    const sum = sums.get(one.target) ?? { value: 0, seconds: 0, weight: 0 };
    sum.value += one.weight * mappedTo(one, reading);
    sum.seconds += one.weight * one.seconds;
    sum.weight += one.weight;
    sums.set(one.target, sum);
  }
  for (const [target, sum] of sums) {
    value[target] = sum.value / sum.weight;
    seconds[target] = sum.seconds / sum.weight;
  }
  return { value, seconds };
}

/** Follows what is wanted, each target at its own pace. */
export class Follower {
  readonly now: Targets = atRest();

  /** `jump`: at once, as when a mapping was just saved or a language was just born. */
  step(mappings: Mapped[], measures: Measures, passed: number, jump = false): Targets {
    const { value, seconds } = wanted(mappings, measures);
    for (const name of Object.keys(value) as Target[]) {
      const share = jump || seconds[name] <= 0 ? 1 : 1 - Math.exp(-passed / seconds[name]);
      this.now[name] += (value[name] - this.now[name]) * share;
    }
    return this.now;
  }
}
