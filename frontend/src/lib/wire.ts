// The owner's messages to the pages as types: the counterparts of wmkml/protocol.  tests/frontend/test_sources.py compares names.

export type Phase = 'waiting' | 'seeding' | 'running' | 'last_words';
export type RoundStatus = 'open' | 'training' | 'handed_in' | 'held' | 'accepted' | 'skipped';

export type NodeStatus = 'away' | 'joining' | 'answers' | 'refused';

export interface AdapterProof {
  verdict: 'proved' | 'unproved' | 'failed';
  compared: 'values' | 'changes';
  distance: number | null;
  to_previous: number | null;
  to_base: number | null;
  moved: number;
  noise: number | null;
}

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
  proof: AdapterProof | null;
}

/** Whether visitors may talk.  Times in seconds since 1970; null: never, or when the operator says so. */
export interface OpeningState {
  open: boolean;
  next_change: number | null;
  decision: 'hours' | 'open' | 'closed';
  panic: boolean;
  farewell: boolean;
}

/** What was measured of one iteration.  Null: it could not be measured. */
export interface IterationMeasures {
  iteration: number;
  values: Record<string, number | null>;
  /** A value for each of the model's layers, from the first. */
  layers: Record<string, (number | null)[]>;
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
  nodes: NodeStatus[];
  worker: 'ready' | 'training' | 'away';
  model: string;
  engine: string;
  keep_runs: boolean;
  log_visitor_words: boolean;
  carries_words: boolean;
  osc: boolean;
  autopsy: boolean; // everybody may ask every iteration now
  idle_seconds: number;
  opening: OpeningState;
  /** By name: of the newest answers, at the round's start; of what is measured once of an iteration, the newest value. */
  measures: Record<string, number>;
  /** Of the iteration that answers; null: nothing yet. */
  measured: IterationMeasures | null;
  /** How much of the newborn language is left, 1 to 0, as it is shown now; null: not measured. */
  life: number | null;
  /** What was measured of it, by iteration. */
  lives: Record<string, number>;
  notices: string[];
  legal_pages: ('privacy' | 'imprint')[];
}

/** The prompt waits for its turn: so many others are answered before it. */
export interface ChatQueued {
  before: number;
}

export interface ChatStart {
  iteration: number;
  restarted: boolean;
  help: string; // a line of help to show with the answer; mostly empty
}

/** A token that was likely in the place of the chosen one.  Without a text, it is the end of the answer. */
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
  adapter: string; // sha256 of the weights that answered; empty: the base model's alone
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
  help: string;
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

export interface AutopsySelves {
  run: string;
  model: string;
  language: string;
  languages: string[];
  iterations: number[];
  rounds: number;
  kept: boolean;
}

/** A token that may come next.  Without a text, the answer ends there. */
export interface CandidateToken {
  id: number;
  text: string;
  probability: number;
}

export interface AutopsyToken {
  iteration: number;
  id: number;
  text: string;
  probability: number;
  entropy: number;
  likeliest: CandidateToken[];
}

export interface AutopsyAnswerEnd {
  iteration: number;
  finish: 'stop' | 'length' | null;
  trouble: string;
}

export interface NextTokens {
  iteration: number;
  likeliest: CandidateToken[];
  beyond: number;
  entropy: number;
  base_probability: number;
  base_rank: number | null;
}

export interface AutopsyNext {
  position: number;
  base: CandidateToken;
  selves: NextTokens[];
}

export interface SwapEvent {
  iteration: number;
  swap_seconds: number;
  held_seconds: number;
}

export interface RunEvent {
  run: string;
  language: string;
}

export interface PromptEvent {
  station: string;
  text: string;
}

export interface AnswerStartEvent {
  station: string;
  iteration: number;
  restarted: boolean;
}

export interface TokenEvent {
  station: string;
  text: string;
  probability: number;
  entropy: number;
  iteration: number;
}

export interface ResponseEvent {
  station: string;
  text: string;
  iteration: number;
}

export interface RollingEvent {
  values: Record<string, number>;
}

export interface PastEvent {
  events: number;
}

export interface TypingEventData {
  station: string;
  status: string;
}

export interface NoticeEvent {
  text: string;
}

export interface StageEvent {
  blank: boolean;
}

export interface StageRuntimeEvent {
  version: number;
  problems: string[];
}

export interface LifeEvent {
  life: number;
}

export interface ForgetReply {
  pairs: number;
  learned: boolean;
}

export interface ForgottenEvent {
  station: string;
}

/** The names of the event stream's events, and the data of each. */
export interface Events {
  state: RunState;
  run_started: RunEvent;
  last_words: RunEvent;
  run_end: RunEvent;
  round: RoundRecord;
  measures: IterationMeasures;
  rolling: RollingEvent;
  life: LifeEvent;
  swap: SwapEvent;
  prompt: PromptEvent;
  start: AnswerStartEvent;
  token: TokenEvent;
  response: ResponseEvent;
  typing: TypingEventData;
  past: PastEvent;
  notice: NoticeEvent;
  stage: StageEvent;
  stage_runtime: StageRuntimeEvent;
  forgotten: ForgottenEvent;
}
