// The stage: what the owner tells becomes measures, measures become targets, targets become picture and music.
// The one place where the parts know each other; they do not know it.

import type { Events, RoundRecord, RunState } from '../lib/wire';
import { LONG_AGO } from './body';
import { Follower, type Mapping } from './mapping';
import { Meter } from './meter';
import type { Measures, Targets } from './names';
import { Reading } from './reading';
import { Picture, type Moment } from './scene';
import { FrameWatch, TIERS, below, firstTier, type TierName } from './tiers';

/** What happens in words: the page writes it over the picture. */
export type Happening = 'born' | 'swap' | 'last_words' | 'end' | null;

export interface Figures {
  frames: number;
  cpu_ms: number; // mean of the last frames
  cpu_ms_most: number;
  frame_ms: number; // between two frames
  calls: number;
  instances: number;
  textures: number;
  geometries: number;
  heap: number | null;
  tier: TierName;
  card: string;
  spoken: number; // letters shown since the page was opened
}

const END_SECONDS = 9;
const BORN_SECONDS = 6;
const SWAP_SECONDS = 4;
const WAVE_SECONDS = 1.8;
const FIGURE_FRAMES = 60;

/** So long what is written over the picture stays, in seconds. */
const SHOWN: Record<Exclude<Happening, null>, number> = {
  born: BORN_SECONDS,
  swap: SWAP_SECONDS,
  last_words: 12,
  end: END_SECONDS,
};

export class Stage {
  readonly meter = new Meter();
  readonly follower = new Follower();
  measures: Measures = this.meter.read(0);
  private picture: Picture;
  private reading: Reading;
  private readonly watch = new FrameWatch();
  private tier: TierName;
  private time = 0;
  private readAt = -1;
  private before: number | null = null;
  private showing: Exclude<Happening, null> | null = null;
  private state: RunState | null = null;
  private round: RoundRecord | null = null;
  private smooth = { speaking: 0, learning: 0, life: 0, arc: 0, fullness: 0, spin: 0 };
  private since = { wave: 99, swap: 99, end: 99, born: 99, last_words: 99 };
  private times: number[] = [];
  private gaps: number[] = [];
  private frames = 0;
  private spoken = 0;
  private jump = true;
  /** So many events to come were told before this page was there. */
  private past = 0;

  constructor(
    canvas: HTMLCanvasElement,
    private mapping: Mapping,
    private family: string,
    private readonly quality: { begin: TierName | null; held: boolean },
    private readonly calm: boolean,
    private readonly happens: (what: Happening, iteration: number) => void,
  ) {
    this.tier = quality.begin ?? 'high';
    this.picture = new Picture(canvas, TIERS[this.tier], family);
    const first = firstTier(this.picture.card);
    if (!quality.begin && first !== this.tier) {
      this.tier = first;
      this.picture.renew(TIERS[first], family, 0);
    }
    this.picture.paint(mapping.colours);
    this.reading = new Reading(this.picture.body);
  }

  get targets(): Targets {
    return this.follower.now;
  }

  /** One event of the owner's stream. */
  feed<Name extends keyof Events>(name: Name, data: Events[Name]): void {
    // Every connection begins with the state; one that broke off among past events says no more of them.
    if (name === 'state') this.past = 0;
    const past = this.past > 0;
    const heard: { [One in keyof Events]?: (data: Events[One]) => void } = {
      state: (told) => this.stands(told),
      round: (told) => this.trains(told),
      swap: (told) => {
        this.since.swap = 0;
        this.show('swap', told.iteration);
      },
      last_words: () => {
        this.since.last_words = 0;
        this.show('last_words');
      },
      run_end: () => {
        this.since.end = 0;
        this.reading.clear();
        this.show('end');
      },
      run_started: () => this.born(),
      prompt: (told) => this.reading.prompt(told.station, told.text),
      start: (told) => this.meter.begins(told.station, told.restarted),
      token: (told) => {
        this.meter.token(told, past ? this.time - LONG_AGO : this.time);
        this.reading.token(told.station, told.text, told.probability);
        this.spoken += told.text.length;
      },
      response: (told) => {
        this.meter.ends(told.station);
        this.reading.ends(told.station);
      },
      typing: (told) => this.meter.types(told.station, told.status === 'typing' && !past, this.time),
      past: (told) => (this.past = told.events + 1),
    };
    heard[name]?.(data);
    if (this.past > 0) {
      this.past -= 1;
      if (name === 'response' || this.past === 0) this.reading.settle(this.time);
    }
  }

  /** The mapping was saved: at once. */
  map(mapping: Mapping): void {
    this.mapping = mapping;
    this.picture.paint(mapping.colours);
    this.jump = true;
  }

  /** The fonts were saved: the body is written anew in them. */
  write(family: string): void {
    if (family === this.family) return;
    this.family = family;
    this.renew(this.tier);
  }

  fit(): void {
    this.picture.fit();
  }

  /** One frame goes by, drawn unless the stage is dark.  `now` in milliseconds. */
  frame(now: number, drawn: boolean): void {
    const began = performance.now();
    const gap = this.before === null ? 16 : now - this.before;
    this.before = now;
    this.advance(Math.min(0.5, gap / 1000));
    if (!drawn) return;
    this.picture.draw(this.targets, this.moment());
    this.note(performance.now() - began, gap);
    if (!this.quality.held && this.watch.tooSlow(gap)) {
      const lower = below(this.tier);
      if (lower) this.renew(lower);
    }
  }

  /** Let this much time go by without drawing: a long life in a short test. */
  pass(seconds: number): void {
    for (let left = seconds; left > 0; left -= 0.1) this.advance(Math.min(0.1, left));
  }

  figures(): Figures {
    const { calls, instances, textures, geometries } = this.picture.drawn;
    const heap = (performance as Performance & { memory?: { usedJSHeapSize: number } }).memory?.usedJSHeapSize ?? null;
    const mean = (all: number[]) => all.reduce((sum, one) => sum + one, 0) / Math.max(1, all.length);
    return {
      frames: this.frames,
      cpu_ms: mean(this.times),
      cpu_ms_most: Math.max(0, ...this.times),
      frame_ms: mean(this.gaps),
      calls,
      instances,
      textures,
      geometries,
      heap,
      tier: this.tier,
      card: this.picture.card,
      spoken: this.spoken,
    };
  }

  private advance(passed: number): void {
    this.time += passed;
    if (this.time - this.readAt > 0.09) {
      this.measures = this.meter.read(this.time);
      this.readAt = this.time;
    }
    // A language that ends stays as it was, until it is gone.
    if (this.since.end >= END_SECONDS) {
      this.follower.step(this.mapping.mappings, this.measures, passed, this.jump);
      this.jump = false;
    }
    this.reading.step(this.time, passed);
    const ended = this.since.end;
    for (const name of Object.keys(this.since) as (keyof typeof this.since)[]) this.since[name] += passed;
    if (ended < END_SECONDS && this.since.end >= END_SECONDS) this.bury();
    if (this.showing && this.since[this.showing] >= SHOWN[this.showing]) this.show(null);
    const alive = this.state?.run != null || this.since.end < END_SECONDS;
    const { smooth } = this;
    smooth.speaking = near(smooth.speaking, this.reading.speaking > 0 ? 1 : 0, passed, 0.8);
    smooth.learning = near(smooth.learning, this.round?.status === 'training' ? 1 : 0, passed, 1.2);
    smooth.life = near(smooth.life, alive ? 1 : 0.35, passed, 2.5);
    smooth.fullness = near(smooth.fullness, this.picture.body.fullness, passed, 2);
    smooth.arc = near(smooth.arc, this.lived(), passed, 1.5);
    smooth.spin += passed * 0.035 * this.targets.motion * (this.calm ? 0.3 : 1);
  }

  private moment(): Moment {
    const { smooth, since, calm } = this;
    const wave = since.wave / WAVE_SECONDS;
    return {
      time: this.time,
      spin: smooth.spin % (2 * Math.PI),
      fullness: smooth.fullness,
      lanes: this.reading.lanes,
      speaking: smooth.speaking,
      learning: smooth.learning,
      wave: calm || wave > 1 ? 9 : -1.5 + 3 * wave,
      flip: calm || since.swap > 2.6 ? 0 : (since.swap / 2.6) * 1.02,
      end: since.end < END_SECONDS ? Math.min(1, since.end / (END_SECONDS * 0.72)) : 0,
      flash: since.born < 2.4 && !calm ? 1 - since.born / 2.4 : 0,
      life: smooth.life,
      arc: smooth.arc,
      rounds: Math.max(1, this.state?.num_total_iters ?? 1),
      flight: calm ? 4 : 2.2,
    };
  }

  private show(what: Happening, iteration = -1): void {
    this.showing = what;
    this.happens(what, iteration);
  }

  private lived(): number {
    if (!this.state?.run) return 0;
    const rounds = Math.max(1, this.state.num_total_iters);
    const training = this.round !== null && ['training', 'handed_in', 'held'].includes(this.round.status);
    const under = training && this.round!.steps > 0 ? this.round!.step / this.round!.steps : 0;
    return Math.min(1, (this.state.iteration + 1 + under) / rounds);
  }

  private stands(state: RunState): void {
    // Another run, and nobody told of the end: it came while the connection was gone.
    if (this.state && state.run !== this.state.run && this.since.end >= END_SECONDS) this.bury();
    this.meter.stands(state);
    if (this.state === null) this.jump = true;
    this.state = state;
    this.round = state.round;
  }

  private trains(round: RoundRecord): void {
    if (round.status === 'training' && round.step !== (this.round?.iteration === round.iteration ? this.round.step : -1)) this.since.wave = 0;
    this.round = round;
    this.meter.trains(round);
  }

  private born(): void {
    this.bury();
    this.since.end = this.since.last_words = 99;
    this.since.born = 0;
    this.jump = true;
    this.show('born');
    this.round = null;
  }

  private bury(): void {
    this.picture.body.clear();
    this.reading.clear();
    this.meter.forget();
    this.smooth.fullness = 0;
    this.jump = true;
    this.readAt = -1;
  }

  private renew(tier: TierName): void {
    this.tier = tier;
    this.picture.renew(TIERS[tier], this.family, this.time);
    this.reading.moveTo(this.picture.body);
  }

  private note(milliseconds: number, gap: number): void {
    this.frames += 1;
    this.times.push(milliseconds);
    this.gaps.push(gap);
    if (this.times.length > FIGURE_FRAMES) {
      this.times.shift();
      this.gaps.shift();
    }
  }
}

function near(value: number, wanted: number, passed: number, seconds: number): number {
  return value + (wanted - value) * (1 - Math.exp(-passed / seconds));
}
