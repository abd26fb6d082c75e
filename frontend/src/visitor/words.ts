// All texts of the visitor's page, in German and English.

const GERMAN = {
  name: 'Deutsch',
  choose: 'Auf Deutsch sprechen',
  join: 'Auf Deutsch mitsprechen',
  invitation: 'Sprich mit einer Sprache, bis sie zerfällt.',
  alive: 'Ein Lauf ist im Gang. Du sprichst mit.',
  runSpeaks: 'Der Lauf im Gang spricht {run}.',
  otherTitle: 'Dieser Lauf spricht {run}',
  otherLanguage:
    'Die Maschine wird gebeten, dir auf {own} zu antworten. In diesem Lauf lernt sie aber vor allem {run}, ' +
    'und so antwortet sie oft, je später, desto öfter.',
  otherChoice: 'Du kannst mitsprechen. Oder warte: Er endet in höchstens {left}.',
  joinOther: 'Trotzdem mitsprechen',
  wait: 'Auf den nächsten Lauf warten',
  waitTitle: 'Du wartest auf einen Lauf auf {own}',
  waitLeft: 'höchstens noch',
  waitHow: 'Noch spricht der Lauf {run}. Ist er zu Ende, beginnt von selbst einer auf {own}, und du bist darin.',
  waitQuicker: 'Beginnt jemand anders vor dir in einer anderen Sprache, wartest du weiter.',
  waitBegins: 'Der Lauf auf {own} beginnt …',
  waitStop: 'Nicht mehr warten',
  begin: 'Anfangen',
  joinIn: 'Mitsprechen',
  back: 'Zurück',
  consentTitle: 'Was mit deinen Worten geschieht',
  prompt: 'Deine Worte',
  placeholder: 'Sag etwas …',
  send: 'Senden',
  conversation: 'Gespräch',
  empty: 'Noch ist die Sprache ganz. Frag sie etwas.',
  emptyLater: 'Der Lauf ist schon unterwegs. Frag die Sprache etwas.',
  you: 'Du',
  machine: 'Die Maschine',
  waits: 'sucht Worte',
  restarted: 'noch einmal von vorn',
  broken: 'abgebrochen',
  iteration: 'Iteration',
  untouched: 'unberührt',
  seeding: 'der Lauf beginnt …',
  learning: 'lernt …',
  listening: 'hört zu',
  lastWords: 'letzte Worte',
  inferenceAway: 'die Maschine wacht auf …',
  workerAway: 'lernt gerade nicht',
  left: 'noch',
  lifeLine: 'Wie viel vom Lauf vergangen ist',
  reborn: 'Die Sprache ist gestorben und neu geboren. Was hier gesagt wurde, steht nicht mehr auf dieser Seite.',
  lost: 'Die Verbindung ist weg. Ich versuche es weiter.',
  refused: 'Das ging nicht:',
  unfinished: 'Die Antwort ist abgerissen. Deine Worte stehen wieder im Feld.',
  answerWords: 'Worte der Antwort. Pfeiltasten wählen eines, Enter zeigt, was fast gesagt worden wäre.',
  alternatives: 'Fast gesagt',
  chosenToken: 'Gesagt',
  silence: 'Ende der Antwort',
  fragment: 'Teil eines Zeichens',
  noAlternatives: 'Was sonst möglich war, ist nicht bekannt.',
  close: 'Schließen',
  keyboard: 'Bildschirmtastatur',
  stillThere: 'Ist noch jemand da?',
  stillThereHint: 'Berühre etwas, sonst vergesse ich dich in',
  seconds: 'Sekunden',
  forget: 'Meine Worte jetzt löschen',
  forgotten: 'Gelöscht: von dieser Seite, von der Bühne und von der Platte.',
  forgottenLearned: 'Gelöscht: von dieser Seite, von der Bühne und von der Platte. Was die Sprache schon daraus gelernt hat, vergeht mit ihrer Neugeburt.',
  forgetFailed: 'Das Löschen ist nicht gelungen. Bitte noch einmal versuchen.',
  card: 'Karte zum Mitnehmen',
  cardHint: 'Deine erste Frage, beantwortet von jeder Iteration bis jetzt. Sie wird nirgends gespeichert.',
  cardMaking: 'Jede Iteration wird noch einmal gefragt …',
  cardFailed: 'Die Karte ist nicht fertig geworden:',
  cardLost: 'Die Verbindung ist abgerissen.',
  cardSave: 'Als Bild sichern',
  cardPrint: 'Drucken',
  cardFile: 'karte',
  cardSilent: '(nichts)',
  again: 'Noch einmal',
};

export type Words = typeof GERMAN;

const ENGLISH: Words = {
  name: 'English',
  choose: 'Speak English',
  join: 'Join in English',
  invitation: 'Talk with a language until it falls apart.',
  alive: 'A run is under way. You join it.',
  runSpeaks: 'The run under way speaks {run}.',
  otherTitle: 'This run speaks {run}',
  otherLanguage:
    'The machine is asked to answer you in {own}. But in this run it learns mostly {run}, ' +
    'and often answers in it, the later, the more often.',
  otherChoice: 'You can join it. Or wait: it ends in at most {left}.',
  joinOther: 'Join all the same',
  wait: 'Wait for the next run',
  waitTitle: 'You are waiting for a run in {own}',
  waitLeft: 'at most',
  waitHow: 'The run still speaks {run}. When it is over, one in {own} begins by itself, and you are in it.',
  waitQuicker: 'If somebody else begins before you in another language, you wait on.',
  waitBegins: 'The run in {own} begins …',
  waitStop: 'Wait no longer',
  begin: 'Begin',
  joinIn: 'Join in',
  back: 'Back',
  consentTitle: 'What happens to your words',
  prompt: 'Your words',
  placeholder: 'Say something …',
  send: 'Send',
  conversation: 'Conversation',
  empty: 'The language is still whole. Ask it something.',
  emptyLater: 'The run is already under way. Ask the language something.',
  you: 'You',
  machine: 'The machine',
  waits: 'looking for words',
  restarted: 'once more from the start',
  broken: 'broken off',
  iteration: 'Iteration',
  untouched: 'untouched',
  seeding: 'the run begins …',
  learning: 'learning …',
  listening: 'listening',
  lastWords: 'last words',
  inferenceAway: 'the machine is waking up …',
  workerAway: 'not learning just now',
  left: 'left:',
  lifeLine: 'How much of the run has passed',
  reborn: 'The language has died and is reborn. What was said here is no longer on this page.',
  lost: 'The connection is gone. I keep trying.',
  refused: 'That did not work:',
  unfinished: 'The answer broke off. Your words are back in the field.',
  answerWords: 'Words of the answer. Arrow keys choose one, Enter shows what was nearly said.',
  alternatives: 'Nearly said',
  chosenToken: 'Said',
  silence: 'end of the answer',
  fragment: 'part of a character',
  noAlternatives: 'What else was possible is not known.',
  close: 'Close',
  keyboard: 'On-screen keyboard',
  stillThere: 'Is somebody still there?',
  stillThereHint: 'Touch something, or I forget you in',
  seconds: 'seconds',
  forget: 'Delete my words now',
  forgotten: 'Deleted: from this page, from the stage and from the disk.',
  forgottenLearned: 'Deleted: from this page, from the stage and from the disk. What the language has learned from them already goes at its rebirth.',
  forgetFailed: 'They could not be deleted. Please try again.',
  card: 'Card to take home',
  cardHint: 'Your first question, answered by every iteration so far. It is stored nowhere.',
  cardMaking: 'Every iteration is asked once more …',
  cardFailed: 'The card was not finished:',
  cardLost: 'The connection broke.',
  cardSave: 'Save as image',
  cardPrint: 'Print',
  cardFile: 'card',
  cardSilent: '(nothing)',
  again: 'Once more',
};

/** The page's texts for a language: German or English, and English for all others. */
export function wordsOf(language: string): Words {
  if (language === 'de') return GERMAN;
  if (language === 'en') return ENGLISH;
  const name = languageName(language, 'en');
  return { ...ENGLISH, name, choose: `Speak ${name}`, join: `Join in ${name}` };
}

/** A text with its places in braces filled in. */
export function filled(text: string, values: Record<string, string>): string {
  return text.replace(/\{(\w+)\}/g, (place, name: string) => values[name] ?? place);
}

/** What a language is called in the texts for `reader`, the language of somebody who reads. */
export function languageName(language: string, reader: string): string {
  return new Intl.DisplayNames([pageLanguage(reader)], { type: 'language', fallback: 'code' }).of(language) ?? language;
}

/** The language of the texts that `wordsOf` returns. */
export function pageLanguage(language: string): 'de' | 'en' {
  return language === 'de' ? 'de' : 'en';
}
