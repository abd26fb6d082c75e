// What a page in a public room must not do, and what it needs there.  Knows no run.

/** No menu over the page, and nothing that can be dragged away. */
export function undisturbed(): void {
  for (const event of ['contextmenu', 'dragstart', 'drop', 'dragover']) {
    document.addEventListener(event, (one) => one.preventDefault());
  }
}

/** Whether the page brings its own keyboard: asked for in the address, or where a finger points and no phone is held. */
export function bringsKeyboard(): boolean {
  const asked = new URLSearchParams(location.search).get('keyboard');
  if (asked !== null) return asked !== '0';
  return matchMedia('(pointer: coarse) and (min-width: 700px) and (min-height: 600px)').matches;
}
