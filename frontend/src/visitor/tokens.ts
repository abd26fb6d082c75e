// From the tokens of an answer to the words one sees and touches, and what is cut away at its end.  Pure text; knows no page.

import type { Alternative, ShownExchange } from '../lib/wire';

export interface Token {
  text: string;
  /** Null where it is not known, as in what was said long ago. */
  probability: number | null;
  alternatives: Alternative[];
  /** Past the end of the last sentence: it fades and goes. */
  gone: boolean;
}

/** A part of a word that came with one token. */
export interface Piece {
  text: string;
  token: number;
}

/** White space, and the word behind it. */
export interface Word {
  space: string;
  pieces: Piece[];
  /** Its letters need one another, or it is too long for one line: it must be set as ordinary text. */
  whole: boolean;
}

const LONGEST = 30;
// Scripts whose letters join or stand above one another: taken apart, they are other letters.
const JOINED = /[\u0590-\u109f\u1780-\u17ff\ufb1d-\ufdff\ufe70-\ufeff]/;

/** The words of an answer. */
export function wordsIn(tokens: Token[]): Word[] {
  const words: Word[] = [];
  let current: Word | null = null;
  tokens.forEach(({ text }, token) => {
    for (const part of text.split(/(\s+)/u)) {
      if (!part) continue;
      if (/^\s/u.test(part)) {
        if (current && !current.pieces.length) current.space += part;
        else words.push((current = { space: part, pieces: [], whole: false }));
      } else {
        if (!current) words.push((current = { space: '', pieces: [], whole: false }));
        current.pieces.push({ text: part, token });
      }
    }
  });
  for (const word of words) {
    const text = word.pieces.map((piece) => piece.text).join('');
    word.whole = text.length > LONGEST || JOINED.test(text);
  }
  return words;
}

/** What stands before a token in its word: as much as one must see to understand what else might have followed. */
export function headOf(tokens: Token[], index: number): string {
  if (/^\s/u.test(tokens[index]?.text ?? '')) return '';
  const before = tokens.slice(0, index).map((token) => token.text).join('');
  return /\S*$/u.exec(before)?.[0] ?? '';
}

/** The tokens of what the owner remembers: as they were drawn, where it still tells them; else all in one, of which nothing is known. */
export function remembered({ text, tokens }: ShownExchange): Token[] {
  const said = tokens.filter((token) => token.text).map(({ text, probability, alternatives }) => ({ text, probability, alternatives, gone: false }));
  const kept = cut(said, [...text].length).filter((token) => !token.gone);
  return textOf(kept) === text ? kept : [{ text, probability: null, alternatives: [], gone: false }];
}

/** The text of all tokens that stay. */
export function textOf(tokens: Token[]): string {
  return tokens.map((token) => (token.gone ? '' : token.text)).join('');
}

/**
 * Mark as gone what is past so many characters; a token across the cut becomes two.
 * The owner counts characters as Python does, by code point; so does the iterator of a string, unlike its length.
 */
export function cut(tokens: Token[], characters: number): Token[] {
  let left = characters;
  return tokens.flatMap((token) => {
    const points = [...token.text];
    const stays = Math.min(left, points.length);
    left -= stays;
    if (stays === points.length) return [token];
    const gone = { ...token, text: points.slice(stays).join(''), gone: true };
    return stays ? [{ ...token, text: points.slice(0, stays).join('') }, gone] : [gone];
  });
}
