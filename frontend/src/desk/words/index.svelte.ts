// Which language the desk speaks, and its texts.  The choice outlives a reload; nothing of a visitor is kept.

import { de, type Words } from './de';
import { en } from './en';

const KEY = 'desk-language';
const TEXTS = { de, en };

type Language = keyof typeof TEXTS;

class Speech {
  language: Language = $state(chosen());

  get words(): Words {
    return TEXTS[this.language];
  }

  /** Speak the other language from now on. */
  toggle(): void {
    this.language = this.language === 'de' ? 'en' : 'de';
    localStorage.setItem(KEY, this.language);
  }
}

function chosen(): Language {
  const kept = localStorage.getItem(KEY);
  if (kept === 'de' || kept === 'en') return kept;
  return navigator.language.toLowerCase().startsWith('de') ? 'de' : 'en';
}

export const speech = new Speech();

/** A text with `{name}` replaced by what is given under that name. */
export function filled(text: string, values: Record<string, string | number>): string {
  return text.replace(/\{(\w+)\}/g, (whole, name: string) => String(values[name] ?? whole));
}

/** A number as the language writes it. */
export function written(value: number, digits = 2): string {
  return new Intl.NumberFormat(speech.language, { maximumFractionDigits: digits }).format(value);
}

/** A share from 0 to 1 as a percentage. */
export function percent(share: number): string {
  return new Intl.NumberFormat(speech.language, { style: 'percent', maximumFractionDigits: 0 }).format(share);
}

/** A learning rate, which is small: with all the digits that it has. */
export function exactly(value: number): string {
  return new Intl.NumberFormat(speech.language, { maximumSignificantDigits: 4, useGrouping: false }).format(value);
}

/** Seconds as a clock shows them: 0:07, 12:30, 1:02:03. */
export function clock(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60), whole % 60];
  const two = (value: number) => String(value).padStart(2, '0');
  return hours ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}

/** Seconds as one says them: 40 s, 3 min, 2 h 5 min. */
export function spoken(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** What a language is called: Deutsch, English. */
export function languageName(code: string): string {
  try {
    return new Intl.DisplayNames([speech.language], { type: 'language' }).of(code) ?? code;
  } catch {
    return code; // a key of system_prompts that names no language known to the browser
  }
}

/** A moment as the time of day; `at` in seconds since 1970. */
export function timeOfDay(at: number): string {
  return new Date(at * 1000).toLocaleTimeString(speech.language);
}
