// Where pictures come from. Every source is { stream, label, size, stop() }; a source that ends by
// itself calls `onEnd`.

export const KINDS = ['camera', 'screen', 'file', 'clip', 'pattern'];

export async function open(kind, options, onEnd) {
  const source = await OPEN[kind](options);
  const [track] = source.stream.getVideoTracks();
  track.addEventListener('ended', onEnd);
  track.contentHint = kind === 'screen' ? 'detail' : 'motion';
  const stop = source.stop;
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

const OPEN = { camera, screen, file: fromFile, clip: fromClip, pattern };

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
  return { stream, label: stream.getVideoTracks()[0].label || 'Camera' };
}

async function screen({ fps }) {
  demand('getDisplayMedia');
  const stream = await navigator.mediaDevices.getDisplayMedia({
    audio: false,
    video: { frameRate: { ideal: fps } },
  });
  return { stream, label: 'Screen' };
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
  return drawn(width, height, fps, (context) => cover(context, video), () => {
    video.pause();
    video.removeAttribute('src');
  });
}

function cover(context, video) {
  const { width, height } = context.canvas;
  const scale = Math.max(width / video.videoWidth, height / video.videoHeight);
  const [w, h] = [video.videoWidth * scale, video.videoHeight * scale];
  context.drawImage(video, (width - w) / 2, (height - h) / 2, w, h);
}

async function pattern({ width, height, fps }) {
  const start = performance.now();
  const source = drawn(width, height, fps, (context) => {
    paintPattern(context, (performance.now() - start) / 1000);
  });
  return { ...source, label: 'Test pattern' };
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
  context.fillStyle = '#fff';
  context.font = `600 ${Math.round(h / 9)}px system-ui, sans-serif`;
  context.textAlign = 'center';
  context.fillText(t.toFixed(1), w / 2, h * 0.94);
}
