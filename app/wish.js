// The standing wish: what the viewer wants to be told of, and which wish holds.

import { captionText as text } from './words.js';

export class Wish {
  // `use(words)` asks the server for a wish; '' is none.
  constructor(root, use) {
    const find = (part) => root.querySelector(`[data-part=${part}]`);
    this.use = use;
    this.sign = find('wish-active');
    this.chips = find('wish-chips');
    this.form = find('wish-form');
    this.place = root.querySelector('#mr-told-wish');
    this.open = find('wish-open');
    this.form.addEventListener('submit', (event) => {
      event.preventDefault();
      this.#choose(this.form.elements.text.value.trim());
    });
    this.sign.addEventListener('click', () => this.use(''));
  }

  // The wish that the server goes by.
  holds(words) {
    this.sign.hidden = !words;
    this.sign.textContent = words ? `${words} ✕` : '';
    this.sign.setAttribute('aria-label', text.endWish(words));
    this.sign.title = text.endWish(words);
    this.form.elements.text.value = words;
    for (const chip of this.chips.children) {
      chip.setAttribute('aria-pressed', String(chip.textContent === words));
    }
  }

  examples(wishes) {
    const chips = wishes.map((words) => {
      const chip = Object.assign(document.createElement('button'), {
        type: 'button',
        className: 'mr-pill',
        textContent: words,
      });
      chip.addEventListener('click', () => this.#choose(words));
      return chip;
    });
    this.chips.replaceChildren(...chips);
  }

  #choose(words) {
    this.use(words);
    this.place.hidePopover();
    this.open.focus();
  }
}
