// The keys of the page's own keyboard, in German and English.

import type { KeyboardLayoutObject } from 'simple-keyboard';

const GERMAN: KeyboardLayoutObject = {
  default: ['1 2 3 4 5 6 7 8 9 0 ß {bksp}', 'q w e r t z u i o p ü', 'a s d f g h j k l ö ä', '{shift} y x c v b n m , . - {enter}', '? {space} !'],
  shift: ['! " § $ % & / ( ) = ? {bksp}', 'Q W E R T Z U I O P Ü', 'A S D F G H J K L Ö Ä', '{shift} Y X C V B N M ; : _ {enter}', '? {space} !'],
};

const ENGLISH: KeyboardLayoutObject = {
  default: ["1 2 3 4 5 6 7 8 9 0 {bksp}", 'q w e r t y u i o p', "a s d f g h j k l '", '{shift} z x c v b n m , . - {enter}', '? {space} !'],
  shift: ['! @ # $ % & * ( ) " {bksp}', 'Q W E R T Y U I O P', 'A S D F G H J K L "', '{shift} Z X C V B N M ; : _ {enter}', '? {space} !'],
};

/** The layout for a language; all but German have the English one. */
export function layoutFor(language: string): KeyboardLayoutObject {
  return language === 'de' ? GERMAN : ENGLISH;
}
