// The names that mapping.yaml uses, with their meaning and bounds: the counterparts of wmkml/owner/stage/mapping.py.

import { STAGE_MEASURES } from '../lib/measures.generated';

/** What a mapping can follow, with what it is: the measures of the table, and what is read off the run. */
export const MEASURES = {
  ...STAGE_MEASURES,
  probability: 'mean probability of the last 240 tokens',
  loss: 'the newest loss of training',
  iteration: 'share of the run by rounds: 0 untouched, 1 the last',
  learning: '1 while a round trains, else 0',
  progress: 'how far the round under way is',
  time: 'share of the run by the clock',
  typing: '1 while a visitor types, else 0',
  speaking: 'tokens a second',
  last_words: '1 in the last words, else 0',
  silence: '0 while somebody speaks or types, 1 after half a minute without',
} as const;

export type Measure = keyof typeof MEASURES;

/** A value of every measure; null where it is not known yet. */
export type Measures = Record<Measure, number | null>;

/** What a mapping can change: lowest and highest value, and the value without a mapping. */
export const TARGETS = {
  size: [0.1, 1.3, 1],
  order: [0, 1, 1],
  gather: [0, 1, 0],
  fall: [0, 1, 0],
  colour: [0, 1, 1],
  brightness: [0, 2, 1],
  glow: [0, 2, 0.6],
  motion: [0, 3, 1],
  tremble: [0, 1, 0],
  core: [0, 2, 0.4],
  legible: [0, 1, 1],
  body: [0, 1, 1],
  page: [0, 1, 0],
  map: [0, 1, 0],
  tempo: [20, 140, 60],
  density: [0, 1, 0.4],
  harmony: [0, 1, 1],
  sameness: [0, 1, 0],
  timbre: [120, 8000, 2400],
  detune: [0, 100, 3],
  loudness: [-60, 0, -10],
  drone: [0, 1, 0.3],
  ticks: [0, 1, 0],
} as const;

export type Target = keyof typeof TARGETS;
export type Targets = Record<Target, number>;
