// All texts of the autopsy's page, in German and English, and the choice between them, which the browser keeps.

const GERMAN = {
  title: 'Autopsie',
  lead: 'Eine Frage an alle, die diese Sprache einmal war.',
  other: 'English',
  back: 'Zurück zum Gespräch',
  prompt: 'Deine Frage',
  placeholder: 'Was ist Liebe?',
  speaks: 'Gefragt wird auf',
  ask: 'Alle fragen',
  stop: 'Anhalten',
  untouched: 'unberührt',
  iteration: 'Iteration',
  kept: 'ein aufbewahrter Lauf',
  alive: 'der Lauf im Gang',
  selves: 'Antworten',
  forks: 'Abzweigungen',
  asks: 'sucht Worte',
  silent: '(nichts)',
  answerWords: '{who}. Pfeiltasten wählen ein Wort, Enter öffnet, was dort jede Iteration sagen würde.',
  pick: 'Wähle ein Wort einer Antwort: dann steht hier, was jede Iteration an seiner Stelle gesagt hätte.',
  where: 'An dieser Stelle',
  beginning: 'Am Anfang der Antwort',
  place: 'Stelle',
  slider: 'Wer spricht',
  next: 'Was {who} hier sagen würde',
  end: 'Ende der Antwort',
  fragment: 'Teil eines Zeichens',
  beyond: 'alles andere',
  entropy: 'Entropie (20 und der Rest)',
  nats: 'nat',
  baseSays: 'Iteration −1 würde „{token}“ sagen',
  baseRank: 'hier Rang {rank}, {share}',
  baseFar: 'hier nicht unter den ersten 20, {share}',
  raw: 'Wahrscheinlichkeiten roh: vor Temperatur und Abzügen. Klick ein Wort an, und {who} geht von dort weiter.',
  fork: 'hier abzweigen',
  chosenHere: 'gesagt',
  key: 'Schlüssel der Bühne oder des Betreibers',
  keyNeeded: 'Diese Seite ist verschlossen.',
  keyHelp: 'Er steht in data/keys.json. Wer am Pult angemeldet ist, kommt von dort herein.',
  desk: 'Vom Pult hereinkommen',
  enter: 'Öffnen',
  noRun: 'Gerade lebt keine Sprache. Einen aufbewahrten Lauf öffnet auf der Maschine:',
  lost: 'Die Verbindung ist weg. Ich versuche es weiter.',
  broken: 'Die Antworten sind abgerissen.',
  reborn: 'Die Sprache ist neu geboren; ihre früheren Worte sind von dieser Seite verschwunden.',
};

export type AutopsyWords = typeof GERMAN;

const ENGLISH: AutopsyWords = {
  title: 'Autopsy',
  lead: 'A question to everyone this language has been.',
  other: 'Deutsch',
  back: 'Back to the conversation',
  prompt: 'Your question',
  placeholder: 'What is love?',
  speaks: 'Asked in',
  ask: 'Ask all',
  stop: 'Stop',
  untouched: 'untouched',
  iteration: 'Iteration',
  kept: 'a kept run',
  alive: 'the run under way',
  selves: 'Answers',
  forks: 'Forks',
  asks: 'looking for words',
  silent: '(nothing)',
  answerWords: '{who}. Arrow keys choose a word, Enter opens what every iteration would say there.',
  pick: 'Choose a word of an answer: here you will see what every iteration would have said in its place.',
  where: 'At this place',
  beginning: 'At the beginning of the answer',
  place: 'Place',
  slider: 'Who speaks',
  next: 'What {who} would say here',
  end: 'end of the answer',
  fragment: 'part of a character',
  beyond: 'all others',
  entropy: 'Entropy (20 and the rest)',
  nats: 'nats',
  baseSays: 'Iteration −1 would say “{token}”',
  baseRank: 'here rank {rank}, {share}',
  baseFar: 'here not among the first 20, {share}',
  raw: 'Probabilities are raw: before temperature and penalties. Click a word, and {who} goes on from there.',
  fork: 'fork here',
  chosenHere: 'said',
  key: 'Key of the stage or the operator',
  keyNeeded: 'This page is locked.',
  keyHelp: 'It is in data/keys.json. Who is logged in at the desk can come in from there.',
  desk: 'Come in from the desk',
  enter: 'Open',
  noRun: 'No language is alive just now. A kept run is opened on the machine:',
  lost: 'The connection is gone. I keep trying.',
  broken: 'The answers broke off.',
  reborn: 'The language is reborn; its earlier words are gone from this page.',
};

const KEY = 'autopsy-language';
const TEXTS = { de: GERMAN, en: ENGLISH };

class AutopsyLocale {
  language: 'de' | 'en' = $state(initialLanguage());

  get words(): AutopsyWords {
    return TEXTS[this.language];
  }

  /** Change to the other language and store the choice. */
  toggle(): void {
    this.language = this.language === 'de' ? 'en' : 'de';
    localStorage.setItem(KEY, this.language);
  }
}

function initialLanguage(): 'de' | 'en' {
  const stored = localStorage.getItem(KEY);
  if (stored === 'de' || stored === 'en') return stored;
  return navigator.language.toLowerCase().startsWith('de') ? 'de' : 'en';
}

export const locale = new AutopsyLocale();

/** What an iteration is called. */
export function nameOf(iteration: number, words: AutopsyWords): string {
  return iteration < 0 ? `${words.iteration} −1 (${words.untouched})` : `${words.iteration} ${iteration}`;
}

/** A token as it can be shown alone. */
export function tokenLabel(text: string, words: AutopsyWords): string {
  if (!text) return words.end;
  if (text.includes('\ufffd')) return words.fragment;
  return text.trim() || (text.includes('\n') ? '⏎' : '␣');
}

/** A probability for people. */
export function percent(probability: number): string {
  const share = probability * 100;
  const least = 0.001;
  const digits = share >= 10 ? 0 : share >= 0.1 ? 1 : 3;
  const format = { minimumFractionDigits: digits, maximumFractionDigits: digits };
  const text = new Intl.NumberFormat(locale.language, format).format(Math.max(share, least));
  return share > 0 && share < least ? `< ${text} %` : `${text} %`;
}
