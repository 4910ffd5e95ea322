// Questions about what was seen, with streaming answers, and "tell me when ...".

import { element } from './captions.js';
import { capital, captionText as text } from './words.js';

const WATCH = /^\s*(?:please\s+)?(?:tell me|let me know|alert me|warn me|say)\s+(?:when(?:ever)?|if|as soon as)\s+(.{2,}?)[.!?\s]*$/i;
const MOST_PICTURES = 6;
const MOST_TALK = 100;

export class Questions {
  #next = 1;
  #open = new Map(); // id: { item, answer, text }
  #alerts = new Map(); // number: { text, times }

  // `captions` knows state, times and pictures; `onAlert(words)` is told of each alert that fires.
  constructor(root, send, captions, onAlert) {
    this.root = root.querySelector('.mr-ask');
    this.find = (part) => this.root.querySelector(`[data-part=${part}]`);
    this.send = send;
    this.captions = captions;
    this.onAlert = onAlert;
    this.#tabs();
    this.#form('ask-form', (words) => this.ask(words));
    this.#form('watch-form', (words) => this.watch(words));
    captions.onstate = () => this.#drawState();
    this.#drawEmpty();
  }

  begin() {
    this.#endAll(text.lostAnswer);
    this.find('talk').replaceChildren();
    this.#setAlerts([]);
    this.#drawEmpty();
  }

  end() {
    this.#endAll(text.lostAnswer);
  }

  // A message of the server; returns whether it was for here.
  message(message) {
    if (message.type === 'answer') this.#answer(message);
    else if (message.type === 'alerts') this.#setAlerts(message.list);
    else if (message.type === 'alert') this.#fired(message);
    else if (message.type === 'error' && message.about) this.#note(message.message);
    else return false;
    return true;
  }

  // Asking ---------------------------------------------------------------------------------------

  ask(words) {
    const wanted = WATCH.exec(words);
    const entry = this.#entry(words);
    if (wanted) {
      this.#finish(entry, this.watch(wanted[1]) ? text.willTell(wanted[1]) : text.notConnected);
      return;
    }
    const id = this.#next++;
    this.#open.set(id, entry);
    if (!this.send({ type: 'ask', text: words, id })) this.#fail(id, text.notConnected);
  }

  watch(words) {
    this.#note('');
    const condition = WATCH.exec(words)?.[1] ?? words.replace(/[.!?\s]+$/, '');
    const sent = this.send({ type: 'watch', text: condition });
    if (!sent) this.#note(text.notConnected);
    return sent;
  }

  #entry(words) {
    const talk = this.find('talk');
    const item = element('li', 'mr-turn');
    const answer = element('p', 'mr-answer');
    answer.dataset.open = '';
    item.append(element('p', 'mr-question', words), answer);
    talk.append(item);
    if (talk.children.length > MOST_TALK) talk.firstChild.remove();
    this.#drawEmpty();
    talk.scrollTop = talk.scrollHeight;
    return { item, answer };
  }

  #answer({ id, text: words, done, span, looks, error }) {
    const entry = this.#open.get(id);
    if (!entry) return;
    if (error) return this.#fail(id, error);
    entry.answer.textContent += words;
    if (done) {
      this.#open.delete(id);
      this.#finish(entry, entry.answer.textContent.trim() || text.noAnswer);
      if (span) entry.item.append(this.#span(span, looks));
    }
    const talk = this.find('talk');
    talk.scrollTop = talk.scrollHeight;
  }

  #fail(id, why) {
    const entry = this.#open.get(id);
    this.#open.delete(id);
    entry.answer.dataset.bad = '';
    this.#finish(entry, capital(why));
  }

  #finish({ answer }, words) {
    delete answer.dataset.open;
    answer.textContent = words;
    this.find('answer-aloud').textContent = words;
    const talk = this.find('talk');
    talk.scrollTop = talk.scrollHeight;
  }

  #endAll(why) {
    for (const id of [...this.#open.keys()]) this.#fail(id, why);
  }

  // The time that an answer rests on; a click shows what was seen then.
  #span(span, looks) {
    const { captions } = this;
    const session = captions.session;
    const [start, end] = span.map((second) => captions.time(second, session));
    const button = element('button', 'mr-pill mr-span', start === end ? start : `${start} – ${end}`);
    button.type = 'button';
    button.setAttribute('aria-expanded', 'false');
    button.setAttribute('aria-label', text.showSpan(start, end));
    const strip = element('div', 'mr-looks');
    strip.hidden = true;
    button.addEventListener('click', () => {
      if (!strip.children.length) {
        const times = evenly(looks.length ? looks : [(span[0] + span[1]) / 2], MOST_PICTURES);
        strip.append(...times.map((second) => figure(captions, second, session)));
      }
      strip.hidden = !strip.hidden;
      button.setAttribute('aria-expanded', String(!strip.hidden));
      if (!strip.hidden) strip.scrollIntoView({ block: 'nearest' });
    });
    const place = element('div', 'mr-rests');
    place.append(button, strip);
    return place;
  }

  // Alerts ---------------------------------------------------------------------------------------

  #setAlerts(list) {
    const before = this.#alerts;
    this.#alerts = new Map(
      list.map(({ alert, text: words }) => [alert, { words, times: before.get(alert)?.times ?? [] }]),
    );
    this.#drawAlerts();
  }

  #fired({ alert, condition, time }) {
    const at = this.captions.time(time);
    this.#alerts.get(alert)?.times.push(at);
    this.#drawAlerts();
    this.onAlert(text.cameTrue(condition, at));
  }

  #drawAlerts() {
    const rows = [...this.#alerts].map(([number, { words, times }]) => {
      const row = element('li', 'mr-alert');
      const said = element('span', 'mr-said');
      said.append(element('span', 'mr-words', words));
      const when = times.length ? text.wasTrue(times.slice(-3)) : text.notYet;
      said.append(element('small', 'mr-soft', when));
      const remove = element('button', 'mr-close', '×');
      remove.type = 'button';
      remove.setAttribute('aria-label', text.removeAlert(words));
      remove.addEventListener('click', () => this.send({ type: 'unwatch', alert: number }));
      row.toggleAttribute('data-fired', times.length > 0);
      row.append(said, remove);
      return row;
    });
    this.find('alerts').replaceChildren(...rows);
    this.find('alert-count').textContent = rows.length;
    this.find('alert-count').hidden = !rows.length;
    this.#drawEmpty();
  }

  #note(words) {
    this.find('watch-note').textContent = words && capital(words);
    this.find('watch-note').hidden = !words;
  }

  // State, examples, forms and tabs --------------------------------------------------------------

  #drawState() {
    const { info, state } = this.captions;
    const usable = ['live', 'off', 'opening', 'interrupted'].includes(state);
    for (const part of this.root.querySelectorAll('form input, form button')) part.disabled = !usable;
    this.find('ask-empty').textContent = text.askStates[state] ?? text.askStates.live;
    if (info && this.drawn !== info.name) {
      this.drawn = info.name;
      this.#chips('ask-chips', 'ask-form', info.examples);
      this.#chips('watch-chips', 'watch-form', info.alerts);
    }
    for (const chip of this.root.querySelectorAll('.mr-chips button')) chip.disabled = !usable;
  }

  #drawEmpty() {
    const show = (part, empty) => {
      this.find(part).hidden = !empty;
      this.find(part).closest('.mr-pane').toggleAttribute('data-empty', empty);
    };
    show('ask-empty', !this.find('talk').children.length);
    show('watch-empty', !this.#alerts.size);
  }

  #chips(part, form, words) {
    const chips = words.map((example) => {
      const chip = element('button', 'mr-pill', example);
      chip.type = 'button';
      chip.addEventListener('click', () => {
        const input = this.find(form).elements.text;
        input.value = example;
        this.find(form).requestSubmit();
        input.focus();
      });
      return chip;
    });
    this.find(part).replaceChildren(...chips);
  }

  #form(part, action) {
    const form = this.find(part);
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      const words = form.elements.text.value.trim();
      if (!words) return;
      form.elements.text.value = '';
      action(words);
    });
  }

  #tabs() {
    const tabs = [...this.root.querySelectorAll('[role=tab]')];
    const choose = (chosen) => {
      for (const tab of tabs) {
        const on = tab === chosen;
        tab.setAttribute('aria-selected', String(on));
        tab.tabIndex = on ? 0 : -1;
        document.getElementById(tab.getAttribute('aria-controls')).hidden = !on;
      }
    };
    for (const [i, tab] of tabs.entries()) {
      tab.addEventListener('click', () => choose(tab));
      tab.addEventListener('keydown', ({ key }) => {
        if (key !== 'ArrowLeft' && key !== 'ArrowRight') return;
        const other = tabs[(i + 1) % tabs.length];
        choose(other);
        other.focus();
      });
    }
  }
}

function figure(captions, second, session) {
  const place = document.createElement('figure');
  place.append(captions.picture(second, session));
  place.append(element('figcaption', '', captions.time(second, session)));
  return place;
}

function evenly(list, most) {
  if (list.length <= most) return list;
  return Array.from({ length: most }, (_, i) => list[Math.round((i * (list.length - 1)) / (most - 1))]);
}
