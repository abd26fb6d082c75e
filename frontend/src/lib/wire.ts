// What the owner says, as types: the counterparts of wmkml/wire.py and wmkml/owner/telling.py.  tests/test_frontend.py compares names.

export type Phase = 'waiting' | 'seeding' | 'running' | 'last_words';
export type RoundStatus = 'open' | 'training' | 'handed_in' | 'held' | 'accepted' | 'skipped';

export interface RoundRecord {
  iteration: number;
  status: RoundStatus;
  attempt: number;
  learning_rate: number;
  samples: number;
  step: number;
  steps: number;
  loss: number | null;
  tokens: number;
  train_seconds: number;
  swap_seconds: number | null;
  held_seconds: number;
  loss_first: number | null;
  loss_last: number | null;
}

export interface RunState {
  run: string | null;
  phase: Phase;
  language: string | null;
  languages: string[];
  iteration: number;
  num_total_iters: number;
  elapsed_seconds: number;
  time_left_seconds: number | null;
  round: RoundRecord | null;
  rounds: RoundRecord[];
  pairs: Record<string, number>;
  stations: number;
  inference: 'ready' | 'away';
  worker: 'ready' | 'training' | 'away';
  model: string;
  engine: string;
  keep_runs: boolean;
  log_visitor_words: boolean;
  carries_words: boolean;
  osc: boolean;
  idle_seconds: number;
  notices: string[];
}

export interface ChatStart {
  iteration: number;
  restarted: boolean;
}

/** A token that was not said; no text: the answer would have ended there. */
export interface Alternative {
  text: string;
  probability: number;
}

export interface ChatToken {
  text: string;
  probability: number;
  entropy: number;
  alternatives: Alternative[];
}

export interface ChatEnd {
  iteration: number;
  pair: number;
  kept: number;
  text: string;
}

export interface Exchange {
  prompt: string;
  text: string;
  iteration: number;
}

export interface ShownExchange {
  prompt: string;
  text: string;
  iteration: number;
  tokens: ChatToken[];
}

export interface StationWords {
  language: string | null;
  exchanges: ShownExchange[];
}

export interface CardBegins {
  prompt: string;
  language: string;
  iterations: number[];
}

export interface CardAnswer {
  iteration: number;
  text: string;
}

export interface CardEnd {
  answers: number;
}

export interface SwapEvent {
  iteration: number;
  swap_seconds: number;
  held_seconds: number;
}

export interface RunTold {
  run: string;
  language: string;
}

export interface PromptTold {
  station: string;
  text: string;
}

export interface IterationTold {
  station: string;
  iteration: number;
  restarted: boolean;
}

export interface TokenTold {
  station: string;
  text: string;
  probability: number;
  entropy: number;
  iteration: number;
}

export interface ResponseTold {
  station: string;
  text: string;
  iteration: number;
}

export interface PastTold {
  events: number;
}

export interface TypingTold {
  station: string;
  status: string;
}

export interface NoticeTold {
  text: string;
}

export interface StageTold {
  blank: boolean;
}

export interface RuntimeTold {
  version: number;
  problems: string[];
}

/** The event stream's names, and the data of each. */
export interface Events {
  state: RunState;
  run_started: RunTold;
  last_words: RunTold;
  run_end: RunTold;
  round: RoundRecord;
  swap: SwapEvent;
  prompt: PromptTold;
  start: IterationTold;
  token: TokenTold;
  response: ResponseTold;
  typing: TypingTold;
  past: PastTold;
  notice: NoticeTold;
  stage: StageTold;
  stage_runtime: RuntimeTold;
}
