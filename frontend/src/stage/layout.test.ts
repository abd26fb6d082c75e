import { describe, expect, it } from 'vitest';
import { LineLayout, MapLayout, SCENE_HALF, keyOf, sceneWidth, type Spot } from './layout';
import { seededRandom } from './places';
import { Replay, parseRecording, secondOf, type RecordedEvent } from './replay';
import { TIERS } from './tiers';

const ASPECTS = [16 / 9, 4 / 3, 9 / 16];
const random = seededRandom(3);
const WORDS = Array.from({ length: 900 }, () => {
  const letters = 1 + Math.floor(random() * 12);
  const text = Array.from({ length: letters }, () => 'abcdefghijklmnopqrstuvwxyzäöü'[Math.floor(random() * random() * 29)]).join('');
  return { text, width: letters * (0.3 + 0.4 * random()) };
});

interface Box {
  left: number;
  right: number;
  y: number;
}

/** Where words stand after all of them were placed, each at its place until another replaces it. */
function standing(place: (id: number, text: string, width: number) => Spot | null, em: number, after: (boxes: Map<number, Box>) => void): Map<number, Box> {
  const boxes = new Map<number, Box>();
  for (const [id, { text, width }] of WORDS.entries()) {
    const spot = place(id, text, width);
    for (const gone of spot?.replaced ?? []) boxes.delete(gone);
    if (spot && spot.y > -2) boxes.set(id, { left: spot.x, right: spot.x + width * em, y: spot.y });
    if (id % 90 === 0) after(boxes);
  }
  return boxes;
}

function expectApart(boxes: Map<number, Box>, height: number): void {
  const all = [...boxes.values()];
  const touch = (box: Box, other: Box) => Math.abs(box.y - other.y) < height - 1e-9 && box.left < other.right && other.left < box.right;
  expect(all.filter((box, at) => all.some((other, number) => number > at && touch(box, other)))).toEqual([]);
}

describe('layout', () => {
  it.each(ASPECTS)('keeps words of lines apart, within the scene, and fills it (%f)', (aspect) => {
    for (const { body, page } of [TIERS.low, TIERS.ultra]) {
      for (const layout of [LineLayout.body(body, aspect), LineLayout.page(page, aspect)]) {
        const boxes = standing((id, _, width) => layout.place(id, width), layout.em, (some) => expectApart(some, 1.2 * layout.em));
        const all = [...boxes.values()];
        expect(Math.max(...all.map((box) => Math.max(-box.left, box.right)))).toBeGreaterThan(0.8 * sceneWidth(aspect));
        expect(Math.max(...all.map((box) => Math.abs(box.y))) + layout.em).toBeGreaterThan(0.8 * SCENE_HALF);
        if (aspect > 1) expect(all.every((box) => Math.max(-box.left, box.right) <= sceneWidth(aspect) + 1e-9)).toBe(true);
      }
    }
  });

  it.each(ASPECTS)('keeps words of the map apart, and each at its place (%f)', (aspect) => {
    const map = new MapLayout(aspect, 0.1);
    const boxes = standing((id, text, width) => map.place(id, text, width), 0.1, (some) => expectApart(some, 0.12));
    expect(boxes.size).toBeGreaterThan(aspect > 1 ? 40 : 10);
    expect(boxes.has(WORDS.length - 1), 'the newest has a place, however full the map is').toBe(true);
    const first = map.place(5000, 'Haus.', 2.5)!;
    const again = map.place(5001, 'haus', 2.2)!;
    expect([again.y, again.replaced]).toEqual([first.y, [5000]]);
    expect(Math.abs(again.x - first.x)).toBeLessThan(0.1);
    expect(keyOf('„Haus,“')).toBe('haus');
  });

  it('leaves nothing on the map of a language but the words that are still used', () => {
    const map = new MapLayout(16 / 9, 0.1);
    for (const [id, { text, width }] of WORDS.entries()) map.place(id, text, width);
    const healthy = map.size;
    for (let id = 1000; id < 1400; id += 1) map.place(id, ['ist', 'ein'][id % 2]!, 1.5);
    expect(healthy).toBeGreaterThan(20);
    expect(map.size).toBe(2);
  });
});

const STATE = { run: 'r', iteration: -1 };
const RECORDED: RecordedEvent[] = [
  [0, 'run_started', { run: 'r' }],
  [1, 'state', STATE],
  [2, 'prompt', { station: 'a', text: 'one' }],
  [20, 'swap', { iteration: 0 }],
  [22, 'token', { station: 'a', text: 'x' }],
  [30, 'swap', { iteration: 1 }],
  [44, 'run_end', { run: 'r' }],
];

describe('replay', () => {
  const play = (at: number, speed: number) => {
    const fed: string[] = [];
    const replay = new Replay(RECORDED, at, speed, (name) => fed.push(name), () => fed.push('sought'));
    return { fed, replay };
  };

  it('finds an iteration and a part of it', () => {
    expect([-1, -0.5, 0, 0.5, 1, 1.5, 7.5].map((at) => secondOf(RECORDED, at))).toEqual([0, 10, 20, 25, 30, 37, 37]);
    expect(parseRecording('[1,"state",{}]\n\n[2,"round",{}]\n')).toEqual([[1, 'state', {}], [2, 'round', {}]]);
  });

  it('begins with what was before as past, goes on at its speed, and begins again after its end', () => {
    const { fed, replay } = play(0, 4);
    expect(fed).toEqual(['run_started', 'state', 'past', 'prompt', 'state', 'sought']);
    replay.advance(0.4);
    expect(fed.slice(6)).toEqual(['swap']);
    replay.advance(5.7);
    expect(fed.slice(6)).toEqual(['swap', 'token', 'swap', 'run_end']);
    replay.advance(13);
    expect(fed.at(-1)).toBe('sought');
  });
});
