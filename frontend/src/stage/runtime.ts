// The artist's runtime folder as the owner read it: mapping, texts, and the fonts, which are loaded here.

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
  closed: string;
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

export const fetchRuntime = (): Promise<Runtime> => get<Runtime>('stage/runtime');

/** Load the folder's fonts.  Returns the font family to draw with, and a sentence for each file that the browser cannot read. */
export async function loadFonts(names: string[], version: number): Promise<{ family: string; problems: string[] }> {
  await document.fonts.load("420 48px 'Literata Variable'", 'aÄß…');
  const families: string[] = [];
  const problems: string[] = [];
  for (const name of names) {
    // The version makes the browser load a font again that was saved under the same name.
    const family = `stage ${version} ${families.length}`;
    const face = new FontFace(family, `url("stage/runtime/fonts/${encodeURIComponent(name)}?${version}")`);
    try {
      document.fonts.add(await face.load());
      families.push(`'${family}'`);
    } catch {
      problems.push(`Stage: fonts/${name}: the browser cannot read this font.`);
    }
  }
  return { family: [...families, DEFAULT_FAMILY].join(', '), problems };
}

/** A text with each `{name}` replaced by the value of that name. */
export function fillIn(text: string, values: Record<string, string | number>): string {
  return text.replace(/\{(\w+)\}/g, (whole, name: string) => String(values[name] ?? whole));
}
