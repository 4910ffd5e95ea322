// The picture: source and result in one frame, three views of them, full screen and snapshot.

export class Stage {
  #refused = () => {};

  constructor(element) {
    this.element = element.querySelector('.mr-stage');
    this.bar = element.querySelector('.mr-bar');
    this.out = this.element.querySelector('[data-part=out]');
    this.in = this.element.querySelector('[data-part=in]');
    this.notice = this.element.querySelector('.mr-notice');
    this.#views();
    this.notice.querySelector('button').addEventListener('click', () => this.say(''));
    this.#doubleClick();
  }

  aspect(width, height) {
    this.element.style.setProperty('--aspect', `${width} / ${height}`);
    this.element.style.setProperty('--ratio', width / height);
  }

  state(name) {
    this.element.dataset.state = name;
  }

  source(stream) {
    this.element.toggleAttribute('data-waiting', stream !== null);
    this.in.srcObject = stream;
    this.in.play().catch(() => {}); // refused only when the element was removed meanwhile
  }

  result(stream, onFrame) {
    this.out.srcObject = stream;
    if (!stream) return;
    this.#play();
    if (!this.out.requestVideoFrameCallback) {
      this.out.onplaying = () => this.element.removeAttribute('data-waiting');
      onFrame(null);
      return;
    }
    const next = (_, metadata) => {
      if (this.out.srcObject !== stream) return;
      this.element.removeAttribute('data-waiting');
      onFrame(metadata);
      this.out.requestVideoFrameCallback(next);
    };
    this.out.requestVideoFrameCallback(next);
  }

  // Play what comes back aloud, or not. Browsers allow it after a click only: `refused()` otherwise.
  hear(on, refused) {
    this.out.muted = !on;
    this.#refused = refused;
    if (this.out.srcObject) this.#play();
  }

  #play() {
    this.out.play().catch((error) => {
      if (error.name !== 'NotAllowedError' || this.out.muted) return;
      this.out.muted = true;
      this.out.play().catch(() => {});
      this.#refused();
    });
  }

  // `only`: change nothing if another message than this one is shown.
  say(message, tone = 'warn', only = null) {
    if (only !== null && this.notice.querySelector('p').textContent !== only) return;
    this.notice.hidden = !message;
    this.notice.dataset.tone = tone;
    this.notice.querySelector('p').textContent = message;
  }

  view(name) {
    this.element.dataset.view = name;
    for (const button of this.bar.querySelectorAll('[data-view-to]')) {
      button.setAttribute('aria-pressed', String(button.dataset.viewTo === name));
    }
  }

  fullscreen() {
    if (document.fullscreenElement) document.exitFullscreen();
    else if (this.element.requestFullscreen) this.element.requestFullscreen();
    else this.out.webkitEnterFullscreen?.(); // iPhones know only videos
  }

  async snapshot() {
    if (!this.out.videoWidth) return false;
    const canvas = document.createElement('canvas');
    Object.assign(canvas, { width: this.out.videoWidth, height: this.out.videoHeight });
    canvas.getContext('2d').drawImage(this.out, 0, 0);
    const blob = await new Promise((done) => canvas.toBlob(done, 'image/png'));
    download(blob, 'png');
    return true;
  }

  #views() {
    this.bar.addEventListener('click', (event) => {
      const button = event.target.closest('[data-view-to]');
      if (button) this.view(button.dataset.viewTo);
    });
    const split = this.element.querySelector('.mr-split');
    const move = () => this.element.style.setProperty('--split', `${split.value}%`);
    split.addEventListener('input', move);
    move();
  }

  #doubleClick() {
    this.element.addEventListener('dblclick', (event) => {
      if (!event.target.closest('button, input')) this.fullscreen();
    });
  }
}

export function fileName() {
  return `millrace-${new Date().toISOString().slice(0, 19).replaceAll(':', '-')}`;
}

export function download(blob, extension, name = fileName()) {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(blob);
  link.download = `${name}.${extension}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
