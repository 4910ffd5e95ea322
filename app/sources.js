// Where pictures come from. Every source is { stream, kind, label, stop() }; a source that ends by
// itself calls `onEnd`. Sound, where there can be some: `openSound()` gives its track or null when it
// is wanted, `closeSound(track)` ends it, or it is in the stream; `echoes` says that hearing it here
// would feed it back.

export const KINDS = ['camera', 'screen', 'file', 'clip', 'pattern', 'still', 'blank'];

export async function open(kind, options, onEnd) {
  const source = await OPEN[kind](options);
  const [track] = source.stream.getVideoTracks();
  track.addEventListener('ended', onEnd);
  track.contentHint = kind === 'screen' ? 'detail' : 'motion';
  const stop = source.stop;
  source.kind = kind;
  source.stop = () => {
    track.removeEventListener('ended', onEnd);
    source.stream.getTracks().forEach((t) => t.stop());
    stop?.();
  };
  return source;
}

export async function cameras() {
  if (!navigator.mediaDevices?.enumerateDevices) return [];
  const devices = await navigator.mediaDevices.enumerateDevices();
  return devices.filter((d) => d.kind === 'videoinput' && d.deviceId);
}

const OPEN = { camera, screen, file: fromFile, clip: fromClip, pattern, still, blank };

async function camera({ width, height, fps, deviceId }) {
  demand('getUserMedia');
  const stream = await navigator.mediaDevices.getUserMedia({
    audio: false,
    video: {
      ...(deviceId ? { deviceId: { exact: deviceId } } : { facingMode: 'user' }),
      width: { ideal: Math.max(width, 320) },
      height: { ideal: Math.max(height, 240) },
      frameRate: { ideal: fps, max: Math.max(fps, 30) },
    },
  });
  const label = stream.getVideoTracks()[0].label || 'Camera';
  return { stream, label, echoes: true, openSound: microphone, closeSound: (track) => track.stop() };
}

async function microphone() {
  demand('getUserMedia');
  return (await navigator.mediaDevices.getUserMedia({ audio: true })).getAudioTracks()[0];
}

async function screen({ fps, sound }) {
  demand('getDisplayMedia');
  const stream = await navigator.mediaDevices.getDisplayMedia({
    // The browser asks whether sound is shared too. A tab's is then heard from here alone.
    audio: sound ? { suppressLocalAudioPlayback: true } : false,
    video: { frameRate: { ideal: fps } },
  });
  const heardThere = stream.getAudioTracks()[0]?.getSettings().suppressLocalAudioPlayback !== true;
  return { stream, label: 'Screen', echoes: heardThere };
}

function demand(name) {
  if (navigator.mediaDevices?.[name]) return;
  const error = new Error('this browser cannot capture here');
  error.name = 'SecurityError';
  throw error;
}

async function fromFile({ file, ...options }) {
  if (!file) throw new Error('choose a video file first');
  const url = URL.createObjectURL(file);
  try {
    const source = await fromUrl(url, options);
    const stop = source.stop;
    return { ...source, label: file.name, stop: () => (stop(), URL.revokeObjectURL(url)) };
  } catch {
    URL.revokeObjectURL(url);
    throw new Error(`this browser cannot play ${file.name}`);
  }
}

async function fromClip(options) {
  const source = await fromUrl('/assets/clip.mp4', options);
  return { ...source, label: 'Sample clip' };
}

// A looping video, drawn centre-cropped at the size that the model sees. A canvas gives the same
// result in every browser, and a stream that survives the loop point.
async function fromUrl(url, { width, height, fps }) {
  const video = document.createElement('video');
  Object.assign(video, { src: url, muted: true, loop: true, playsInline: true });
  await video.play();
  const sound = new ElementSound(video);
  const source = drawn(width, height, fps, (context) => cover(context, video), () => {
    sound.close();
    video.pause();
    video.removeAttribute('src');
  });
  return { ...source, openSound: () => sound.open() };
}

// The sound of a video element as a track. Once tapped, an element is heard through the tap only, so
// the viewer hears what comes back and not both.
class ElementSound {
  #context = null;
  #out = null;

  constructor(video) {
    this.video = video;
  }

  async open() {
    if (!this.#context) {
      this.#context = new AudioContext({ latencyHint: 'interactive', sampleRate: 48_000 });
      this.#out = this.#context.createMediaStreamDestination();
      this.#context.createMediaElementSource(this.video).connect(this.#out);
    }
    await started(this.#context);
    this.video.muted = false; // a muted element gives its tap silence
    return this.#out.stream.getAudioTracks()[0];
  }

  close() {
    this.#context?.close();
    this.#context = null;
  }
}

// Browsers let sound begin after a click or a key only; nobody waits for one here.
async function started(context) {
  const patience = new Promise((done) => setTimeout(done, 1000));
  await Promise.race([context.resume(), patience]);
  if (context.state !== 'running') throw new Error('the browser lets sound begin after a click');
}

function cover(context, video) {
  coverWith(context, video, video.videoWidth, video.videoHeight);
}

function coverWith(context, image, imageWidth, imageHeight) {
  const { width, height } = context.canvas;
  const scale = Math.max(width / imageWidth, height / imageHeight);
  const [w, h] = [imageWidth * scale, imageHeight * scale];
  context.drawImage(image, (width - w) / 2, (height - h) / 2, w, h);
}

async function pattern({ width, height, fps }) {
  const start = performance.now();
  const beeps = new Beeps(start);
  const source = drawn(
    width,
    height,
    fps,
    (context) => paintPattern(context, (performance.now() - start) / 1000),
    () => beeps.close(),
  );
  return { ...source, label: 'Test pattern', openSound: () => beeps.open() };
}

// A picture to begin with. The server has the file itself; what is sent here only keeps time, and is
// what the page shows as the source.
async function still({ width, height, fps, picture }) {
  if (!picture) throw new Error('choose a picture first');
  const { id } = await sent(picture);
  const image = await createImageBitmap(picture);
  let odd = 0;
  const source = drawn(width, height, fps, (context) => {
    coverWith(context, image, image.width, image.height);
    odd = 1 - odd;
    context.fillStyle = odd ? '#808080' : '#818181';
    context.fillRect(0, 0, 1, 1);
  }, () => image.close());
  return { ...source, label: picture.name, picture: id };
}

async function sent(picture) {
  const answer = await fetch('/api/v1/pictures', { method: 'POST', body: picture });
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(body.error ?? `the server answered ${answer.status}`);
  return body;
}

// Pictures for a model that draws from words alone: they only keep time. Never twice the same grey,
// as a canvas that does not change sends nothing.
async function blank({ width, height, fps }) {
  let odd = 0;
  const source = drawn(width, height, fps, (context) => {
    odd = 1 - odd;
    context.fillStyle = odd ? '#808080' : '#818181';
    context.fillRect(0, 0, width, height);
  });
  return { ...source, label: 'Words alone' };
}

const BEEP_S = 0.1;

// A beep in each second, with the pattern's flash.
class Beeps {
  #context = null;
  #out = null;

  constructor(start) {
    this.start = start;
  }

  async open() {
    if (!this.#context) {
      this.#context = new AudioContext({ latencyHint: 'interactive', sampleRate: 48_000 });
      this.#out = this.#context.createMediaStreamDestination();
    }
    await started(this.#context);
    this.#schedule();
    return this.#out.stream.getAudioTracks()[0];
  }

  close() {
    clearTimeout(this.timer);
    this.#context?.close();
    this.#context = null;
  }

  // Each beep is set a second ahead on the sound's own clock, so that no timer delays it.
  #schedule() {
    clearTimeout(this.timer);
    const elapsed = (performance.now() - this.start) / 1000;
    const next = Math.ceil(elapsed + 0.1);
    this.#beep(this.#context.currentTime + next - elapsed);
    this.timer = setTimeout(() => this.#schedule(), (next - elapsed) * 1000);
  }

  #beep(at) {
    const tone = new OscillatorNode(this.#context, { frequency: 880 });
    const level = new GainNode(this.#context, { gain: 0 });
    level.gain.setValueAtTime(0, at);
    level.gain.linearRampToValueAtTime(0.4, at + 0.003);
    level.gain.setValueAtTime(0.4, at + BEEP_S - 0.01);
    level.gain.linearRampToValueAtTime(0, at + BEEP_S);
    tone.connect(level).connect(this.#out);
    tone.start(at);
    tone.stop(at + BEEP_S);
  }
}

// A timer, not animation frames: those stop while the page is covered, and the stream with them.
function drawn(width, height, fps, paint, stop = () => {}) {
  const canvas = document.createElement('canvas');
  Object.assign(canvas, { width, height });
  const context = canvas.getContext('2d', { alpha: false });
  paint(context);
  const timer = setInterval(() => paint(context), 1000 / fps);
  return {
    stream: canvas.captureStream(fps),
    stop: () => (clearInterval(timer), stop()),
  };
}

function paintPattern(context, t) {
  const { width: w, height: h } = context.canvas;
  const sky = context.createLinearGradient(0, 0, w, h);
  sky.addColorStop(0, `hsl(${(t * 12) % 360} 55% 42%)`);
  sky.addColorStop(1, `hsl(${(t * 12 + 90) % 360} 60% 68%)`);
  context.fillStyle = sky;
  context.fillRect(0, 0, w, h);
  for (let i = 0; i < 5; i++) {
    const angle = t * (0.5 + i * 0.13) + i * 1.3;
    context.fillStyle = `hsl(${i * 72 + t * 20} 80% ${38 + i * 9}%)`;
    context.beginPath();
    const [x, y] = [w * (0.5 + 0.32 * Math.cos(angle)), h * (0.5 + 0.3 * Math.sin(angle * 1.3))];
    context.arc(x, y, Math.min(w, h) * (0.08 + 0.025 * i), 0, 7);
    context.fill();
  }
  if (t > 1 && t % 1 < BEEP_S) {
    context.fillStyle = '#fff';
    context.fillRect(0, 0, w, h * 0.16);
  }
  context.fillStyle = '#fff';
  context.font = `600 ${Math.round(h / 9)}px system-ui, sans-serif`;
  context.textAlign = 'center';
  context.fillText(t.toFixed(1), w / 2, h * 0.94);
}
