// The owner's messages to the desk as types: the counterparts of wmkml/protocol/desk.py.

import type { Exchange, NodeStatus, RunState } from '../lib/wire';

export interface NodeState {
  address: string;
  state: NodeStatus;
  reason: string;
  answers: number;
}

export interface DeskDials {
  temperature: number | null;
  visitor_temperature: number | null;
  learning_rate: number | null;
  minimum_iteration_time: number | null;
}

export interface DeskNewKey {
  name: string;
  key: string;
}

export interface DeskLight {
  name: 'owner' | 'inference' | 'worker' | 'stage';
  light: 'good' | 'busy' | 'trouble' | 'off';
  code: string;
  seconds: number | null;
  count: number;
}

export interface DeskLoss {
  iteration: number;
  step: number;
  loss: number;
}

/** Besides these fields, one for each of DESK_MEASURES; null where there is nothing to measure. */
export interface DeskMeasures {
  iteration: number;
  answers: number;
  [measure: string]: number | null;
}

export interface DeskOscHost {
  host: string;
  port: number;
  reachable: boolean;
}

export interface OscSent {
  address: string;
  at: number;
  values: (string | number)[];
}

export interface DeskGpu {
  name: string;
  used_gib: number;
  total_gib: number;
  busy: number | null;
}

export interface DeskMachine {
  disk_free_gib: number;
  disk_total_gib: number;
  memory_free_gib: number;
  memory_total_gib: number;
  gpus: DeskGpu[];
}

export interface DeskProblem {
  code: string;
  detail: string;
  since: number;
}

export interface DeskNotice {
  text: string;
  at: number | null;
}

export interface DeskState {
  at: number;
  run: RunState;
  lights: DeskLight[];
  holding: boolean;
  blank: boolean;
  hold_left_seconds: number | null;
  losses: DeskLoss[];
  measures: DeskMeasures[];
  dials_settings: DeskDials;
  dials_now: DeskDials;
  dials_turned: DeskDials;
  osc_hosts: DeskOscHost[];
  osc_sent: OscSent[];
  machine: DeskMachine;
  nodes: NodeState[];
  problems: DeskProblem[];
  notices: DeskNotice[];
}

export interface DeskReport {
  run: string;
  language: string;
  started_at: number;
  seconds: number;
  rounds: number;
  words: boolean;
  files: string[];
}

export interface DeskReports {
  count: number;
  reports: DeskReport[];
}

export interface DeskExchange extends Exchange {
  pair: number;
}

export interface DeskWords {
  exchanges: DeskExchange[];
}

/** A text of the doctor, in both languages of the desk. */
export interface DoctorText {
  de: string;
  en: string;
}

export interface DoctorFinding {
  check: string;
  outcome: string;
  mark: 'good' | 'warning' | 'bad' | 'unknown';
  title: DoctorText;
  text: DoctorText;
  means: DoctorText;
  mend: DoctorText;
  command: string;
  blocks: boolean;
  problem: string;
}

export interface DoctorReport {
  at: number;
  findings: DoctorFinding[];
}
