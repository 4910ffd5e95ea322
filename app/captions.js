// The caption track under the picture: what is told, by whom, of which picture, and saving it.

import { download } from './stage.js';
import { clock, Track } from './track.js';
import { Seen } from './seen.js';
import { Wish } from './wish.js';
import { capital, captionText as text } from './words.js';

const KEEP = 'millrace.captions'; // the viewer's wishes, for the next visit
const NEAR_PX = 24; // so close to the end counts as being there
const MOST_SHOWN = 2000; // older lines leave the page; the files keep them

export class Captions {
  track = new Track();
  state = 'loading';
  info = null;
  #wish = { on: true, of: 'source', ...remembered() };
  #lines = new Map();
  #unfilmed = false;
  #session = null;
  #running = false;

  // `send` takes a message for the server; `meter` knows the server's clock and the latency.
  constructor(root, send, meter) {
    this.root = root.querySelector('.mr-under');
    this.find = (part) => this.root.querySelector(`[data-part=${part}]`);
    this.send = send;
    this.meter = meter;
    this.list = this.find('cues');
    this.seen = new Seen(this.find('told-seen'));
    this.wish = new Wish(this.root, (instruction) => this.#want({ instruction }));
    this.#controls();
    this.#following();
    this.#drawWish();
  }

  // What the server said before any session: { state, message, info }.
  async about(told) {
    this.#told(told.state === 'ready' ? { ...told, state: 'idle' } : told);
    if (told.state !== 'loading') return;
    const answer = await fetch('/api/v1/captions?wait=1').catch(() => null);
    if (answer?.ok && !this.#running) this.about(await answer.json());
  }

  // A new picture begins: its captions have a time line of their own.
  begin() {
    this.track.clear();
    this.#lines.clear();
    this.list.replaceChildren();
    this.#running = true;
    this.#draw();
  }

  end() {
    this.#running = false;
    if (!['none', 'failed', 'loading'].includes(this.state)) this.#told({ state: 'idle' });
  }

  // The page is connected (again).
  hello(session) {
    this.#session = session;
    this.#running = true;
    if (this.#wish.on || this.#of !== 'source' || this.#wish.instruction) this.#sendWish();
  }

  // Whether nothing is filmed: then it is told of what is drawn, whatever was chosen before.
  unfilmed(on) {
    this.#unfilmed = on;
    this.#drawWish();
  }

  get #of() {
    return this.#unfilmed ? 'styled' : this.#wish.of;
  }

  // A message of the server; returns whether it was for here.
  message(message) {
    if (message.type === 'captions') this.#captions(message);
    else if (message.type === 'cue') this.#cue(message);
    else if (message.type === 'seen') this.#seenUpTo(message);
    else if (message.type === 'error' && message.about === 'captions') this.#note(message.message);
    else return false;
    return true;
  }

  // Seconds on the track's time line, in words.
  time(second, session = this.#session) {
    return clock(this.track.seconds(session, second));
  }

  // A stored picture of a second of the stream, or words where it is gone.
  picture(second, session = this.#session) {
    const image = new Image();
    image.alt = text.pictureOf(this.time(second, session));
    image.src = `/api/v1/sessions/${encodeURIComponent(session)}/thumbnails?time=${second}`;
    image.className = 'mr-look';
    image.addEventListener('error', () => {
      image.replaceWith(element('span', 'mr-soft', text.pictureGone));
    });
    return image;
  }

  get session() {
    return this.#session;
  }

  // WebVTT of what was shown from one moment of the performance clock to another; empty when
  // nothing was said.
  recording(from, to) {
    const span = { from, to, late: this.meter.percentiles()?.p50 ?? 0 };
    return this.track.shown(span).length ? this.track.vtt(span) : '';
  }

  // Messages -------------------------------------------------------------------------------------

  #captions(message) {
    if (message.zero !== null && this.meter.offsetMs !== null) {
      this.track.zero(this.#session, message.zero - this.meter.offsetMs);
    }
    this.zero = message.zero;
    this.wish.holds(message.instruction);
    this.#told(message);
  }

  #seenUpTo({ until, delay }) {
    this.#place({ end: until }, delay);
    this.seen.upTo(this.time(until));
  }

  #told({ state, message = '', info }) {
    this.state = state;
    this.said = message;
    if (info) this.info = info;
    this.onstate?.();
    this.#draw();
    this.#about();
  }

  #cue({ type, delay, ...own }) {
    this.#place(own, delay);
    const follow = this.#atEnd();
    const entry = this.track.add(this.#session, own);
    let line = this.#lines.get(entry.key);
    if (!line) {
      line = this.#line(own);
      this.#lines.set(entry.key, line);
      this.list.append(line);
      if (this.list.children.length > MOST_SHOWN) this.list.firstChild.remove();
    }
    line.dataset.kind = own.kind;
    line.toggleAttribute('data-interim', !own.final);
    line.querySelector('.mr-words').textContent = own.text;
    if (own.final) this.find('told-aloud').textContent = `${text.kinds[own.kind] ?? ''} ${own.text}`;
    if (follow) this.#toEnd();
    else this.find('newest').hidden = false;
    this.#draw();
  }

  // The session's second 0 on our clock: from the server's clock, or from when the words came.
  #place(own, delay) {
    if (this.track.knows(this.#session)) return;
    const known = this.zero !== null && this.zero !== undefined && this.meter.offsetMs !== null;
    const arrived = performance.now() - 1000 * (own.end + delay);
    this.track.zero(this.#session, known ? this.zero - this.meter.offsetMs : arrived);
  }

  #line(own) {
    const line = element('li', 'mr-cue');
    const session = this.#session;
    const time = element('button', 'mr-time', this.time(own.start));
    time.type = 'button';
    time.title = text.showPicture;
    time.setAttribute('aria-expanded', 'false');
    time.setAttribute('aria-label', text.showPictureOf(this.time(own.start)));
    time.addEventListener('click', () => {
      const open = line.querySelector('.mr-shown');
      time.setAttribute('aria-expanded', String(!open));
      if (open) open.remove();
      else this.#showPicture(line, own.start, session);
    });
    const said = element('span', 'mr-said');
    if (own.kind !== 'caption') said.append(element('span', 'mr-kind', text.kinds[own.kind] ?? own.kind), ' ');
    said.append(element('span', 'mr-words'));
    line.append(time, said);
    return line;
  }

  #showPicture(line, second, session) {
    const place = element('div', 'mr-shown');
    const image = this.picture(second, session);
    place.append(image);
    line.append(place);
    const show = () => line.scrollIntoView({ block: 'nearest' });
    image.addEventListener('load', show);
    image.addEventListener('error', show);
  }

  // Drawing --------------------------------------------------------------------------------------

  #draw() {
    const { state } = this;
    this.root.dataset.told = state;
    if (state !== 'live') this.seen.hide();
    const words = this.said ? capital(this.said) : (text.states[state] ?? '');
    const empty = !this.list.children.length;
    this.find('told-empty').textContent = empty ? words || text.soon : '';
    this.find('told-empty').hidden = !empty;
    this.#note(empty || ['live', 'idle'].includes(state) ? '' : words);
    for (const button of this.root.querySelectorAll('[data-save]')) button.disabled = empty;
    const usable = !['none', 'failed'].includes(state);
    this.find('told-on').disabled = !usable;
    this.find('told-of').hidden = state === 'none';
  }

  #note(words) {
    this.find('told-note').textContent = words && capital(words);
    this.find('told-note').hidden = !words;
  }

  #drawWish() {
    this.find('told-on').setAttribute('aria-checked', String(this.#wish.on));
    for (const button of this.find('told-of').children) {
      button.setAttribute('aria-pressed', String(button.dataset.of === this.#of));
      button.disabled = this.#unfilmed && button.dataset.of === 'source';
    }
  }

  #about() {
    const { info } = this;
    this.find('told-model').hidden = !info;
    this.wish.open.hidden = !info;
    if (!info) return;
    if (this.drawn !== info.name) this.wish.examples(info.wishes ?? []);
    this.drawn = info.name;
    this.find('told-model').textContent = text.whatItCan(info.name);
    this.find('about-title').textContent = info.title;
    this.find('about-where').textContent = text.where(info);
    const sentences = [...info.limits, ...info.choices];
    this.find('about-limits').replaceChildren(...sentences.map((s) => element('li', '', s)));
    this.find('about-speech').textContent = info.speech ?? '';
  }

  // Controls -------------------------------------------------------------------------------------

  #controls() {
    this.find('told-on').addEventListener('click', () => this.#want({ on: !this.#wish.on }));
    this.find('told-of').addEventListener('click', ({ target }) => {
      const of = target.closest('[data-of]')?.dataset.of;
      if (of) this.#want({ of });
    });
    for (const button of this.root.querySelectorAll('[data-save]')) {
      const kind = button.dataset.save;
      const type = kind === 'vtt' ? 'text/vtt' : 'application/x-subrip';
      button.addEventListener('click', () => {
        download(new Blob([this.track[kind]()], { type }), kind);
      });
    }
  }

  #want(wish) {
    Object.assign(this.#wish, wish);
    try {
      localStorage.setItem(KEEP, JSON.stringify(this.#wish));
    } catch {
      // a private window forgets
    }
    this.#drawWish();
    this.#sendWish();
  }

  #sendWish() {
    if (this.state !== 'none') this.send({ type: 'captions', ...this.#wish, of: this.#of });
  }

  // The list follows what is new, unless the viewer scrolled up.
  #following() {
    const newest = this.find('newest');
    this.list.addEventListener('scroll', () => {
      if (this.#atEnd()) newest.hidden = true;
    });
    newest.addEventListener('click', () => {
      this.#toEnd();
      this.list.focus({ preventScroll: true });
    });
  }

  #atEnd() {
    const { scrollHeight, scrollTop, clientHeight } = this.list;
    return scrollHeight - scrollTop - clientHeight < NEAR_PX;
  }

  #toEnd() {
    this.list.scrollTop = this.list.scrollHeight;
    this.find('newest').hidden = true;
  }
}

export function element(tag, className = '', words = '') {
  return Object.assign(document.createElement(tag), { className, textContent: words });
}

function remembered() {
  try {
    const { on, of } = JSON.parse(localStorage.getItem(KEEP)) ?? {};
    return { ...(typeof on === 'boolean' && { on }), ...(of === 'styled' && { of }) };
  } catch {
    return {};
  }
}
