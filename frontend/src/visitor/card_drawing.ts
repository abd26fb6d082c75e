// Draws the take-home card on a canvas: the question, and below it each iteration's answer, fainter and less straight the later
// the iteration.

import type { CardAnswer } from '../lib/wire';
import { decayOf, noise } from './shading';

export const WIDTH = 1240;
export const HEIGHT = 1748; // A5, 210 dots to the inch
const MARGIN = 96;
const SERIF = '"Literata Variable", Georgia, serif';
const SANS = '"Inter Variable", system-ui, sans-serif';
const PAPER = '#f4eee1';
const LARGEST_LETTERS = 50;
const SMALLEST_LETTERS = 15;

export interface CardContent {
  question: string;
  answers: CardAnswer[];
  rounds: number;
  /** What was measured of the iterations' lives. */
  lives: Record<string, number>;
  /** What is written for an answer without a word. */
  emptyAnswer: string;
  /** The line at the bottom: the title and the date. */
  foot: string;
}

/** Load the card's fonts; a canvas does not wait for them by itself. */
export async function loadCardFonts(): Promise<void> {
  const fonts = [`300 20px ${SERIF}`, `italic 400 20px ${SERIF}`, `500 20px ${SANS}`];
  await Promise.all(fonts.map((font) => document.fonts.load(font)));
}

export function drawCard(canvas: HTMLCanvasElement, card: CardContent): void {
  canvas.width = WIDTH;
  canvas.height = HEIGHT;
  const context = canvas.getContext('2d');
  if (!context) return;
  context.fillStyle = PAPER;
  context.fillRect(0, 0, WIDTH, HEIGHT);
  context.textBaseline = 'alphabetic';
  const measure = (font: string) => (text: string) => {
    context.font = font;
    return context.measureText(text).width;
  };
  const width = WIDTH - 2 * MARGIN;

  const questionFont = (size: number) => `italic 400 ${size}px ${SERIF}`;
  const size = [58, 50, 42, 34].find((candidate) => wrapText(card.question, width, measure(questionFont(candidate))).length <= 3) ?? 28;
  const question = shorten(wrapText(card.question, width, measure(questionFont(size))), 4);
  context.fillStyle = '#1d1a16';
  context.font = questionFont(size);
  let y = MARGIN + size;
  for (const line of question) {
    context.fillText(line, MARGIN, y);
    y += size * 1.25;
  }
  y += 12;
  context.fillStyle = '#a8753a';
  context.fillRect(MARGIN, y, 120, 2);
  y += 50;

  const left = MARGIN + 74;
  const height = HEIGHT - MARGIN - 40 - y;
  const [letter, blocks] = fitAnswers(card, WIDTH - MARGIN - left, height, (letterSize, weight) => measure(`${weight} ${letterSize}px ${SERIF}`));
  const gap = Math.min(34, letter * 0.75);
  blocks.forEach((lines, row) => {
    const iteration = card.answers[row]?.iteration ?? -1;
    const decay = decayOf(iteration, card.rounds, card.lives);
    context.fillStyle = '#8a6434';
    context.font = `500 ${Math.round(letter * 0.72)}px ${SANS}`;
    context.fillText(String(iteration).replace('-', '−'), MARGIN, y + letter);
    for (const line of lines) {
      y += letter * 1.32;
      drawLine(context, line, left, y - letter * 0.32, letter, decay, row);
    }
    y += gap;
  });

  context.fillStyle = '#6d6458';
  context.font = `400 22px ${SANS}`;
  context.fillText(card.foot, MARGIN, HEIGHT - MARGIN + 20);
}

/** The largest letter size with which all answers fit into `height`, and the lines of each; long answers are shortened. */
export function fitAnswers(
  card: CardContent,
  width: number,
  height: number,
  measure: (size: number, weight: number) => (text: string) => number,
): [number, string[][]] {
  const texts = card.answers.map(({ text }) => text.trim().replace(/\s+/gu, ' ') || card.emptyAnswer);
  const lines = (size: number) =>
    texts.map((text, row) =>
      wrapText(text, width, measure(size, weightOf(decayOf(card.answers[row]?.iteration ?? -1, card.rounds, card.lives)))),
    );
  const heightOf = (size: number, blocks: string[][]) =>
    blocks.reduce((sum, block) => sum + block.length * size * 1.32 + Math.min(34, size * 0.75), 0);
  for (let size = LARGEST_LETTERS; size >= SMALLEST_LETTERS; size -= 1) {
    // Long answers are shortened before the letters become small.
    for (const maxLines of size > 26 ? [99, 5] : [5, 4, 3, 2, 1]) {
      const blocks = lines(size).map((block) => shorten(block, maxLines));
      if (heightOf(size, blocks) <= height) return [size, blocks];
    }
  }
  return [SMALLEST_LETTERS, lines(SMALLEST_LETTERS).map((block) => shorten(block, 1))];
}

/** A text in lines of at most `width`; a word that is longer than a line is broken. */
export function wrapText(text: string, width: number, measure: (text: string) => number): string[] {
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

/** The lines, at most `maxLines` of them; the last one ends with … where some are left out. */
function shorten(lines: string[], maxLines: number): string[] {
  return lines.length <= maxLines ? lines : [...lines.slice(0, maxLines - 1), `${(lines[maxLines - 1] ?? '').replace(/.{2}$/u, '')} …`];
}

function weightOf(decay: number): number {
  return Math.round(430 - 180 * decay);
}

/** Draw a line word by word, each a little out of its place.  Not letter by letter: that would take joined scripts apart. */
function drawLine(
  context: CanvasRenderingContext2D,
  line: string,
  x: number,
  y: number,
  size: number,
  decay: number,
  row: number,
): void {
  context.font = `${weightOf(decay)} ${size}px ${SERIF}`;
  let place = x;
  line.split(/( )/u).forEach((word, index) => {
    const seed = row * 97 + Math.round(y) + index;
    const looseness = decay ** 1.5;
    context.save();
    context.translate(place + size * 0.06 * looseness * noise(seed, 1), y + size * 0.2 * looseness * noise(seed, 2));
    context.rotate(0.06 * looseness * noise(seed, 3));
    context.fillStyle = `rgb(29 26 22 / ${1 - 0.42 * decay * (0.5 + 0.5 * Math.abs(noise(seed, 4)))})`;
    context.fillText(word, 0, 0);
    context.restore();
    place += context.measureText(word).width;
  });
}
