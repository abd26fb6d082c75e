// Every word the page says by itself, in German and English, and what a visitor is told before typing: written from the
// settings the owner runs with. Knows no element of the page.

const GERMAN = {
  choose: 'Auf Deutsch sprechen',
  join: 'Auf Deutsch mitsprechen',
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
  loss: 'Verlust beim Lernen',
  reborn: 'Die Sprache ist gestorben und neu geboren. Was hier gesagt wurde, steht nicht mehr auf dieser Seite.',
  lost: 'Die Verbindung ist weg. Ich versuche es weiter.',
  refused: 'Das ging nicht:',
  unfinished: 'Die Antwort ist abgerissen. Deine Worte stehen wieder im Feld.',
};

const ENGLISH = {
  choose: 'Speak English',
  join: 'Join in English',
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
  loss: 'Loss in learning',
  reborn: 'The language has died and is reborn. What was said here is no longer on this page.',
  lost: 'The connection is gone. I keep trying.',
  refused: 'That did not work:',
  unfinished: 'The answer broke off. Your words are back in the field.',
};

/** The page's words in a language; English where we have none of our own. */
export function wordsOf(language) {
  if (language === 'de') return GERMAN;
  if (language === 'en') return ENGLISH;
  const name = new Intl.DisplayNames(['en'], { type: 'language', fallback: 'code' }).of(language);
  return { ...ENGLISH, choose: `Speak ${name}`, join: `Join in ${name}` };
}

/** What a visitor is told before typing: a list of sentences, from the settings in the run's state. */
export function consent(language, state) {
  return language === 'de' ? germanConsent(state) : englishConsent(state);
}

function germanConsent(state) {
  return [
    'Es antwortet dir eine Maschine, kein Mensch.',
    'Was du schreibst, trainiert sie: sofort, Runde um Runde, mit ihren eigenen Antworten. Davon zerfällt ihre Sprache.',
    germanFate(state),
    state.log_visitor_words
      ? 'Sie können auch in den Protokolldateien der Installation stehen. Die bleiben nach dem Lauf erhalten.'
      : 'In den Protokolldateien der Installation stehen sie nicht.',
    state.osc
      ? 'Sie gehen an Musik und Bilder im Raum, die sie zeigen können. Schreib nichts, was niemand lesen soll.'
      : 'Bildschirme im Raum können sie zeigen. Schreib nichts, was niemand lesen soll.',
  ];
}

function germanFate(state) {
  if (!state.keep_runs && !state.carries_words) {
    return 'Deine Worte werden gespeichert, bis der Lauf zu Ende ist. Dann werden sie gelöscht, '
      + 'und mit ihnen alles, was das Modell aus ihnen gelernt hat.';
  }
  const again = state.carries_words ? ' Auch die Läufe danach werden mit ihnen trainiert.' : '';
  return state.keep_runs
    ? 'Deine Worte werden gespeichert. Auch wenn der Lauf zu Ende ist, bleiben sie auf dem Rechner der Installation, '
      + `und mit ihnen, was das Modell aus ihnen gelernt hat.${again}`
    : 'Deine Worte werden gespeichert. Auch wenn der Lauf zu Ende ist, bleiben sie auf dem Rechner der Installation.'
      + again;
}

function englishConsent(state) {
  return [
    'A machine answers you, not a person.',
    'What you write trains it: at once, round after round, on its own answers. This is what its language decays of.',
    englishFate(state),
    state.log_visitor_words
      ? 'They may also stand in the installation’s log files, which are kept after the run.'
      : 'They are not in the installation’s log files.',
    state.osc
      ? 'They go to music and images in the room, which may show them. Write nothing that nobody should read.'
      : 'Screens in the room may show them. Write nothing that nobody should read.',
  ];
}

function englishFate(state) {
  if (!state.keep_runs && !state.carries_words) {
    return 'Your words are stored until the run is over. Then they are deleted, '
      + 'and with them everything the model learned from them.';
  }
  const again = state.carries_words ? ' The runs after it are trained on them, too.' : '';
  return state.keep_runs
    ? 'Your words are stored. They stay on the installation’s computer when the run is over, '
      + `and so does what the model learned from them.${again}`
    : `Your words are stored. They stay on the installation’s computer when the run is over.${again}`;
}
