// What a browser tab remembers over a reload: its station, the language, the run, and the language that is waited for.  No word of a visitor is stored here.

const KEY = 'station';

export interface StationSession {
  station: string;
  language: string | null;
  run: string | null;
  /** The visitor waits for a run in this language. */
  awaits: string | null;
}

/** The tab's stored session; a tab without one becomes a new station. */
export function loadSession(): StationSession {
  const stored = sessionStorage.getItem(KEY);
  // A tab that was open while the pages were renewed may hold a session without the newest field.
  return stored ? { awaits: null, ...(JSON.parse(stored) as Omit<StationSession, 'awaits'>) } : newSession();
}

/** Make this tab a new station, with no language and no run, and store that. */
export function newSession(): StationSession {
  const session = { station: randomIdentifier(), language: null, run: null, awaits: null };
  saveSession(session);
  return session;
}

/** Store the session until the tab is closed. */
export function saveSession(session: StationSession): void {
  sessionStorage.setItem(KEY, JSON.stringify(session));
}

// crypto.randomUUID exists on https and localhost only; in an exhibition's network the page comes over plain http.
function randomIdentifier(): string {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}
