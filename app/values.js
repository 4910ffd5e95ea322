// What the viewer steers: the value of every control, and its way to the model.

const DEBOUNCE_MS = 250;

export class Values {
  now = {};
  #timers = new Map();

  // `send` takes a message for the server; `changed()` is called after each change.
  constructor({ controls, presets }, send, changed) {
    this.presets = presets;
    this.send = send;
    this.changed = changed;
    for (const control of controls) this.now[control.name] = control.default;
  }

  // `later`: it is still being typed.
  set(name, value, later) {
    // Gradio tells of every change, those that a preset made included.
    if (value === null || value === undefined || value === this.now[name]) return;
    this.now[name] = value;
    clearTimeout(this.#timers.get(name));
    if (!later) this.#tell({ [name]: value });
    else {
      const wait = setTimeout(() => this.#tell({ [name]: value }), DEBOUNCE_MS);
      this.#timers.set(name, wait);
    }
  }

  setAll(values) {
    for (const name of Object.keys(values)) clearTimeout(this.#timers.get(name));
    Object.assign(this.now, values);
    this.#tell(values);
  }

  // Shows which preset the present values are.
  markPreset() {
    this.presets.forEach(({ values }, i) => {
      const same = Object.entries(values).every(([name, value]) => this.now[name] === value);
      document.getElementById(`mr-preset-${i}`)?.setAttribute('aria-pressed', String(same));
    });
  }

  #tell(values) {
    this.markPreset();
    this.send({ type: 'controls', values });
    this.changed();
  }
}
