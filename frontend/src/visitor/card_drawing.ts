// The take-home card as a picture: the question, and below it each iteration's answer, the ink failing from line to line.
// Draws on a canvas alone; where the answers come from and where the picture goes is others' business.

import type { CardAnswer } from '../lib/wire';
import { decayOf, noise } from './shading';

export const WIDTH = 1240;
export const HEIGHT = 1748; // A5, 210 dots to the inch
const MARGIN = 96;
const SERIF = '"Literata Variable", Georgia, serif';
const SANS = '"Inter Variable", system-ui, sans-serif';
const PAPER = '#f4eee1';
const LARGEST = 50;
const SMALLEST = 15;

export interface Drawn {
  question: string;
  answers: CardAnswer[];
  rounds: number;
  /** What stands for an answer without a word. */
  silent: string;
  /** Below everything: what this is, and when. */
  foot: string;
}

/** Wait until the card's fonts are there; a canvas does not wait for them by itself. */
export async function fontsOfCard(): Promise<void> {
  const kinds = [`300 20px ${SERIF}`, `italic 400 20px ${SERIF}`, `500 20px ${SANS}`];
  await Promise.all(kinds.map((kind) => document.fonts.load(kind)));
}

/** Draw the card. */
export function draw(canvas: HTMLCanvasElement, card: Drawn): void {
  canvas.width = WIDTH;
  canvas.height = HEIGHT;
  const paint = canvas.getContext('2d');
  if (!paint) return;
  paint.fillStyle = PAPER;
  paint.fillRect(0, 0, WIDTH, HEIGHT);
  paint.textBaseline = 'alphabetic';
  const measure = (font: string) => (text: string) => {
    paint.font = font;
    return paint.measureText(text).width;
  };
  const width = WIDTH - 2 * MARGIN;

  const questionFont = (size: number) => `italic 400 ${size}px ${SERIF}`;
  const size = [58, 50, 42, 34].find((one) => wrapped(card.question, width, measure(questionFont(one))).length <= 3) ?? 28;
  const question = shortened(wrapped(card.question, width, measure(questionFont(size))), 4);
  paint.fillStyle = '#1d1a16';
  paint.font = questionFont(size);
  let y = MARGIN + size;
  for (const line of question) {
    paint.fillText(line, MARGIN, y);
    y += size * 1.25;
  }
  y += 12;
  paint.fillStyle = '#a8753a';
  paint.fillRect(MARGIN, y, 120, 2);
  y += 50;

  const left = MARGIN + 74;
  const room = HEIGHT - MARGIN - 40 - y;
  const [letter, blocks] = fitted(card, WIDTH - MARGIN - left, room, (one, weight) => measure(`${weight} ${one}px ${SERIF}`));
  const gap = Math.min(34, letter * 0.75);
  blocks.forEach((lines, row) => {
    const iteration = card.answers[row]?.iteration ?? -1;
    const decay = decayOf(iteration, card.rounds);
    paint.fillStyle = '#8a6434';
    paint.font = `500 ${Math.round(letter * 0.72)}px ${SANS}`;
    paint.fillText(String(iteration).replace('-', '−'), MARGIN, y + letter);
    for (const line of lines) {
      y += letter * 1.32;
      written(paint, line, left, y - letter * 0.32, letter, decay, row);
    }
    y += gap;
  });

  paint.fillStyle = '#6d6458';
  paint.font = `400 22px ${SANS}`;
  paint.fillText(card.foot, MARGIN, HEIGHT - MARGIN + 20);
}

/** The largest letters with which all answers have room, and the answers' lines; shortened where even the smallest have none. */
export function fitted(
  card: Drawn,
  width: number,
  room: number,
  measure: (size: number, weight: number) => (text: string) => number,
): [number, string[][]] {
  const texts = card.answers.map((one) => one.text.trim().replace(/\s+/gu, ' ') || card.silent);
  const lines = (size: number) =>
    texts.map((text, row) =>
      wrapped(text, width, measure(size, weightOf(decayOf(card.answers[row]?.iteration ?? -1, card.rounds)))),
    );
  const height = (size: number, blocks: string[][]) =>
    blocks.reduce((sum, block) => sum + block.length * size * 1.32 + Math.min(34, size * 0.75), 0);
  for (let size = LARGEST; size >= SMALLEST; size -= 1) {
    // Long answers are shortened before the letters become small.
    for (const most of size > 26 ? [99, 5] : [5, 4, 3, 2, 1]) {
      const blocks = lines(size).map((block) => shortened(block, most));
      if (height(size, blocks) <= room) return [size, blocks];
    }
  }
  return [SMALLEST, lines(SMALLEST).map((block) => shortened(block, 1))];
}

/** A text in lines of at most `width`; a word that is longer than a line is broken. */
export function wrapped(text: string, width: number, measure: (text: string) => number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(/\s+/u).filter(Boolean)) {
    const longer = line ? `${line} ${word}` : word;
    if (measure(longer) <= width) {
      line = longer;
      continue;
    }
    if (line) lines.push(line);
    line = '';
    for (const letter of word) {
      if (line && measure(line + letter) > width) {
        lines.push(line);
        line = '';
      }
      line += letter;
    }
  }
  if (line) lines.push(line);
  return lines;
}

function shortened(lines: string[], most: number): string[] {
  return lines.length <= most ? lines : [...lines.slice(0, most - 1), `${(lines[most - 1] ?? '').replace(/.{2}$/u, '')} …`];
}

function weightOf(decay: number): number {
  return Math.round(430 - 180 * decay);
}

// Word by word, each a little out of its place; letter by letter would take joined scripts apart.
function written(
  paint: CanvasRenderingContext2D,
  line: string,
  x: number,
  y: number,
  size: number,
  decay: number,
  row: number,
): void {
  paint.font = `${weightOf(decay)} ${size}px ${SERIF}`;
  let place = x;
  line.split(/( )/u).forEach((word, index) => {
    const seed = row * 97 + Math.round(y) + index;
    const loose = decay ** 1.5;
    paint.save();
    paint.translate(place + size * 0.06 * loose * noise(seed, 1), y + size * 0.2 * loose * noise(seed, 2));
    paint.rotate(0.06 * loose * noise(seed, 3));
    paint.fillStyle = `rgb(29 26 22 / ${1 - 0.42 * decay * (0.5 + 0.5 * Math.abs(noise(seed, 4)))})`;
    paint.fillText(word, 0, 0);
    paint.restore();
    place += paint.measureText(word).width;
  });
}
