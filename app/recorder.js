// Records the restyled picture and its sound to a file, in the browser, from the stream as it came.

import { download, fileName } from './stage.js';

const TYPES = ['video/webm;codecs=vp9', 'video/webm;codecs=vp8', 'video/webm', 'video/mp4'];
const WITH_SOUND = ['video/webm;codecs=vp9,opus', 'video/webm;codecs=vp8,opus', ...TYPES.slice(2)];

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

  // `onStop({ name, from, to })`: the file's name without its extension, or nothing where there is no
  // file, and when the recording began and ended on the performance clock.
  start(stream, onStop) {
    const types = stream.getAudioTracks().length ? WITH_SOUND : TYPES;
    const type = types.find((t) => window.MediaRecorder?.isTypeSupported(t));
    if (!type) throw new Error('this browser cannot record video');
    this.#parts = [];
    this.#recorder = new MediaRecorder(stream, { mimeType: type, videoBitsPerSecond: 6_000_000 });
    this.#recorder.ondataavailable = ({ data }) => data.size && this.#parts.push(data);
    const from = performance.now();
    this.#recorder.onstop = () => {
      const name = this.#parts.length ? fileName() : '';
      const extension = type.includes('mp4') ? 'mp4' : 'webm';
      if (name) download(new Blob(this.#parts, { type }), extension, name);
      this.#recorder = null;
      this.#parts = [];
      onStop({ name, from, to: performance.now() });
    };
    this.#recorder.start(1000);
  }

  stop() {
    if (this.#recorder?.state === 'recording') this.#recorder.stop();
  }
}
