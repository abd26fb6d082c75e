// The language of the desk, its texts, and numbers and times as that language writes them.  The choice of the language is stored.

import { de, type Words } from './de';
import { en } from './en';

const KEY = 'desk-language';
const TEXTS = { de, en };

type Language = keyof typeof TEXTS;

class Locale {
  language: Language = $state(initialLanguage());

  get words(): Words {
    return TEXTS[this.language];
  }

  /** Change to the other language and store the choice. */
  toggle(): void {
    this.language = this.language === 'de' ? 'en' : 'de';
    localStorage.setItem(KEY, this.language);
  }
}

function initialLanguage(): Language {
  const stored = localStorage.getItem(KEY);
  if (stored === 'de' || stored === 'en') return stored;
  return navigator.language.toLowerCase().startsWith('de') ? 'de' : 'en';
}

export const locale = new Locale();

/** A text with each `{name}` replaced by the value of that name. */
export function fillIn(text: string, values: Record<string, string | number>): string {
  return text.replace(/\{(\w+)\}/g, (whole, name: string) => String(values[name] ?? whole));
}

/** A number with at most `digits` decimals. */
export function formatNumber(value: number, digits = 2): string {
  return new Intl.NumberFormat(locale.language, { maximumFractionDigits: digits }).format(value);
}

/** A share from 0 to 1 as a percentage. */
export function formatPercent(share: number): string {
  const maximumFractionDigits = share > 0 && share < 0.01 ? 2 : 0;
  return new Intl.NumberFormat(locale.language, { style: 'percent', maximumFractionDigits }).format(share);
}

/** A number with three significant digits, for measures: perplexities of hundreds, and updates of thousandths. */
export function formatMeasure(value: number): string {
  return new Intl.NumberFormat(locale.language, { maximumSignificantDigits: 3 }).format(value);
}

/** A number with four significant digits, for values as small as a learning rate. */
export function formatSignificant(value: number): string {
  return new Intl.NumberFormat(locale.language, { maximumSignificantDigits: 4, useGrouping: false }).format(value);
}

/** Seconds as a clock shows them: 0:07, 12:30, 1:02:03. */
export function formatClock(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60), whole % 60];
  const two = (value: number) => String(value).padStart(2, '0');
  return hours ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}

/** Seconds as a rounded duration: 40 s, 3 min, 2 h 5 min. */
export function formatDuration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** A language's name in the desk's language. */
export function languageName(code: string): string {
  try {
    return new Intl.DisplayNames([locale.language], { type: 'language' }).of(code) ?? code;
  } catch {
    return code; // a key of system_prompts that names no language known to the browser
  }
}

/** Day and time to the minute; `at` in seconds since 1970. */
export function formatDateAndTime(at: number): string {
  return new Intl.DateTimeFormat(locale.language, { dateStyle: 'medium', timeStyle: 'short' }).format(at * 1000);
}

/** The time of day; `at` in seconds since 1970. */
export function formatTimeOfDay(at: number): string {
  const parts = { hour: 'numeric', minute: 'numeric', second: 'numeric' } as const;
  return new Intl.DateTimeFormat(locale.language, parts).format(at * 1000);
}
