// An answer's tokens as words that can be set and clicked, and the cut at the answer's end.  Pure.

import type { Alternative, ShownExchange } from '../lib/wire';

export interface Token {
  text: string;
  /** Null where it is not known: the owner sends older exchanges without tokens. */
  probability: number | null;
  alternatives: Alternative[];
  /** After the cut at the last sentence's end: it fades and is then removed. */
  removed: boolean;
}

/** The part of a word that came with a token. */
export interface Piece {
  text: string;
  token: number;
}

/** A word and the white space before it. */
export interface Word {
  space: string;
  pieces: Piece[];
  /** Set as ordinary text, not piece by piece: its letters join, or it is long and may have to be broken. */
  plainText: boolean;
}

const MAX_WORD_LENGTH = 30; // characters; a longer word may not fit into a line
// Scripts whose letters join or stand above one another: set separately they look different.
const JOINED_SCRIPTS = /[\u0590-\u109f\u1780-\u17ff\ufb1d-\ufdff\ufe70-\ufeff]/;

/** The words of an answer. */
export function wordsIn(tokens: Token[]): Word[] {
  const words: Word[] = [];
  let current: Word | null = null;
  tokens.forEach(({ text }, token) => {
    for (const part of text.split(/(\s+)/u)) {
      if (!part) continue;
      if (/^\s/u.test(part)) {
        if (current && !current.pieces.length) current.space += part;
        else words.push((current = { space: part, pieces: [], plainText: false }));
      } else {
        if (!current) words.push((current = { space: '', pieces: [], plainText: false }));
        current.pieces.push({ text: part, token });
      }
    }
  });
  for (const word of words) {
    const text = word.pieces.map((piece) => piece.text).join('');
    word.plainText = text.length > MAX_WORD_LENGTH || JOINED_SCRIPTS.test(text);
  }
  return words;
}

/** The part of a token's word before the token, shown with its alternatives. */
export function wordBefore(tokens: Token[], index: number): string {
  if (/^\s/u.test(tokens[index]?.text ?? '')) return '';
  const before = tokens.slice(0, index).map((token) => token.text).join('');
  return /\S*$/u.exec(before)?.[0] ?? '';
}

/** An exchange's tokens as the owner stored them; where it has none, the whole text as a token of unknown probability. */
export function tokensOf({ text, tokens }: ShownExchange): Token[] {
  const stored = tokens.filter((token) => token.text).map(({ text, probability, alternatives }) => ({ text, probability, alternatives, removed: false }));
  const kept = cutAfter(stored, [...text].length).filter((token) => !token.removed);
  return textOf(kept) === text ? kept : [{ text, probability: null, alternatives: [], removed: false }];
}

/** The text without removed tokens. */
export function textOf(tokens: Token[]): string {
  return tokens.map((token) => (token.removed ? '' : token.text)).join('');
}

/**
 * Mark everything after so many characters as removed; a token across the cut becomes two.
 * Characters are code points, as the owner counts them in Python: what a string iterates over, not its length.
 */
export function cutAfter(tokens: Token[], characters: number): Token[] {
  let left = characters;
  return tokens.flatMap((token) => {
    const codePoints = [...token.text];
    const stays = Math.min(left, codePoints.length);
    left -= stays;
    if (stays === codePoints.length) return [token];
    const rest = { ...token, text: codePoints.slice(stays).join(''), removed: true };
    return stays ? [{ ...token, text: codePoints.slice(0, stays).join('') }, rest] : [rest];
  });
}
