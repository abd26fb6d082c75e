// What the artist's folder says, as the owner read it, and the fonts in it.

import { get } from '../lib/requests';
import type { Mapping } from './mapping';

export interface Texts {
  title: string;
  waiting: string;
  iteration: string;
  untouched: string;
  learning: string;
  swap: string;
  last_words: string;
  end: string;
  reborn: string;
  gone: string;
  sound: string;
  no_key: string;
  credits: string[];
}

export interface Runtime {
  version: number;
  problems: string[];
  mapping: Mapping;
  texts: Record<string, Texts>;
  fonts: string[];
  opened: boolean;
  blank: boolean;
}

const DEFAULT_FAMILY = "'Literata Variable', Georgia, serif";

export const runtime = (): Promise<Runtime> => get<Runtime>('stage/runtime');

/** Loads the folder's fonts; the family to draw with, and what the browser does not take for a font. */
export async function family(names: string[], version: number): Promise<{ family: string; problems: string[] }> {
  await document.fonts.load("420 48px 'Literata Variable'", 'aÄß…');
  const families: string[] = [];
  const problems: string[] = [];
  for (const name of names) {
    // The version makes a font that was saved under the same name another one.
    const called = `stage ${version} ${families.length}`;
    const face = new FontFace(called, `url("stage/runtime/fonts/${encodeURIComponent(name)}?${version}")`);
    try {
      document.fonts.add(await face.load());
      families.push(`'${called}'`);
    } catch {
      problems.push(`Stage: fonts/${name}: the browser cannot read this font.`);
    }
  }
  return { family: [...families, DEFAULT_FAMILY].join(', '), problems };
}

/** A text with its numbers filled in. */
export function filled(text: string, values: Record<string, string | number>): string {
  return text.replace(/\{(\w+)\}/g, (whole, name: string) => String(values[name] ?? whole));
}
