// The names that mappings are made of, with what they mean and their bounds: the counterparts of wmkml/owner/stage_mapping.py.

/** What can be read off a run, in words. */
export const MEASURES = {
  entropy: 'mean uncertainty of the last tokens, in nats',
  probability: 'mean probability of the last tokens',
  repetition: 'share of words that repeat the word before them',
  distinct_1: 'share of different words among the last words',
  distinct_2: 'share of different word pairs among the last words',
  loss: 'the newest loss of training',
  iteration: 'share of the run by rounds: 0 untouched, 1 the last',
  learning: '1 while a round trains, else 0',
  progress: 'how far the round under way is',
  time: 'share of the run by the clock',
  typing: '1 while a visitor types, else 0',
  speaking: 'tokens a second',
  last_words: '1 in the last words, else 0',
} as const;

export type Measure = keyof typeof MEASURES;

/** A reading of every measure; null: not known yet. */
export type Measures = Record<Measure, number | null>;

/** What changes: lowest, highest, and where it rests while no mapping says anything. */
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
