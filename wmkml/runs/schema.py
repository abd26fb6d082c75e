"""The tables of a run's database `run.sqlite`, and the classes of their rows.

This is the documented format of what a run leaves behind; any SQLite tool can open it.
"""

from __future__ import annotations

from dataclasses import dataclass

from wmkml.protocol.run_state import AdapterProof, Phase, RoundRecord, RoundStatus, Source

FORMAT = 1
"""Version of the tables below; stored in each database and in `run.json`."""

TABLES = """
CREATE TABLE IF NOT EXISTS run (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    format INTEGER NOT NULL,
    run TEXT NOT NULL,
    language TEXT NOT NULL,
    started_at REAL NOT NULL,      -- seconds since 1970
    phase TEXT NOT NULL,           -- seeding, running, last_words; waiting once the run is over
    phase_began REAL NOT NULL,     -- seconds since the run began
    iteration INTEGER NOT NULL,    -- the one that answers now; -1 is the base model
    clean INTEGER NOT NULL         -- 1 once inference has forgotten every earlier run
);
CREATE TABLE IF NOT EXISTS pairs (
    pair INTEGER PRIMARY KEY,
    source TEXT NOT NULL,          -- visitor, echo, persistent, dataset
    dataset TEXT,                  -- the dataset's name, where the source is a dataset
    station TEXT,                  -- of a visitor's pair and its echoes
    language TEXT NOT NULL,
    prompt TEXT NOT NULL,
    answer TEXT NOT NULL,          -- raw; its first `kept` characters are shown
    kept INTEGER NOT NULL,
    iteration INTEGER NOT NULL,    -- the one that answered; -2: human text (laboratory)
    live INTEGER NOT NULL,         -- 1: a live pair, which rounds choose from first
    for_round INTEGER,             -- of a dataset pair: the round it was answered for
    carried INTEGER NOT NULL,      -- 1: taken over from the run before
    entropy REAL,                  -- mean over its tokens, in nats, where known
    made_at REAL NOT NULL          -- seconds since 1970
);
CREATE INDEX IF NOT EXISTS pairs_of_station ON pairs (station, source);
CREATE TABLE IF NOT EXISTS tokens (
    pair INTEGER PRIMARY KEY,      -- of a visitor's pair
    tokens TEXT NOT NULL           -- JSON list: each token's text, probability, entropy in nats, and alternatives
);
CREATE TABLE IF NOT EXISTS rounds (
    iteration INTEGER PRIMARY KEY,
    status TEXT NOT NULL,          -- open, training, handed_in, held, accepted, skipped
    attempt INTEGER NOT NULL,
    learning_rate REAL NOT NULL,
    pairs TEXT NOT NULL,           -- JSON list of the pairs it trains on, repeats included
    seed INTEGER NOT NULL,
    began REAL NOT NULL,           -- seconds since the run began
    worker TEXT,
    session TEXT,
    step INTEGER NOT NULL,
    steps INTEGER NOT NULL,
    loss REAL,
    loss_first REAL,
    loss_last REAL,
    tokens INTEGER NOT NULL,
    train_seconds REAL NOT NULL,
    swap_seconds REAL,
    held_seconds REAL NOT NULL,
    path TEXT,                     -- of the adapter that was handed in
    sha256 TEXT,
    since_last_step REAL NOT NULL, -- seconds from the last optimizer step to the hand-in
    proof TEXT                     -- JSON: whether inference uses the adapter (`AdapterProof`)
);
CREATE TABLE IF NOT EXISTS adapters (
    iteration INTEGER PRIMARY KEY,
    path TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    from_round INTEGER NOT NULL,   -- 0: loaded by hand through /reload
    accepted_at REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS stations (
    station TEXT PRIMARY KEY,
    language TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS measures (
    iteration INTEGER NOT NULL,    -- the one that was measured, once
    name TEXT NOT NULL,            -- as in `docs/measures.md`
    value REAL,                    -- NULL: it could not be measured
    PRIMARY KEY (iteration, name)
);
CREATE TABLE IF NOT EXISTS layer_measures (
    iteration INTEGER NOT NULL,
    name TEXT NOT NULL,
    layer INTEGER NOT NULL,        -- of the model, from 0
    value REAL,
    PRIMARY KEY (iteration, name, layer)
);
CREATE TABLE IF NOT EXISTS hold (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    holding INTEGER NOT NULL       -- 1: the operator holds the language; no row: it was never held
);
CREATE TABLE IF NOT EXISTS waiting_echoes (
    pair INTEGER PRIMARY KEY       -- of a visitor's pair whose prompt waits for its echoes, or is being echoed
);
"""

ADDED_COLUMNS = {"rounds": {"proof": "TEXT"}}
"""Columns that databases of earlier versions lack, by table; added when such a database is opened."""


@dataclass
class RunRow:
    """The only row of `run`; times as in the table."""

    run: str
    language: str
    started_at: float
    phase: Phase
    phase_began: float
    iteration: int
    clean: bool


@dataclass(frozen=True)
class NewPair:
    """A pair to store; the fields are columns of `pairs`."""

    source: Source
    language: str
    prompt: str
    answer: str
    kept: int
    iteration: int
    live: bool
    station: str | None = None
    dataset: str | None = None
    for_round: int | None = None
    carried: bool = False
    entropy: float | None = None


@dataclass(frozen=True)
class WaitingEcho:
    """A visitor's prompt that waits for its echoes; `pair`: the number of the visitor's pair."""

    pair: int
    language: str
    prompt: str
    station: str = ""


@dataclass
class Round:
    """A row of `rounds`; `record()` is the public part."""

    iteration: int
    status: RoundStatus
    attempt: int
    learning_rate: float
    pairs: list[int]
    seed: int
    began: float
    worker: str | None = None
    session: str | None = None
    step: int = 0
    steps: int = 0
    loss: float | None = None
    loss_first: float | None = None
    loss_last: float | None = None
    tokens: int = 0
    train_seconds: float = 0.0
    swap_seconds: float | None = None
    held_seconds: float = 0.0
    path: str | None = None
    sha256: str | None = None
    since_last_step: float = 0.0
    proof: AdapterProof | None = None

    def record(self) -> RoundRecord:
        """The round as the protocol publishes it."""
        public = {name: getattr(self, name) for name in RoundRecord.model_fields if name != "samples"}
        return RoundRecord(samples=len(self.pairs), **public)


@dataclass(frozen=True)
class AcceptedAdapter:
    """An adapter that was accepted in this run; `from_round` False: loaded by hand through `/reload`."""

    iteration: int
    path: str
    sha256: str
    from_round: bool
