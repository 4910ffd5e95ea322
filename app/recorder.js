// Records the restyled picture to a file, in the browser, from the stream as it came.

import { download } from './stage.js';

const TYPES = ['video/webm;codecs=vp9', 'video/webm;codecs=vp8', 'video/webm', 'video/mp4'];

export class Recorder {
  #recorder = null;
  #parts = [];

  // Bytes so far.
  get size() {
    return this.#parts.reduce((sum, part) => sum + part.size, 0);
  }

  get on() {
    return this.#recorder !== null;
  }

  start(stream, onStop) {
    const type = TYPES.find((t) => window.MediaRecorder?.isTypeSupported(t));
    if (!type) throw new Error('this browser cannot record video');
    this.#parts = [];
    this.#recorder = new MediaRecorder(stream, { mimeType: type, videoBitsPerSecond: 6_000_000 });
    this.#recorder.ondataavailable = ({ data }) => data.size && this.#parts.push(data);
    this.#recorder.onstop = () => {
      const extension = type.includes('mp4') ? 'mp4' : 'webm';
      if (this.#parts.length) download(new Blob(this.#parts, { type }), extension);
      this.#recorder = null;
      this.#parts = [];
      onStop();
    };
    this.#recorder.start(1000);
  }

  stop() {
    if (this.#recorder?.state === 'recording') this.#recorder.stop();
  }
}
