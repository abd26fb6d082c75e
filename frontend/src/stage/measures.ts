// The measures of the running language, from the owner's events: over the newest tokens and words, from losses, the round, typing.
// Pure: the time is an argument, in seconds.

import type { RollingEvent, RoundRecord, RunState, TokenEvent } from '../lib/wire';
import { STAGE_MEASURES } from '../lib/measures.generated';
import { lifeOf } from '../lib/life';
import type { Measures } from './names';

type StageMeasure = keyof typeof STAGE_MEASURES;

const TOKENS = 240;
const WORDS = 160;
const MIN_WORDS = 8; // fewer words give no measure of words
const SPEED_SECONDS = 4;
const SILENCE_SECONDS = [8, 30] as const; // without a token or a key: silence begins, and is whole
const TYPING_SECONDS = 12; // a page that was closed while somebody typed sends no end of it

interface TokenSample {
  station: string;
  entropy: number;
  probability: number;
  at: number;
}

interface Word {
  station: string;
  text: string;
  previous: string | null; // the word before it in the same answer
}

/** The words of a text as `wmkml.measures.texts` counts them. */
export function wordsOf(text: string): string[] {
  return text.toLowerCase().match(/[\p{L}\p{N}_]+/gu) ?? [];
}

export class LiveMeasures {
  private tokens: TokenSample[] = [];
  private words: Word[] = [];
  // By station: the end of the answer under way, which the next token may continue to a longer word, and the last whole word.
  private unfinishedWord = new Map<string, string>();
  private lastWord = new Map<string, string>();
  private typingSince = new Map<string, number>();
  private running: Record<string, number> = {}; // the owner's measures of the running answers, by name
  private heardAt: number | null = null;
  private loss: number | null = null;
  private round: RoundRecord | null = null;
  private state: RunState | null = null;

  addToken(token: TokenEvent, at: number): void {
    const { station, entropy, probability } = token;
    this.tokens.push({ station, entropy, probability, at });
    this.heardAt = at;
    if (this.tokens.length > TOKENS) this.tokens.splice(0, this.tokens.length - TOKENS);
    const text = (this.unfinishedWord.get(station) ?? '') + token.text;
    const cut = text.search(/[\p{L}\p{N}_]*$/u);
    this.addWords(station, text.slice(0, cut));
    this.unfinishedWord.set(station, text.slice(cut).slice(-200));
  }

  /** An answer begins.  With `restarted`, the station's unfinished answer no longer counts. */
  beginAnswer(station: string, restarted: boolean): void {
    if (restarted) {
      this.tokens = withoutTail(this.tokens, station);
      this.words = withoutTail(this.words, station);
    }
    this.unfinishedWord.delete(station);
    this.lastWord.delete(station);
  }

  /** An answer is complete, and so is its last word. */
  endAnswer(station: string): void {
    this.addWords(station, this.unfinishedWord.get(station) ?? '');
    this.unfinishedWord.delete(station);
    this.lastWord.delete(station);
  }

  setTyping(station: string, typing: boolean, at: number): void {
    this.heardAt = at;
    if (typing) this.typingSince.set(station, at);
    else this.typingSince.delete(station);
  }

  setRound(round: RoundRecord): void {
    this.round = round;
    if (round.loss !== null && Number.isFinite(round.loss)) this.loss = round.loss;
  }

  /** The owner has measured the running answers. */
  setRolling(rolling: RollingEvent): void {
    this.running = rolling.values;
  }

  /** Take in the run's state.  It also gives a page that was opened late the loss of the last round. */
  setState(state: RunState): void {
    if (state.run !== this.state?.run) this.clear();
    this.state = state;
    this.round = state.round;
    if (this.loss === null) this.loss = state.rounds.findLast((round) => round.loss_last !== null)?.loss_last ?? null;
  }

  /** Life has moved on its way to what was measured. */
  setLife(life: number): void {
    if (this.state) this.state = { ...this.state, life };
  }

  /** Forget everything, as for another run. */
  clear(): void {
    this.tokens = [];
    this.words = [];
    this.unfinishedWord.clear();
    this.lastWord.clear();
    this.typingSince.clear();
    this.running = {};
    this.loss = this.round = this.state = this.heardAt = null;
  }

  /** Everything that a mapping can follow.  Measures that are not computed here are the owner's, of the newest answers. */
  read(at: number): Measures {
    const { state, round, tokens } = this;
    for (const [station, since] of this.typingSince) if (at - since > TYPING_SECONDS) this.typingSince.delete(station);
    const duration = state && state.time_left_seconds !== null ? state.elapsed_seconds + state.time_left_seconds : 0;
    const names = Object.keys(STAGE_MEASURES) as StageMeasure[];
    const rolling = this.rolling();
    const measures = Object.fromEntries(
      names.map((name) => [name, name in rolling ? (rolling[name] ?? null) : (this.running[name] ?? state?.measures?.[name] ?? null)]),
    ) as Record<StageMeasure, number | null>;
    return {
      ...measures,
      life: state ? lifeOf(state) : null,
      probability: mean(tokens.map((token) => token.probability)),
      loss: this.loss,
      iteration: state ? Math.min(1, (state.iteration + 1) / Math.max(1, state.num_total_iters)) : null,
      learning: round?.status === 'training' ? 1 : 0,
      progress: round && round.steps > 0 ? Math.min(1, round.step / round.steps) : 0,
      time: state && duration > 0 ? state.elapsed_seconds / duration : null,
      typing: this.typingSince.size > 0 ? 1 : 0,
      speaking: tokens.filter((token) => at - token.at < SPEED_SECONDS).length / SPEED_SECONDS,
      last_words: state?.phase === 'last_words' ? 1 : 0,
      silence: this.silence(at),
    };
  }

  /** How complete the silence is; before the first word of a run it begins with the first look. */
  private silence(at: number): number {
    if (this.typingSince.size > 0) this.heardAt = at;
    this.heardAt ??= at;
    const [begin, whole] = SILENCE_SECONDS;
    return Math.min(1, Math.max(0, (at - this.heardAt - begin) / (whole - begin)));
  }

  /** The measures that follow every token and word; the others come with each round.  Null: too little was said. */
  private rolling(): Partial<Record<StageMeasure, number | null>> {
    const { words, tokens } = this;
    const enough = words.length >= MIN_WORDS;
    const pairs = words.filter((word) => word.previous !== null);
    return {
      entropy: mean(tokens.map((token) => token.entropy)),
      repetition: enough ? pairs.filter((word) => word.previous === word.text).length / words.length : null,
      distinct_1: enough ? new Set(words.map((word) => word.text)).size / words.length : null,
      distinct_2: enough && pairs.length ? new Set(pairs.map((word) => `${word.previous} ${word.text}`)).size / pairs.length : null,
    };
  }

  private addWords(station: string, text: string): void {
    for (const word of wordsOf(text)) {
      this.words.push({ station, text: word, previous: this.lastWord.get(station) ?? null });
      this.lastWord.set(station, word);
    }
    if (this.words.length > WORDS) this.words.splice(0, this.words.length - WORDS);
  }
}

/** The entries without those of the station at their end. */
function withoutTail<Entry extends { station: string }>(entries: Entry[], station: string): Entry[] {
  const end = entries.findLastIndex((entry) => entry.station !== station);
  return entries.slice(0, end + 1);
}

function mean(values: number[]): number | null {
  return values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : null;
}
