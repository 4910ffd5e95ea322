// The sound of the source: whether it is sent, and whether what comes back is heard here.
//
// A microphone's sound is sent only when asked for, and then is not heard here, or it would go in
// circles. A file's sound is both sent and heard. Once a viewer has chosen, the choice stays.

import { soundText } from './words.js';

export class Sound {
  source = null;
  #wanted = {}; // by kind of source, as far as the viewer has chosen
  #hear = {};
  #kind = '';
  #track = null;

  // `say(words, tone)`: a message that goes by itself. `again()`: opens the present source anew.
  constructor(root, { connection, stage, say, again }) {
    this.connection = connection;
    this.stage = stage;
    this.say = say;
    this.again = again;
    this.sendButton = root.querySelector('[data-act=sound]');
    this.hearButton = root.querySelector('[data-act=hear]');
    this.sendButton.addEventListener('click', () => this.toggle());
    this.hearButton.addEventListener('click', () => this.hear(!this.heard));
    this.#draw();
  }

  // Whether a source of this kind is to be opened with its sound.
  wants(kind) {
    return this.#wanted[kind] ?? ['file', 'clip', 'stream'].includes(kind);
  }

  get on() {
    return this.#track !== null;
  }

  get heard() {
    return this.on && (this.#hear[this.#kind] ?? !this.source.echoes);
  }

  // A source is about to be sent; opens its sound if that is wanted.
  async begin(source) {
    this.end();
    this.source = source;
    this.#kind = source.kind ?? 'stream';
    if (this.wants(this.#kind)) await this.#open(false);
    this.#draw();
  }

  end() {
    this.#close();
    this.source = null;
    this.#draw();
  }

  // The track to send with the picture, or null.
  get track() {
    return this.#track;
  }

  async toggle() {
    const on = !this.on;
    this.#wanted[this.#kind] = on;
    if (!on) this.#close();
    else if (this.source) await this.#open(true);
    this.connection.setSound(this.#track);
    this.#draw();
    if (this.on && this.source.echoes) this.say(soundText.mutedHere);
  }

  hear(on) {
    this.#hear[this.#kind] = on;
    this.#draw();
  }

  // What to record: the sound only where there is some, as a recorder waits for a silent track.
  recorded(stream) {
    return this.on ? stream : new MediaStream(stream.getVideoTracks());
  }

  async #open(asked) {
    const { source } = this;
    if (!source.openSound && this.#kind === 'screen' && asked) return this.again();
    try {
      this.#track = source.openSound
        ? await source.openSound()
        : (source.stream.getAudioTracks()[0] ?? null);
    } catch (error) {
      this.#track = null;
      if (asked) this.say(soundText.problem(error), 'bad');
      return;
    }
    if (source !== this.source) this.#close(); // it was stopped meanwhile
    else if (!this.#track && asked) this.say(soundText.none, 'warn');
  }

  #close() {
    if (this.#track && this.source?.openSound) this.source.closeSound?.(this.#track);
    this.#track = null;
  }

  #draw() {
    const { on, heard } = this;
    this.sendButton.disabled = this.source === null;
    this.sendButton.setAttribute('aria-pressed', String(on));
    this.sendButton.title = on ? soundText.sent : soundText.unsent;
    this.hearButton.hidden = !on;
    this.hearButton.setAttribute('aria-pressed', String(heard));
    this.hearButton.title = heard ? soundText.heard : soundText.muted;
    this.stage.hear(heard, () => {
      if (this.heard) this.hear(false);
    });
  }
}
