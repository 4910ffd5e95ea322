// The sign that says up to when everything was looked at, also while there is nothing to tell.

import { captionText as text } from './words.js';

const LATE_MS = 3000; // so long without a look is worth a warning

export class Seen {
  #late = 0;

  constructor(sign) {
    this.sign = sign;
    this.sign.title = text.seenTitle;
  }

  // All is told up to a time, in words.
  upTo(time) {
    this.sign.textContent = text.seen(time);
    this.sign.hidden = false;
    delete this.sign.dataset.late;
    clearTimeout(this.#late);
    this.#late = setTimeout(() => {
      this.sign.dataset.late = '';
    }, LATE_MS);
  }

  hide() {
    clearTimeout(this.#late);
    this.sign.hidden = true;
  }
}
