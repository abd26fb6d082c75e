// What the page needs on a screen in a public room.

/** Keep visitors from opening context menus and from dragging parts of the page. */
export function blockMenusAndDragging(): void {
  for (const name of ['contextmenu', 'dragstart', 'drop', 'dragover']) {
    document.addEventListener(name, (event) => event.preventDefault());
  }
}

/** Whether the page begins with its own keyboard: as the address says, else on touch screens larger than a phone. */
export function showsOwnKeyboard(): boolean {
  const option = new URLSearchParams(location.search).get('keyboard');
  if (option !== null) return option !== '0';
  return matchMedia('(pointer: coarse) and (min-width: 700px) and (min-height: 600px)').matches;
}

/** Whether this is a phone, and so somebody's own; it may lie untouched in a hand or a pocket. */
export function isPhone(): boolean {
  return matchMedia('(pointer: coarse) and ((max-width: 699px) or (max-height: 599px))').matches && !showsOwnKeyboard();
}
