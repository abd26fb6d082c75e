// Where words live on the body: rows of places around a sphere, filled in a scattered order, so that it grows everywhere at once.

export interface Places {
  /** x, y, z of each place, in the order in which they are filled. */
  directions: Float32Array;
  count: number;
  /** The letters' size on a body of radius 1, and a place's width in em. */
  em: number;
  width: number;
}

const ASPECT = 2.75; // a place's width to a row's height
const LEADING = 1.5; // a row's height in em

export function placesFor(words: number): Places {
  const row = Math.sqrt((4 * Math.PI) / (words * ASPECT));
  const rows = Math.round(Math.PI / row);
  const found: [number, number, number][] = [];
  for (let one = 0; one < rows; one += 1) {
    const polar = ((one + 0.5) / rows) * Math.PI;
    const around = Math.max(1, Math.floor((2 * Math.PI * Math.sin(polar)) / (row * ASPECT)));
    for (let place = 0; place < around; place += 1) {
      const angle = ((place + one * 0.381966) / around) * 2 * Math.PI;
      found.push([Math.sin(polar) * Math.sin(angle), Math.cos(polar), Math.sin(polar) * Math.cos(angle)]);
    }
  }
  // A shuffle that is the same each time, so that a body made anew looks like itself.
  const random = seeded(7);
  for (let at = found.length - 1; at > 0; at -= 1) {
    const other = Math.floor(random() * (at + 1));
    [found[at], found[other]] = [found[other]!, found[at]!];
  }
  return { directions: new Float32Array(found.flat()), count: found.length, em: row / LEADING, width: ASPECT * LEADING };
}

/** Numbers from 0 to 1 that are the same for the same seed (mulberry32). */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

/** A word as a number from 0 to 1, the same for the same word whatever its case. */
export function hashOf(text: string): number {
  let hash = 2166136261;
  for (const letter of text.toLowerCase()) hash = Math.imul(hash ^ letter.codePointAt(0)!, 16777619);
  return ((hash ^ (hash >>> 15)) >>> 0) / 4294967296;
}
