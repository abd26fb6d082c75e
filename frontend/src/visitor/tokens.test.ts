import { describe, expect, it } from 'vitest';
import { cutAfter, textOf, tokensOf, wordBefore, wordsIn, type Token } from './tokens';

const tokens = (...texts: string[]): Token[] =>
  texts.map((text) => ({ text, probability: 0.5, alternatives: [], removed: false }));
const plain = (all: Token[]) => wordsIn(all).map((word) => [word.space, ...word.pieces.map((piece) => piece.text)]);

describe('the words of an answer', () => {
  it('are the same wherever the spaces came with', () => {
    expect(plain(tokens('Ein', ' Haus', ' aus', ' Wört', 'ern', '.'))).toEqual([
      ['', 'Ein'],
      [' ', 'Haus'],
      [' ', 'aus'],
      [' ', 'Wört', 'ern', '.'],
    ]);
    expect(plain(tokens('Ein ', 'Wört', 'ern. ', 'Und'))).toEqual([['', 'Ein'], [' ', 'Wört', 'ern.'], [' ', 'Und']]);
  });
  it('lose nothing', () => {
    const all = tokens('\n', ' a\n\n b', '', '  ', 'c', '\u00a0', '🏠');
    expect(plain(all).flat().join('')).toBe(textOf(all));
  });
  it('know the token of each of their pieces', () => {
    expect(wordsIn(tokens('a b', 'c')).map((word) => word.pieces.map((piece) => piece.token))).toEqual([[0], [0, 1]]);
  });
  it('are left whole where their letters join, or where they fill a line', () => {
    expect(wordsIn(tokens('Haus', ' مرحبا', ' שלום', ` ${'x'.repeat(31)}`)).map((word) => word.plainText)).toEqual([
      false,
      true,
      true,
      true,
    ]);
  });
});

describe('what stands before a token in its word', () => {
  it('is the word so far', () => {
    const all = tokens('aus', ' Wört', 'er', 'n', ' Und');
    expect(all.map((_, index) => wordBefore(all, index))).toEqual(['', '', 'Wört', 'Wörter', '']);
  });
});

describe('the cut at the end of a sentence', () => {
  it('counts characters as the owner does', () => {
    const all = cutAfter(tokens('Haus ', '🏠🏠', '. Und', ' dann'), 8);
    expect(all.map((token) => [token.text, token.removed])).toEqual([
      ['Haus ', false],
      ['🏠🏠', false],
      ['.', false],
      [' Und', true],
      [' dann', true],
    ]);
    expect(textOf(all)).toBe('Haus 🏠🏠.');
  });
  it('leaves a whole answer as it is', () => {
    const all = tokens('Ja', '.');
    expect(cutAfter(all, 3)).toEqual(all);
  });
});

describe('what the owner remembers', () => {
  const stored = (...texts: string[]) => texts.map((text) => ({ text, probability: 0.5, entropy: 1, alternatives: [] }));
  const exchange = (text: string, tokens: ReturnType<typeof stored>) => ({ prompt: '?', iteration: 0, text, tokens, help: '' });
  it('is drawn token by token, up to the cut', () => {
    const kept = tokensOf(exchange('Ein 🏠.', stored('Ein', '', ' 🏠', '. Und', ' dann')));
    expect(kept.map((token) => token.text)).toEqual(['Ein', ' 🏠', '.']);
    expect(kept.every((token) => token.probability === 0.5 && !token.removed)).toBe(true);
  });
  it('is plain without tokens, or with those of another text', () => {
    for (const tokens of [stored(), stored('Aus', ' Haus')]) {
      expect(tokensOf(exchange('Ein Haus', tokens))).toEqual([
        { text: 'Ein Haus', probability: null, alternatives: [], removed: false },
      ]);
    }
  });
});
