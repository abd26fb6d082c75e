// Reads the measures off what passes: tokens over a window of the newest, losses, the round, typing.  Pure; the clock is given.
// A fuller set of instruments takes its place by giving the same `Measures`.

import type { RoundRecord, RunState, TokenTold } from '../lib/wire';
import type { Measures } from './names';

const TOKENS = 240;
const WORDS = 160;
const SPEED_SECONDS = 4;
const TYPING_SECONDS = 12; // who closed the page while typing has stopped, too

interface Heard {
  station: string;
  entropy: number;
  probability: number;
  at: number;
}

interface Word {
  station: string;
  text: string;
  follows: string | null; // the word before it in the same answer
}

/** The words of a text as `wmkml.collapse.texts` counts them. */
export function wordsOf(text: string): string[] {
  return text.toLowerCase().match(/[\p{L}\p{N}_]+/gu) ?? [];
}

export class Meter {
  private tokens: Heard[] = [];
  private words: Word[] = [];
  private open = new Map<string, string>(); // the answers under way: the end that may still become a longer word
  private last = new Map<string, string>();
  private typing = new Map<string, number>();
  private loss: number | null = null;
  private round: RoundRecord | null = null;
  private state: RunState | null = null;

  token(told: TokenTold, at: number): void {
    const { station, entropy, probability } = told;
    this.tokens.push({ station, entropy, probability, at });
    if (this.tokens.length > TOKENS) this.tokens.splice(0, this.tokens.length - TOKENS);
    const text = (this.open.get(station) ?? '') + told.text;
    const cut = text.search(/[\p{L}\p{N}_]*$/u);
    this.count(station, text.slice(0, cut));
    this.open.set(station, text.slice(cut).slice(-200));
  }

  /** An answer begins; `restarted`: what it said so far is void. */
  begins(station: string, restarted: boolean): void {
    if (restarted) {
      this.tokens = withoutTail(this.tokens, station);
      this.words = withoutTail(this.words, station);
    }
    this.open.delete(station);
    this.last.delete(station);
  }

  /** An answer is complete. */
  ends(station: string): void {
    this.count(station, this.open.get(station) ?? '');
    this.open.delete(station);
    this.last.delete(station);
  }

  types(station: string, typing: boolean, at: number): void {
    if (typing) this.typing.set(station, at);
    else this.typing.delete(station);
  }

  trains(round: RoundRecord): void {
    this.round = round;
    if (round.loss !== null && Number.isFinite(round.loss)) this.loss = round.loss;
  }

  /** The run's state; what a page that comes late needs is in it. */
  stands(state: RunState): void {
    if (state.run !== this.state?.run) this.forget();
    this.state = state;
    this.round = state.round;
    if (this.loss === null) this.loss = state.rounds.findLast((one) => one.loss_last !== null)?.loss_last ?? null;
  }

  /** Another language: nothing of the last one counts. */
  forget(): void {
    this.tokens = [];
    this.words = [];
    this.open.clear();
    this.last.clear();
    this.typing.clear();
    this.loss = this.round = this.state = null;
  }

  read(at: number): Measures {
    const { state, round, words, tokens } = this;
    for (const [station, since] of this.typing) if (at - since > TYPING_SECONDS) this.typing.delete(station);
    const enough = words.length >= 8;
    const pairs = words.filter((one) => one.follows !== null);
    const clock = state && state.time_left_seconds !== null ? state.elapsed_seconds + state.time_left_seconds : 0;
    return {
      entropy: mean(tokens.map((one) => one.entropy)),
      probability: mean(tokens.map((one) => one.probability)),
      repetition: enough ? pairs.filter((one) => one.follows === one.text).length / words.length : null,
      distinct_1: enough ? new Set(words.map((one) => one.text)).size / words.length : null,
      distinct_2: enough && pairs.length ? new Set(pairs.map((one) => `${one.follows} ${one.text}`)).size / pairs.length : null,
      loss: this.loss,
      iteration: state ? Math.min(1, (state.iteration + 1) / Math.max(1, state.num_total_iters)) : null,
      learning: round?.status === 'training' ? 1 : 0,
      progress: round && round.steps > 0 ? Math.min(1, round.step / round.steps) : 0,
      time: state && clock > 0 ? state.elapsed_seconds / clock : null,
      typing: this.typing.size > 0 ? 1 : 0,
      speaking: tokens.filter((one) => at - one.at < SPEED_SECONDS).length / SPEED_SECONDS,
      last_words: state?.phase === 'last_words' ? 1 : 0,
    };
  }

  private count(station: string, text: string): void {
    for (const word of wordsOf(text)) {
      this.words.push({ station, text: word, follows: this.last.get(station) ?? null });
      this.last.set(station, word);
    }
    if (this.words.length > WORDS) this.words.splice(0, this.words.length - WORDS);
  }
}

function withoutTail<One extends { station: string }>(all: One[], station: string): One[] {
  const end = all.findLastIndex((one) => one.station !== station);
  return all.slice(0, end + 1);
}

function mean(values: number[]): number | null {
  return values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : null;
}
