// Which station this browser tab is, in which language, and in which run: all that a tab remembers over a reload.
// No word of a visitor is kept here.

const KEY = 'station';

export interface Station {
  station: string;
  language: string | null;
  run: string | null;
}

/** What this tab remembers; a tab that remembers nothing becomes a new station. */
export function station(): Station {
  const kept = sessionStorage.getItem(KEY);
  return kept ? (JSON.parse(kept) as Station) : renewed();
}

/** A new station in this tab, as if nobody had been here. */
export function renewed(): Station {
  const made = { station: identity(), language: null, run: null };
  keep(made);
  return made;
}

/** Remember it until the tab is closed. */
export function keep(one: Station): void {
  sessionStorage.setItem(KEY, JSON.stringify(one));
}

// crypto.randomUUID exists on https and localhost only; in an exhibition's network the page comes over plain http.
function identity(): string {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}
