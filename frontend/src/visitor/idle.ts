// Notices when nobody has touched the page for a while.

import { ACTIVITY_EVENTS } from '../lib/station';

const CHECK_MS = 250;
const COUNTDOWN_SECONDS = 15;

/**
 * Watch until the returned function is called.
 *
 * `limit` returns the seconds without activity after which `onIdle` is called, once each time; 0 means never.  In the last seconds
 * before, `onCountdown` is called with each whole number of seconds left, and with null when there is activity again.
 */
export function watchIdle(limit: () => number, onCountdown: (seconds: number | null) => void, onIdle: () => void): () => void {
  let lastActivity = performance.now();
  let countdown: number | null = null;
  const reset = () => {
    lastActivity = performance.now();
    if (countdown !== null) onCountdown((countdown = null));
  };
  const check = () => {
    const seconds = limit();
    if (!seconds) return reset();
    const left = seconds - (performance.now() - lastActivity) / 1000;
    if (left <= 0) {
      reset();
      onIdle();
    } else if (left <= Math.min(COUNTDOWN_SECONDS, seconds / 2)) {
      const whole = Math.ceil(left);
      if (whole !== countdown) onCountdown((countdown = whole));
    }
  };
  const options = { capture: true, passive: true };
  for (const name of ACTIVITY_EVENTS) window.addEventListener(name, reset, options);
  const timer = setInterval(check, CHECK_MS);
  return () => {
    clearInterval(timer);
    for (const name of ACTIVITY_EVENTS) window.removeEventListener(name, reset, options);
  };
}
