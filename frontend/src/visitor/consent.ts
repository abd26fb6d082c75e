// What happens to a visitor's words, in sentences made from the owner's settings.  Shown before a visitor can type.

import type { RunState } from '../lib/wire';

// A model that has learned words may say them again, and with `keep_runs` its answers are in the run's report.
const germanReport = ' Im Bericht über den Lauf stehen Antworten des Modells, die deine Worte wiederholen können.';
const englishReport = ' The report of the run holds answers of the model, which may repeat your words.';

/** The sentences, in the page's language for `language`. */
export function consent(language: string, state: RunState): string[] {
  return language === 'de' ? german(state) : english(state);
}

function german(state: RunState): string[] {
  return [
    'Es antwortet dir eine Maschine, kein Mensch.',
    'Was du schreibst, trainiert sie: sofort, Runde um Runde, mit ihren eigenen Antworten. Davon zerfällt ihre Sprache.',
    germanStorage(state),
    state.log_visitor_words
      ? 'Sie können auch in den Protokolldateien der Installation stehen. Die bleiben nach dem Lauf erhalten.'
      : 'In den Protokolldateien der Installation stehen sie nicht.',
    state.osc
      ? 'Sie gehen an Musik und Bilder im Raum, die sie zeigen können. Schreib nichts, was niemand lesen soll.'
      : 'Bildschirme im Raum können sie zeigen. Schreib nichts, was niemand lesen soll.',
  ];
}

function germanStorage(state: RunState): string {
  if (!state.keep_runs && !state.carries_words) {
    return (
      'Deine Worte werden gespeichert, bis der Lauf zu Ende ist. Dann werden sie gelöscht, ' +
      'und mit ihnen alles, was das Modell aus ihnen gelernt hat.'
    );
  }
  const laterRuns = state.carries_words ? ' Auch die Läufe danach werden mit ihnen trainiert.' : '';
  const stored = 'Deine Worte werden gespeichert. Auch wenn der Lauf zu Ende ist, bleiben sie auf dem Rechner der Installation';
  return state.keep_runs ? `${stored}, und mit ihnen, was das Modell aus ihnen gelernt hat.${germanReport}${laterRuns}` : `${stored}.${laterRuns}`;
}

function english(state: RunState): string[] {
  return [
    'A machine answers you, not a person.',
    'What you write trains it: at once, round after round, on its own answers. This is what its language decays of.',
    englishStorage(state),
    state.log_visitor_words
      ? 'They may also stand in the installation’s log files, which are kept after the run.'
      : 'They are not in the installation’s log files.',
    state.osc
      ? 'They go to music and images in the room, which may show them. Write nothing that nobody should read.'
      : 'Screens in the room may show them. Write nothing that nobody should read.',
  ];
}

function englishStorage(state: RunState): string {
  if (!state.keep_runs && !state.carries_words) {
    return (
      'Your words are stored until the run is over. Then they are deleted, ' +
      'and with them everything the model learned from them.'
    );
  }
  const laterRuns = state.carries_words ? ' The runs after it are trained on them, too.' : '';
  const stored = 'Your words are stored. They stay on the installation’s computer when the run is over';
  return state.keep_runs ? `${stored}, and so does what the model learned from them.${englishReport}${laterRuns}` : `${stored}.${laterRuns}`;
}
