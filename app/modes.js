// What is drawn from: the live picture, words alone, or a first picture. Keeps the mode and the
// source together, and says why a mode cannot be had.

import { modeText as text } from './words.js';

const VIDEO = 'video-to-video';
const TEXT = 'text-to-video';
const IMAGE = 'image-to-video';
const NEEDS = { [VIDEO]: 'video', [TEXT]: 'text', [IMAGE]: 'image' };
const OWN = { blank: TEXT, still: IMAGE }; // kinds of source that mean a mode

export class Modes {
  #live = 'camera'; // the live source that was chosen last
  #before = ''; // the source before the present one
  #fixed = VIDEO; // of a model without a control for it

  // `page` has `root`, `info`, `find`, `stage`, `captions`, `values`, `setAll(values)`, `reset()`
  // and `start(kind)`.
  constructor(page) {
    this.page = page;
    this.find = page.find;
    this.element = page.root.querySelector('.mr-modes');
    this.kind = this.find('kind');
    this.file = this.find('still');
    this.offered = Object.keys(NEEDS).filter((mode) =>
      page.info.pipeline.draws_from.includes(NEEDS[mode]),
    );
    if (!this.offered.includes(this.mode)) this.#fixed = this.offered[0];
    this.#grey();
    const own = Object.keys(OWN).find((kind) => OWN[kind] === this.mode);
    if (own) this.kind.value = own;
    this.#listen();
    this.show();
  }

  get mode() {
    return this.page.values.mode ?? this.#fixed;
  }

  get picture() {
    return this.file.files[0] ?? null;
  }

  // The source was chosen: the mode goes with it.
  follow(kind) {
    if (!OWN[kind] && kind !== 'stream') this.#live = kind;
    const left = this.mode === TEXT || OWN[this.#before];
    this.#before = kind;
    const wanted = OWN[kind] ? [OWN[kind]] : left ? [VIDEO, IMAGE] : [this.mode];
    const mode = wanted.find((one) => this.offered.includes(one));
    if (mode) this.#set(mode);
    this.show();
  }

  // The mode was chosen: a source that goes with it is taken.
  choose(mode) {
    if (!this.offered.includes(mode)) return this.#note(text.refused(mode, this.page.info.pipeline));
    const kind = this.kind.value;
    if (mode === this.mode) return;
    if (mode === TEXT) this.#source('blank');
    else if (mode === IMAGE && OWN[kind]) this.#source('still');
    else if (mode === VIDEO && OWN[kind]) this.#source(this.#live);
    else {
      this.#set(mode);
      if (mode === IMAGE) this.page.reset(); // begins with the picture that is there now
      this.show();
    }
  }

  show() {
    for (const button of this.element.querySelectorAll('[data-mode-to]')) {
      button.setAttribute('aria-pressed', String(button.dataset.modeTo === this.mode));
    }
    this.page.root.querySelector('.mr-center').dataset.from = this.mode;
    if (this.mode === TEXT) this.page.stage.view('result'); // there is nothing to compare with
    this.page.captions.unfilmed(this.kind.value in OWN);
    this.find('still-row').hidden = this.mode !== IMAGE;
    const live = this.mode === IMAGE && this.kind.value !== 'still';
    this.#note(live ? text.firstOfLive : '');
    const picture = this.kind.value === 'still' ? this.picture : null;
    this.find('still-name').textContent = picture?.name ?? '';
    this.find('still-pick').textContent = picture ? text.another : text.pick;
  }

  #set(mode) {
    this.#fixed = mode;
    if ('mode' in this.page.values && this.page.values.mode !== mode) this.page.setAll({ mode });
  }

  #source(kind) {
    this.kind.value = kind;
    this.kind.dispatchEvent(new Event('change'));
  }

  #note(words) {
    this.find('mode-note').textContent = words;
  }

  #listen() {
    this.element.addEventListener('click', (event) => {
      const button = event.target.closest('[data-mode-to]');
      if (button) this.choose(button.dataset.modeTo);
    });
    this.find('still-pick').addEventListener('click', () => this.file.click());
    this.file.addEventListener('change', () => {
      if (!this.picture) return;
      const view = this.find('still-view');
      URL.revokeObjectURL(view.src);
      view.src = URL.createObjectURL(this.picture);
      view.hidden = false;
      this.page.start('still');
    });
  }

  // What this model cannot do stays in sight, greyed, with the reason.
  #grey() {
    const { pipeline } = this.page.info;
    for (const button of this.element.querySelectorAll('[data-mode-to]')) {
      const mode = button.dataset.modeTo;
      if (this.offered.includes(mode)) continue;
      button.setAttribute('aria-disabled', 'true');
      button.title = text.refused(mode, pipeline);
    }
    // A live picture may also be what a stream begins with.
    const live = this.offered.some((mode) => mode !== TEXT);
    for (const option of this.kind.options) {
      const mode = OWN[option.value];
      if (mode ? this.offered.includes(mode) : live) continue;
      option.disabled = true;
      option.textContent += text.notHere;
      option.title = text.refused(mode ?? VIDEO, pipeline);
    }
    for (const button of this.page.root.querySelectorAll('[data-go]')) {
      const needed = OWN[button.dataset.go] ?? VIDEO;
      button.hidden = !this.offered.includes(needed);
      const first = this.mode === TEXT ? 'blank' : 'camera';
      button.classList.toggle('mr-primary', button.dataset.go === first);
    }
    this.find('lead').textContent = text.lead[this.mode];
  }
}
