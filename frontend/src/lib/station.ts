// What a browser tab remembers over a reload: its station, the language, the run, and the language that is waited for.  No word of a visitor is stored here.

const KEY = 'station';
const TOUCHED_KEY = 'touched';
const TOUCHED_STEP_MS = 1000; // how exactly the last touch is known

/** What counts as a touch of a page. */
export const ACTIVITY_EVENTS = ['pointerdown', 'pointermove', 'keydown', 'wheel', 'touchstart', 'input'] as const;

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
  rememberTouch();
  return session;
}

/** Store the session until the tab is closed. */
export function saveSession(session: StationSession): void {
  sessionStorage.setItem(KEY, JSON.stringify(session));
}

/** Remember that this tab was touched now. */
export function rememberTouch(): void {
  const now = Date.now();
  if (Math.abs(now - Number(sessionStorage.getItem(TOUCHED_KEY))) >= TOUCHED_STEP_MS) sessionStorage.setItem(TOUCHED_KEY, String(now));
}

/** Seconds since this tab was touched on any page that remembers it; 0 where nothing is known. */
export function secondsUntouched(): number {
  const touched = sessionStorage.getItem(TOUCHED_KEY);
  return touched === null ? 0 : (Date.now() - Number(touched)) / 1000;
}

/** Remember touches until the returned function is called. */
export function rememberTouches(): () => void {
  const options = { capture: true, passive: true };
  for (const name of ACTIVITY_EVENTS) window.addEventListener(name, rememberTouch, options);
  return () => {
    for (const name of ACTIVITY_EVENTS) window.removeEventListener(name, rememberTouch, options);
  };
}

// crypto.randomUUID exists on https and localhost only; in an exhibition's network the page comes over plain http.
function randomIdentifier(): string {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}
