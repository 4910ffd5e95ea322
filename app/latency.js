// Capture-to-display latency on this browser's own clock; stamps.py tells how it is put together.

const KEEP_MS = 10_000;
const SOON = 600; // pictures whose other half may still come

export class LatencyMeter {
  samples = []; // { at, ms } of the last ten seconds, `at` on the performance clock
  supported = null; // whether this browser says which picture it shows; null before the first
  shown = 0;
  missed = 0;
  offsetMs = null; // server clock minus ours, from the fastest ping
  #rtt = Infinity;
  #presented = new Map();
  #stamps = new Map();
  #counter = null;
  #latest = null; // RTP timestamp of the newest picture shown
  #waiting = []; // { rtp, done(at) }

  // A new connection: its stamps have another origin, its counters begin anew.
  clear() {
    this.samples = [];
    this.shown = this.missed = 0;
    this.#counter = null;
    this.#rtt = Infinity;
    this.offsetMs = null;
    this.#latest = null;
    this.#waiting = [];
    this.#presented.clear();
    this.#stamps.clear();
  }

  // A picture was presented: metadata of requestVideoFrameCallback; null where browsers lack it.
  frame(metadata) {
    if (!metadata) {
      this.supported = false;
      return;
    }
    const rtp = metadata.rtpTimestamp;
    this.supported = rtp !== undefined;
    this.shown += 1;
    const gap = this.#counter === null ? 0 : metadata.presentedFrames - this.#counter - 1;
    this.missed += Math.max(0, gap);
    this.#counter = metadata.presentedFrames;
    if (!this.supported) return;
    const at = Math.max(metadata.presentationTime, metadata.expectedDisplayTime);
    this.#latest = rtp;
    this.#waiting = this.#waiting.filter((wait) => !(this.#isShown(wait.rtp) && wait.done(at)));
    remember(this.#presented, rtp, at);
    this.#match(rtp);
  }

  // A batch of [RTP timestamp, capture time in ms] from the server.
  stamps(clock, list) {
    for (const [rtp, ms] of list) {
      remember(this.#stamps, rtp, { clock, ms });
      this.#match(rtp);
    }
  }

  pong(sentAt, serverMs) {
    const now = performance.now();
    const rtt = now - sentAt;
    if (rtt > this.#rtt * 1.2) return;
    this.#rtt = Math.min(rtt, this.#rtt);
    this.offsetMs = serverMs - (sentAt + now) / 2;
  }

  get rtt() {
    return Number.isFinite(this.#rtt) ? this.#rtt : null;
  }

  // Calls back when this picture or a later one is shown: browsers leave pictures out when the next
  // one is there already.
  whenShown(rtp, callback) {
    const done = (at) => (callback(at), true);
    if (rtp === null || this.supported === false || this.#isShown(rtp)) done(performance.now());
    else this.#waiting.push({ rtp, done });
  }

  #isShown(rtp) {
    return this.#latest !== null && ((this.#latest - rtp) | 0) >= 0; // timestamps wrap at 32 bits
  }

  percentiles() {
    const now = performance.now();
    this.samples = this.samples.filter((s) => now - s.at < KEEP_MS);
    const sorted = this.samples.map((s) => s.ms).sort((a, b) => a - b);
    if (!sorted.length) return null;
    const at = (q) => sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))];
    return { p50: at(0.5), p95: at(0.95), count: sorted.length };
  }

  #match(rtp) {
    const at = this.#presented.get(rtp);
    const stamp = this.#stamps.get(rtp);
    if (at === undefined || stamp === undefined) return;
    const captured = this.#onOurClock(stamp);
    if (captured === null) return;
    this.#presented.delete(rtp);
    this.#stamps.delete(rtp);
    const ms = at - captured;
    // Outside these bounds a clock was set during the session: no number is better than that one.
    if (ms > 0 && ms < 60_000) this.samples.push({ at, ms });
  }

  #onOurClock({ clock, ms }) {
    if (clock === 'browser') return ms - performance.timeOrigin;
    return this.offsetMs === null ? null : ms - this.offsetMs - this.#rtt / 2;
  }
}

function remember(map, key, value) {
  map.set(key, value);
  if (map.size > SOON) map.delete(map.keys().next().value);
}
