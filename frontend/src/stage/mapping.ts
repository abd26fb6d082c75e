// From measures to the targets of picture and music, by the rules of the artist's mapping.yaml.  Pure.

import { TARGETS, type Measure, type Measures, type Target, type Targets } from './names';

export type Curve = 'linear' | 'smooth' | 'early' | 'late';

export interface MappingRule {
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

export interface MusicSettings {
  root: number;
  whole: number[];
  dying: number[];
}

/** The scenes' weights where no rule has one of them as its target. */
export interface Scenes {
  body: number;
  page: number;
  map: number;
}

/** This scene alone; null: there is none of this name. */
export function sceneNamed(name: string | null): Scenes | null {
  const none: Scenes = { body: 0, page: 0, map: 0 };
  return name !== null && name in none ? { ...none, [name]: 1 } : null;
}

export interface Mapping {
  scenes: Scenes;
  mappings: MappingRule[];
  colours: Colours;
  music: MusicSettings;
}

const CURVES: Record<Curve, (x: number) => number> = {
  linear: (x) => x,
  smooth: (x) => x * x * (3 - 2 * x),
  early: (x) => 1 - (1 - x) * (1 - x),
  late: (x) => x * x,
};

/** A rule's output for a measured value; values outside of `range_in` count as its nearer end. */
export function mapValue(rule: MappingRule, value: number): number {
  const [from, to] = rule.range_in;
  const share = Math.min(1, Math.max(0, (value - from) / (to - from)));
  return rule.range_out[0] + CURVES[rule.curve](share) * (rule.range_out[1] - rule.range_out[0]);
}

/** Every target's value where no rule applies. */
export function restingTargets(scenes: Partial<Scenes> = {}): Targets {
  return { ...(Object.fromEntries(Object.entries(TARGETS).map(([name, [, , rest]]) => [name, rest])) as Targets), ...scenes };
}

/** Every target's value for these measures, the weighted mean of its rules, and in how many seconds it is approached. */
export function targetsFor(mappings: MappingRule[], measures: Measures, scenes: Partial<Scenes> = {}): { value: Targets; seconds: Targets } {
  const value = restingTargets(scenes);
  const seconds = Object.fromEntries(Object.keys(TARGETS).map((name) => [name, 2])) as Targets;
  const sums = new Map<Target, { value: number; seconds: number; weight: number }>();
  for (const rule of mappings) {
    const reading = measures[rule.input];
    if (reading === null || !Number.isFinite(reading)) continue;
    const sum = sums.get(rule.target) ?? { value: 0, seconds: 0, weight: 0 };
    sum.value += rule.weight * mapValue(rule, reading);
    sum.seconds += rule.weight * rule.seconds;
    sum.weight += rule.weight;
    sums.set(rule.target, sum);
  }
  for (const [target, sum] of sums) {
    value[target] = sum.value / sum.weight;
    seconds[target] = sum.seconds / sum.weight;
  }
  return { value, seconds };
}

/** Moves the targets to the values that the mapping gives, each at its own pace. */
export class TargetSmoother {
  readonly current: Targets = restingTargets();

  /** Go on by `elapsed` seconds; with `jump`, to the new values at once. */
  step(mappings: MappingRule[], measures: Measures, elapsed: number, jump = false, scenes: Partial<Scenes> = {}): Targets {
    const { value, seconds } = targetsFor(mappings, measures, scenes);
    for (const name of Object.keys(value) as Target[]) {
      const share = jump || seconds[name] <= 0 ? 1 : 1 - Math.exp(-elapsed / seconds[name]);
      this.current[name] += (value[name] - this.current[name]) * share;
    }
    return this.current;
  }
}
