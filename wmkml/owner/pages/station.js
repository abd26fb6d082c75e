// Which station this browser tab is, in which language, and in which run: all that a tab remembers over a reload.
// No word of a visitor is kept here.

const KEY = 'station';

/** {station, language, run}; a tab without one becomes a new station. */
export function station() {
  const kept = sessionStorage.getItem(KEY);
  if (kept) return JSON.parse(kept);
  const made = { station: identity(), language: null, run: null };
  keep(made);
  return made;
}

/** Remember it until the tab is closed. */
export function keep(one) {
  sessionStorage.setItem(KEY, JSON.stringify(one));
}

// crypto.randomUUID exists on https and localhost only; in an exhibition's network the page comes over plain http.
function identity() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}
