// The stage: the owner's events become measures, measures become targets, targets become the picture.  The music reads the same
// targets.  This is the one module that knows all parts; the parts do not know it.

import type { Events, RoundRecord, RunState } from '../lib/wire';
import { ARRIVED_SECONDS } from './letter_mesh';
import { TargetSmoother, type Mapping, type MappingRule, type Scenes } from './mapping';
import { LiveMeasures } from './measures';
import type { Measures, Targets } from './names';
import { Picture, type FrameState } from './picture';
import { TextLines } from './text_lines';
import { FrameWatch, TIERS, firstTier, tierBelow, type TierName } from './tiers';

/** What the page writes over the picture: an event of the run, for some seconds. */
export type Announcement = 'born' | 'swap' | 'last_words' | 'end' | null;

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
  spoken: number; // letters received since the page was opened
  /** What is to be read in the headline, and where: x, y of each letter's left end in pixels of the window, and its size. */
  headline: { piece: string; x: number; y: number; size: number }[];
}

const END_SECONDS = 9;
const BORN_SECONDS = 6;
const SWAP_SECONDS = 4;
const WAVE_SECONDS = 1.8;
const SWEEP_SECONDS = 2.6;
const TURN_SECONDS = 2.6;
const BLOOM_SECONDS = 3.6;
const FIGURE_FRAMES = 60;
const MEASURE_SECONDS = 0.09; // between two readings of the measures
const LONG_AGO = 99; // seconds since an event that is over

const ANNOUNCEMENT_SECONDS: Record<Exclude<Announcement, null>, number> = {
  born: BORN_SECONDS,
  swap: SWAP_SECONDS,
  last_words: 12,
  end: END_SECONDS,
};

export class Stage {
  private readonly live = new LiveMeasures();
  private readonly smoother = new TargetSmoother();
  measures: Measures = this.live.read(0);
  private picture: Picture;
  private lines: TextLines;
  private readonly frameWatch = new FrameWatch();
  private tier: TierName;
  private time = 0;
  private measuredAt = -1;
  private previousFrame: number | null = null;
  private announced: Exclude<Announcement, null> | null = null;
  private state: RunState | null = null;
  private round: RoundRecord | null = null;
  private smooth = { learning: 0, life: 0, arc: 0, lastWords: 0, silence: 0 };
  /** Seconds since each of these events. */
  private since = { wave: LONG_AGO, sweep: LONG_AGO, swap: LONG_AGO, end: LONG_AGO, born: LONG_AGO, last_words: LONG_AGO };
  private cpuTimes: number[] = [];
  private frameTimes: number[] = [];
  private frames = 0;
  private letters = 0;
  private jump = true;
  /** So many of the next events are from before the page was opened. */
  private pastEvents = 0;

  /** `quality.fixed`: the tier stays, however slow frames are.  `calm`: the visitor's system asks for reduced motion. */
  constructor(
    canvas: HTMLCanvasElement,
    private mapping: Mapping,
    private family: string,
    private readonly quality: { begin: TierName | null; fixed: boolean },
    private readonly calm: boolean,
    /** Which scenes are shown whatever the mapping says; none: as the mapping says. */
    private readonly scenes: Scenes | null,
    private readonly onAnnouncement: (announcement: Announcement, iteration: number) => void,
  ) {
    this.tier = quality.begin ?? 'high';
    this.picture = new Picture(canvas, TIERS[this.tier], family);
    const first = firstTier(this.picture.gpuName);
    if (!quality.begin && first !== this.tier) {
      this.tier = first;
      this.picture.rebuild(TIERS[first], family, 0);
    }
    this.picture.setColours(mapping.colours);
    this.lines = new TextLines(this.picture.letters, this.picture.laneWidths);
  }

  get targets(): Targets {
    return this.smoother.current;
  }

  /** Take in one event of the owner's stream. */
  feed<Name extends keyof Events>(name: Name, data: Events[Name]): void {
    // Every connection begins with the state.  If the last one broke off among past events, the rest of them will not come.
    if (name === 'state') this.pastEvents = 0;
    const past = this.pastEvents > 0;
    const handlers: { [Handled in keyof Events]?: (data: Events[Handled]) => void } = {
      state: (state) => this.setState(state),
      round: (round) => this.setRound(round),
      rolling: (rolling) => this.live.setRolling(rolling),
      life: ({ life }) => this.live.setLife(life),
      swap: (swap) => {
        this.since.swap = 0;
        this.announce('swap', swap.iteration);
      },
      last_words: () => {
        this.since.last_words = 0;
        this.announce('last_words');
      },
      run_end: () => {
        this.since.end = 0;
        this.lines.clear();
        this.announce('end');
      },
      run_started: () => this.beginRun(),
      forgotten: () => this.clear(),  // whose letter is whose, the picture does not know
      prompt: (prompt) => this.lines.addPrompt(prompt.station, prompt.text),
      start: (start) => this.live.beginAnswer(start.station, start.restarted),
      token: (token) => {
        this.live.addToken(token, past ? this.time - ARRIVED_SECONDS : this.time);
        this.lines.addToken(token.station, token.text, token.probability);
        this.letters += token.text.length;
      },
      response: (response) => {
        this.live.endAnswer(response.station);
        this.lines.endAnswer(response.station);
      },
      typing: (typing) => this.live.setTyping(typing.station, typing.status === 'typing' && !past, this.time),
      past: ({ events }) => (this.pastEvents = events + 1),
    };
    handlers[name]?.(data);
    if (this.pastEvents > 0) {
      this.pastEvents -= 1;
      if (name === 'response' || this.pastEvents === 0) this.lines.settle(this.time);
    }
  }

  /** Use another mapping.  Targets jump to it, so that an artist who saves the file sees its effect at once. */
  setMapping(mapping: Mapping): void {
    this.mapping = mapping;
    this.picture.setColours(mapping.colours);
    this.jump = true;
  }

  /** Draw all letters anew in another font family. */
  setFamily(family: string): void {
    if (family === this.family) return;
    this.family = family;
    this.rebuild(this.tier);
  }

  /** Adapt to the window's size. */
  fit(): void {
    if (this.picture.misshapen) this.rebuild(this.tier);
    else this.picture.fit();
  }

  /** Everything so far is past: its words stand at their places, its events are over, and targets are where its measures are. */
  settle(): void {
    this.pastEvents = 0;
    this.lines.settle(this.time);
    for (const name of Object.keys(this.since) as (keyof typeof this.since)[]) this.since[name] = LONG_AGO;
    this.announce(null);
    this.smooth.arc = this.shareOfRounds();
    this.smooth.lastWords = this.state?.phase === 'last_words' ? 1 : 0;
    this.smooth.life = 1;
    this.measuredAt = -1;
    this.jump = true;
  }

  /** Go on to the time `now` in milliseconds; draw a frame when `visible`. */
  frame(now: number, visible: boolean): void {
    const began = performance.now();
    const gap = this.previousFrame === null ? 16 : now - this.previousFrame;
    this.previousFrame = now;
    this.advance(Math.min(0.5, gap / 1000));
    if (!visible) return;
    this.picture.draw(this.targets, this.frameState());
    this.recordFrame(performance.now() - began, gap);
    if (!this.quality.fixed && this.frameWatch.tooSlow(gap)) {
      const lower = tierBelow(this.tier);
      if (lower) this.rebuild(lower);
    }
  }

  /** Let so many seconds pass without drawing, for tests; `before` is called with each part of them. */
  pass(seconds: number, before: (elapsed: number) => void = () => undefined): void {
    for (let left = seconds; left > 0; left -= 0.1) {
      before(Math.min(0.1, left));
      this.advance(Math.min(0.1, left));
    }
  }

  figures(): Figures {
    const { calls, instances, textures, geometries } = this.picture.statistics;
    const heap = (performance as Performance & { memory?: { usedJSHeapSize: number } }).memory?.usedJSHeapSize ?? null;
    const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length);
    return {
      frames: this.frames,
      cpu_ms: mean(this.cpuTimes),
      cpu_ms_most: Math.max(0, ...this.cpuTimes),
      frame_ms: mean(this.frameTimes),
      calls,
      instances,
      textures,
      geometries,
      heap,
      tier: this.tier,
      card: this.picture.gpuName,
      spoken: this.letters,
      headline: this.picture.onScreen(this.lines.headline),
    };
  }

  private advance(elapsed: number): void {
    this.time += elapsed;
    if (this.time - this.measuredAt > MEASURE_SECONDS) {
      this.measures = this.live.read(this.time);
      this.measuredAt = this.time;
    }
    // While the end of a run is shown, its targets stay as they were.
    if (this.since.end >= END_SECONDS) {
      this.smoother.step(this.rules(), this.measures, elapsed, this.jump, this.scenes ?? this.mapping.scenes);
      this.jump = false;
    }
    this.lines.step(this.time, elapsed);
    const sinceEnd = this.since.end;
    for (const name of Object.keys(this.since) as (keyof typeof this.since)[]) this.since[name] += elapsed;
    if (sinceEnd < END_SECONDS && this.since.end >= END_SECONDS) this.clear();
    if (this.announced && this.since[this.announced] >= ANNOUNCEMENT_SECONDS[this.announced]) this.announce(null);
    const alive = this.state?.run != null || this.since.end < END_SECONDS;
    const { smooth } = this;
    smooth.learning = approach(smooth.learning, this.round?.status === 'training' ? 1 : 0, elapsed, 1.2);
    smooth.life = approach(smooth.life, alive ? 1 : 0.35, elapsed, 2.5);
    smooth.arc = approach(smooth.arc, this.shareOfRounds(), elapsed, 1.5);
    smooth.lastWords = approach(smooth.lastWords, this.state?.phase === 'last_words' ? 1 : 0, elapsed, 2);
    smooth.silence = approach(smooth.silence, alive && this.lines.active(this.time) === 0 ? (this.measures.silence ?? 0) : 0, elapsed, 1.2);
  }

  private rules(): MappingRule[] {
    const { mappings } = this.mapping;
    return this.scenes ? mappings.filter((rule) => !(rule.target in this.scenes!)) : mappings;
  }

  private frameState(): FrameState {
    const { smooth, since, calm } = this;
    const wave = since.wave / WAVE_SECONDS;
    const sweep = since.sweep / SWEEP_SECONDS;
    return {
      time: this.time,
      lanes: this.lines.lanes,
      learning: smooth.learning,
      wave: calm || wave > 1 ? 9 : -1.5 + 3 * wave,
      sweep: calm || sweep > 1 ? 9 : 1.3 - 2.6 * sweep,
      swap: calm || since.swap > TURN_SECONDS ? 0 : since.swap / TURN_SECONDS,
      end: since.end < END_SECONDS ? Math.min(1, since.end / (END_SECONDS * 0.72)) : 0,
      flash: since.born < BLOOM_SECONDS && !calm ? 1 - since.born / BLOOM_SECONDS : 0,
      life: smooth.life,
      lastWords: smooth.lastWords,
      silence: smooth.silence,
      arc: smooth.arc,
      rounds: Math.max(1, this.state?.num_total_iters ?? 1),
      flight: calm ? 4 : 2.2,
    };
  }

  private announce(announcement: Announcement, iteration = -1): void {
    this.announced = announcement;
    this.onAnnouncement(announcement, iteration);
  }

  /** How many of the run's rounds are done, the steps of the round under way included, 0 to 1. */
  private shareOfRounds(): number {
    if (!this.state?.run) return 0;
    const rounds = Math.max(1, this.state.num_total_iters);
    const unfinished = this.round !== null && ['training', 'handed_in', 'held'].includes(this.round.status);
    const share = unfinished && this.round!.steps > 0 ? this.round!.step / this.round!.steps : 0;
    return Math.min(1, (this.state.iteration + 1 + share) / rounds);
  }

  private setState(state: RunState): void {
    // Another run without a `run_end`: it ended while the connection was broken.
    if (this.state && state.run !== this.state.run && this.since.end >= END_SECONDS) this.clear();
    this.live.setState(state);
    if (this.state === null) this.jump = true;
    this.state = state;
    this.round = state.round;
  }

  private setRound(round: RoundRecord): void {
    const knownStep = this.round?.iteration === round.iteration ? this.round.step : -1;
    if (round.status === 'training' && round.step !== knownStep) this.since.wave = 0;
    if (round.status === 'training' && this.round?.iteration !== round.iteration) this.since.sweep = 0;
    this.round = round;
    this.live.setRound(round);
  }

  private beginRun(): void {
    this.clear();
    this.since.end = this.since.last_words = LONG_AGO;
    this.since.born = 0;
    this.jump = true;
    this.announce('born');
    this.round = null;
  }

  /** Remove everything of the last run from the picture and the measures. */
  private clear(): void {
    this.picture.clear();
    this.lines.clear();
    this.lines.setMesh(this.picture.letters, this.picture.laneWidths);
    this.live.clear();
    this.jump = true;
    this.measuredAt = -1;
  }

  private rebuild(tier: TierName): void {
    this.tier = tier;
    this.picture.rebuild(TIERS[tier], this.family, this.time);
    this.lines.setMesh(this.picture.letters, this.picture.laneWidths);
  }

  private recordFrame(milliseconds: number, gap: number): void {
    this.frames += 1;
    this.cpuTimes.push(milliseconds);
    this.frameTimes.push(gap);
    if (this.cpuTimes.length > FIGURE_FRAMES) {
      this.cpuTimes.shift();
      this.frameTimes.shift();
    }
  }
}

/** `value` after `elapsed` seconds on its way to `target`; in `seconds` it goes 63 % of the way. */
function approach(value: number, target: number, elapsed: number, seconds: number): number {
  return value + (target - value) * (1 - Math.exp(-elapsed / seconds));
}
