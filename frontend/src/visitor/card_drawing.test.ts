import { describe, expect, it } from 'vitest';
import { fitAnswers, wrapText } from './card_drawing';

const measure = (size: number) => (text: string) => [...text].length * size * 0.5;
const card = (texts: string[]) => ({
  question: 'Was bleibt?',
  answers: texts.map((text, index) => ({ iteration: index - 1, text })),
  rounds: 9,
  lives: {},
  emptyAnswer: '(nichts)',
  foot: '',
});
const height = ([size, blocks]: [number, string[][]]) =>
  blocks.reduce((sum, block) => sum + block.length * size * 1.32 + Math.min(34, size * 0.75), 0);

describe('lines of a card', () => {
  it('are no longer than they may be, and lose no word', () => {
    const lines = wrapText('Eine Sprache ist ein Haus aus Wörtern.', 10, (text) => text.length);
    expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(10);
    expect(lines.join(' ')).toBe('Eine Sprache ist ein Haus aus Wörtern.');
  });
  it('break a word that is longer than a line', () => {
    expect(wrapText('hauswort', 3, (text) => text.length)).toEqual(['hau', 'swo', 'rt']);
  });
});

describe('the room on a card', () => {
  it('is enough for ten short answers, in large letters and whole', () => {
    const [size, blocks] = fitAnswers(card(Array(10).fill('Ein Haus aus Wörtern.')), 974, 1200, measure);
    expect(size).toBeGreaterThan(30);
    expect(blocks.flat().join(' ')).not.toContain('…');
  });
  it('is enough for ten very long ones too', () => {
    const fit = fitAnswers(card(Array(10).fill('wort '.repeat(256))), 974, 1200, measure);
    expect(height(fit)).toBeLessThanOrEqual(1200);
    expect(fit[1].every((block) => block.length > 0)).toBe(true);
  });
  it('shows an answer without a word as such', () => {
    expect(fitAnswers(card([' ']), 974, 1200, measure)[1]).toEqual([['(nichts)']]);
  });
});
