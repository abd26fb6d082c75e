// Notices when nobody has touched anything for a while.  Knows no run and no conversation.

const SIGNS = ['pointerdown', 'pointermove', 'keydown', 'wheel', 'touchstart', 'input'] as const;
const LOOK_MS = 250;

/**
 * Watch until the returned function is called.
 *
 * `seconds` says after how many it is over (0: never), `left` hears whole seconds that are left while it is about to be over and
 * null when it is not, `over` is called once each time it is.
 */
export function watchIdle(seconds: () => number, left: (seconds: number | null) => void, over: () => void): () => void {
  let touched = performance.now();
  let told: number | null = null;
  const touch = () => {
    touched = performance.now();
    if (told !== null) left((told = null));
  };
  const look = () => {
    const limit = seconds();
    if (!limit) return touch();
    const rest = limit - (performance.now() - touched) / 1000;
    if (rest <= 0) {
      touch();
      over();
    } else if (rest <= Math.min(15, limit / 2)) {
      const whole = Math.ceil(rest);
      if (whole !== told) left((told = whole));
    }
  };
  const options = { capture: true, passive: true };
  for (const sign of SIGNS) window.addEventListener(sign, touch, options);
  const timer = setInterval(look, LOOK_MS);
  return () => {
    clearInterval(timer);
    for (const sign of SIGNS) window.removeEventListener(sign, touch, options);
  };
}
