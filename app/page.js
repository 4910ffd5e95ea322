// Wires the page together. Gradio draws the controls; each calls `millrace.set(name, value)` here,
// which goes to the model over the data channel without a request.

import { Captions } from './captions.js';
import { Connection } from './connection.js';
import { LatencyMeter } from './latency.js';
import { Modes } from './modes.js';
import { Panel } from './panel.js';
import { Pickers } from './pickers.js';
import { Questions } from './questions.js';
import { Recorder } from './recorder.js';
import { Sound } from './sound.js';
import { open as openSource } from './sources.js';
import { download, Stage } from './stage.js';
import { Values } from './values.js';
import { capital, mediaProblem, text, understanding } from './words.js';

const PING_MS = 2000;

class Page {
  source = null;
  applied = 0;
  asked = 0;
  notes = {};
  meter = new LatencyMeter();
  recorder = new Recorder();

  constructor(info, root) {
    this.info = info;
    this.root = root;
    this.stage = new Stage(root);
    this.panel = new Panel(root, this.meter);
    this.connection = new Connection(info);
    const send = (message) => this.connection.send(message);
    this.captions = new Captions(root, send, this.meter);
    this.questions = new Questions(root, send, this.captions, (words) => this.#brief(words));
    this.captions.about(info.captions);
    this.sound = new Sound(root, {
      connection: this.connection,
      stage: this.stage,
      say: (words, tone) => this.#brief(words, tone),
      again: () => this.start(),
    });
    this.steered = new Values(info, send, () => this.modes?.show());
    this.find = (part) => root.querySelector(`[data-part=${part}]`);
    this.stage.aspect(...info.size);
    this.panel.about(info);
    this.#where({});
    this.find('what').textContent = info.pipeline.description;
    this.#listen();
    this.#buttons();
    this.#keys();
    this.pickers = new Pickers(this);
    this.modes = new Modes(this);
    this.steered.markPreset();
    for (const help of document.querySelectorAll('#mr-look .info-text')) {
      help.title = help.textContent.trim(); // long ones are cut off
    }
    setInterval(() => this.#tick(), 500);
  }

  // Controls -------------------------------------------------------------------------------------

  get values() {
    return this.steered.now;
  }

  set(name, value, later = false) {
    this.steered.set(name, value, later);
  }

  setAll(values) {
    this.steered.setAll(values);
  }

  reset() {
    this.connection.send({ type: 'reset' });
  }

  // Draw at another size from the next start on, which is now where something runs.
  resize(width, height) {
    this.info.size = [width, height];
    this.stage.aspect(width, height);
    if (this.running) this.start();
  }

  // Source and connection ------------------------------------------------------------------------

  async start(kind = this.find('kind').value) {
    this.find('kind').value = kind;
    this.modes.follow(kind);
    this.stop();
    this.stage.say('');
    this.#state('starting', text.starting);
    const [width, height] = this.info.size;
    const options = {
      width,
      height,
      fps: this.#rate(kind),
      sound: this.sound.wants(kind),
      deviceId: this.find('device').value,
      file: this.find('file').files[0],
      picture: this.modes.picture,
    };
    try {
      const source = await openSource(kind, options, () => {
        this.stop();
        this.stage.say(text.sourceEnded);
      });
      await this.use(source);
    } catch (error) {
      this.#state('idle', text.idle);
      this.stage.say(mediaProblem(error, kind));
      return;
    }
    if (kind === 'camera') this.pickers.listCameras();
  }

  // Restyle any source: { stream, stop() }.
  async use(source) {
    this.source = source;
    this.captions.begin();
    this.questions.begin();
    this.stage.source(source.stream);
    await this.sound.begin(source);
    if (source !== this.source) return;
    this.connection.setSound(this.sound.track);
    const [width, height] = this.info.size;
    await this.connection.start(source, () => ({
      width,
      height,
      fps: this.#rate(source.kind),
      controls: this.values,
      ...(source.picture ? { picture: source.picture } : {}),
    }));
  }

  // Where nothing is filmed, the rate at which the model learned how things move.
  #rate(kind) {
    return (kind === 'blank' && this.info.pipeline.fps) || this.info.fps;
  }

  stop() {
    this.recorder.stop();
    this.sound.end();
    this.connection.stop();
    this.source?.stop();
    this.source = null;
    this.stage.source(null);
    this.stage.result(null);
    this.panel.clear();
    this.captions.end();
    this.questions.end();
  }

  get running() {
    return this.source !== null;
  }

  #listen() {
    this.connection.addEventListener('state', ({ detail }) => {
      this.#state(detail.state, text[detail.state] ?? detail.state);
      if (detail.message) this.stage.say(detail.message, detail.state === 'failed' ? 'bad' : 'warn');
      else if (detail.state === 'live') this.stage.say('');
      if (detail.state === 'failed') this.source?.stop();
      if (detail.state === 'failed') this.source = null;
    });
    this.connection.addEventListener('track', ({ detail }) => {
      this.meter.clear();
      this.stage.result(detail.stream, (metadata) => this.meter.frame(metadata));
    });
    this.connection.addEventListener('message', ({ detail }) => this.#message(detail));
  }

  #message(message) {
    if (this.captions.message(message) || this.questions.message(message)) return;
    switch (message.type) {
      case 'stats':
        this.panel.stats = message;
        this.#where(message);
        break;
      case 'stamps':
        this.meter.stamps(message.clock, message.list);
        break;
      case 'pong':
        this.meter.pong(message.t, message.server);
        break;
      case 'changed':
        this.asked = message.epoch;
        break;
      case 'applied':
        this.meter.whenShown(message.rtp, () => (this.applied = message.epoch));
        break;
      case 'notes':
        this.#understood(message.data);
        break;
      case 'error':
        this.stage.say(message.message, 'bad');
        break;
      case 'event':
        this.#event(message);
        break;
      case 'hello':
        this.connection.send({ type: 'hello', features: ['stamps'] });
        this.#ping();
        this.captions.hello(message.session);
        break;
    }
  }

  #event({ event: kind, message, data }) {
    if (kind === 'queued') {
      this.#state('queued', text.queued);
      this.stage.say(capital(message));
      this.#where({});
    } else if (kind === 'opening') {
      this.#state('opening', text.opening);
      this.stage.say('');
    } else if (kind === 'rung') {
      this.#brief(data.rung ? text.lowered(data.name, data.reason) : text.restored);
    } else if (kind === 'interrupted') {
      this.#state('interrupted', text.interrupted);
      this.stage.say(message || text.workerDown);
    } else if (kind === 'live') {
      const back = this.stage.element.dataset.state === 'interrupted';
      this.#state('live', text.live);
      if (back) this.#brief(text.workerBack);
      else if (data?.device) this.#brief(text.moved(data.device));
      else this.stage.say('');
    } else if (kind === 'error') {
      this.stage.say(message, 'bad');
    } else if (kind === 'closed') {
      this.stop();
      this.#state('failed', text.failed);
      this.stage.say(message, 'bad');
    }
  }

  // A message that goes by itself, unless another one came meanwhile.
  #brief(message, tone = 'good') {
    this.stage.say(message, tone);
    clearTimeout(this.hushing);
    this.hushing = setTimeout(() => this.stage.say('', 'good', message), 4000);
  }

  // Where the session runs, and how far down the quality ladder it is and why.
  #where({ device, rung, rung_name: name, rung_reason: reason }) {
    const parts = [this.info.pipeline.title, device || this.info.device.name];
    if (rung) parts.push(reason ? `${name} (${reason})` : name);
    this.find('device-line').textContent = parts.join(' · ');
  }

  #understood(data) {
    this.notes = data;
    const line = document.querySelector('#mr-understood .mr-understood');
    if (!line) return;
    line.replaceChildren(...understanding(data));
  }

  #state(name, label) {
    this.stage.state(name);
    const status = this.root.querySelector('.mr-status');
    status.dataset.state = name;
    this.find('status').textContent = label;
    const start = this.root.querySelector('[data-act=start]');
    const active = !['idle', 'failed'].includes(name);
    start.textContent = active ? 'Stop' : 'Start';
    start.classList.toggle('mr-primary', !active);
    for (const act of ['snapshot', 'record']) {
      this.root.querySelector(`[data-act=${act}]`).disabled = !active;
    }
  }

  #tick() {
    this.panel.draw();
    const seen = this.running && this.meter.percentiles();
    const fps = this.panel.stats?.fps_out;
    this.find('chip').textContent =
      seen && fps !== undefined ? `${Math.round(seen.p50)} ms · ${fps.toFixed(0)} fps` : '';
  }

  #ping() {
    clearInterval(this.pinging);
    const ping = () => this.connection.send({ type: 'ping', t: performance.now() });
    ping();
    this.pinging = setInterval(ping, PING_MS);
  }

  // Buttons, keys, pickers -----------------------------------------------------------------------

  #buttons() {
    this.root.addEventListener('click', (event) => {
      const go = event.target.closest('[data-go]');
      if (go) this.start(go.dataset.go);
      const act = event.target.closest('[data-act]');
      if (act && !act.disabled) this.act(act.dataset.act);
    });
  }

  act(name) {
    if (name === 'start') this.running ? this.stop() : this.#begin();
    else if (name === 'snapshot') this.stage.snapshot();
    else if (name === 'fullscreen') this.stage.fullscreen();
    else if (name === 'record') this.#record();
  }

  #begin() {
    const needed = { file: 'file', still: 'still' }[this.find('kind').value];
    if (needed && !this.find(needed).files.length) this.find(needed).click();
    else this.start();
  }

  #record() {
    const button = this.root.querySelector('[data-act=record]');
    const show = (on) => {
      button.setAttribute('aria-pressed', String(on));
      this.stage.element.toggleAttribute('data-recording', on);
    };
    if (this.recorder.on) this.recorder.stop();
    else if (this.stage.out.srcObject) {
      try {
        this.recorder.start(this.sound.recorded(this.stage.out.srcObject), (file) => {
          show(false);
          this.#saveCaptions(file);
        });
        show(true);
      } catch (error) {
        this.stage.say(error.message, 'bad');
      }
    }
  }

  // The captions of a recording, as a file beside it that players find by its name.
  #saveCaptions({ name, from, to }) {
    const vtt = name && this.captions.recording(from, to);
    if (vtt) download(new Blob([vtt], { type: 'text/vtt' }), 'vtt', name);
  }

  #keys() {
    const acts = { f: 'fullscreen', s: 'snapshot', r: 'record' };
    addEventListener('keydown', (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.target.closest('input, textarea, select, [contenteditable]')) return;
      const name = acts[event.key.toLowerCase()];
      if (name && (name === 'fullscreen' || this.running)) this.act(name);
    });
  }
}

const PARTS = ['.mr-top', '.mr-modes', '.mr-stage', '.mr-under', '.mr-panel'];

// Gradio mounts its parts one by one and calls this after each; the last one starts the page.
export async function boot() {
  if (window.millrace || !PARTS.every((part) => document.querySelector(part))) return;
  window.millrace = { set() {}, setAll() {}, reset() {} };
  const info = await (await fetch('/api/v1/info')).json();
  window.millrace = new Page(info, document.querySelector('.gradio-container') ?? document.body);
  document.documentElement.dataset.millrace = 'ready';
}
