// What the desk hears from the owner, as types: the counterparts of the desk's messages in wmkml/wire.py.

import type { Exchange, RunState } from '../lib/wire';

export interface DeskDials {
  temperature: number | null;
  visitor_temperature: number | null;
  learning_rate: number | null;
  minimum_iteration_time: number | null;
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

export interface DeskMeasures {
  iteration: number;
  answers: number;
  distinct_2: number;
  repetition: number;
  entropy: number | null;
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
  problems: DeskProblem[];
  notices: DeskNotice[];
}

export interface DeskWords {
  exchanges: Exchange[];
}
