// The places of words: in rings around a sphere, filled in a scattered order, so that it fills everywhere at once.

export interface Places {
  /** x, y, z of each place, in the order in which they are filled. */
  directions: Float32Array;
  count: number;
  /** The letters' size on a sphere of radius 1, and a place's width in em. */
  em: number;
  width: number;
}

const ASPECT = 2.75; // a place's width to its ring's height
const LEADING = 1.5; // a ring's height in em

/** Places for about so many words. */
export function placesFor(words: number): Places {
  const height = Math.sqrt((4 * Math.PI) / (words * ASPECT));
  const rings = Math.round(Math.PI / height);
  const positions: [number, number, number][] = [];
  for (let ring = 0; ring < rings; ring += 1) {
    const polar = ((ring + 0.5) / rings) * Math.PI;
    const placesInRing = Math.max(1, Math.floor((2 * Math.PI * Math.sin(polar)) / (height * ASPECT)));
    for (let place = 0; place < placesInRing; place += 1) {
      const angle = ((place + ring * 0.381966) / placesInRing) * 2 * Math.PI;
      positions.push([Math.sin(polar) * Math.sin(angle), Math.cos(polar), Math.sin(polar) * Math.cos(angle)]);
    }
  }
  // The shuffle is the same each time, so that the sphere looks the same after a change of tier.
  const random = seededRandom(7);
  for (let at = positions.length - 1; at > 0; at -= 1) {
    const other = Math.floor(random() * (at + 1));
    [positions[at], positions[other]] = [positions[other]!, positions[at]!];
  }
  return { directions: new Float32Array(positions.flat()), count: positions.length, em: height / LEADING, width: ASPECT * LEADING };
}

/** Numbers from 0 to 1 that are the same for the same seed (mulberry32). */
export function seededRandom(seed: number): () => number {
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
