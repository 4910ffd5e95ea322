// One WebRTC connection that outlives its troubles: offers, data channel, reconnects with backoff.
// Events: state {state, message}, message {data of the server}, track {stream}.

import { capital, text } from './words.js';

const BACKOFF = [0.5, 1, 2, 4, 8];
const MOST_S = 30;
const GATHER_MS = 1000;
const CONNECT_MS = 12_000;

export class Connection extends EventTarget {
  state = 'idle';
  session = null;
  #pc = null;
  #channel = null;
  #source = null;
  #sound = null;
  #soundSender = null;
  #ask = null;
  #attempt = 0;
  #timers = new Set();
  #generation = 0;

  constructor(info) {
    super();
    this.info = info;
    addEventListener('pagehide', () => this.#free());
  }

  // `ask()` gives what to open the session with: { width, height, fps, controls }.
  async start(source, ask) {
    this.stop();
    this.#source = source;
    this.#ask = ask;
    this.#attempt = 0;
    await this.#connect();
  }

  stop() {
    this.#generation += 1;
    this.#drop();
    this.#set('idle', '');
  }

  send(message) {
    if (this.#channel?.readyState !== 'open') return false;
    this.#channel.send(JSON.stringify(message));
    return true;
  }

  // Whether sound is sent now.
  get sounding() {
    return this.#soundSender?.track != null;
  }

  get open() {
    return this.#channel?.readyState === 'open';
  }

  async linkStats() {
    return this.#pc ? [...(await this.#pc.getStats()).values()] : [];
  }

  async #connect() {
    const generation = ++this.#generation;
    this.#set(this.#attempt ? 'reconnecting' : 'connecting', '');
    const pc = new RTCPeerConnection({
      iceServers: this.info.ice_servers,
      bundlePolicy: 'max-bundle',
    });
    this.#pc = pc;
    this.#openChannel(pc, generation);
    this.#addTracks(pc, generation);
    pc.addEventListener('connectionstatechange', () => this.#watch(pc, generation));
    try {
      await pc.setLocalDescription();
      await gathered(pc);
      if (generation !== this.#generation) return;
      const answer = await this.#post(pc.localDescription.sdp);
      if (generation !== this.#generation) {
        this.#delete(answer.id);
        return;
      }
      this.session = answer.id;
      await pc.setRemoteDescription({ type: 'answer', sdp: answer.sdp });
      this.#after(CONNECT_MS, () => {
        if (pc.connectionState !== 'connected') this.#retry(generation, () => text.noMedia);
      });
    } catch (error) {
      if (generation === this.#generation) this.#refused(generation, error);
    }
  }

  #openChannel(pc, generation) {
    const channel = pc.createDataChannel('control', { ordered: true });
    this.#channel = channel;
    channel.addEventListener('message', ({ data }) => {
      if (generation === this.#generation) this.#emit('message', JSON.parse(data));
    });
    channel.addEventListener('open', () => {
      if (generation !== this.#generation) return;
      this.#attempt = 0;
      this.#set('live', '');
    });
    channel.addEventListener('close', () => {
      if (generation === this.#generation && pc.connectionState === 'connected') {
        this.#retry(generation, text.lost);
      }
    });
  }

  // The sound that is sent from now on, or null; no new offer is needed.
  setSound(track) {
    this.#sound = track;
    this.#soundSender?.replaceTrack(track).catch(() => {}); // closed meanwhile
  }

  #addTracks(pc, generation) {
    const [track] = this.#source.stream.getVideoTracks();
    const { width, height } = track.getSettings();
    const [wantedWidth, wantedHeight] = this.info.size;
    const scale = width ? Math.min(width / wantedWidth, height / wantedHeight) : 1;
    pc.addTransceiver(track, {
      direction: 'sendrecv',
      streams: [this.#source.stream],
      sendEncodings: [
        {
          maxBitrate: this.info.bitrate * 2,
          maxFramerate: this.info.fps,
          scaleResolutionDownBy: Math.max(1, scale),
        },
      ],
    });
    // Always offered, so that sound can be turned on without another offer.
    const { sender } = pc.addTransceiver(this.#sound ?? 'audio', {
      direction: 'sendrecv',
      streams: [this.#source.stream],
    });
    this.#soundSender = sender;
    const stream = new MediaStream();
    pc.addEventListener('track', ({ track: back, receiver }) => {
      if (generation !== this.#generation) return;
      stream.addTrack(back);
      if (back.kind !== 'video') return;
      // The server paces the pictures; holding them back here would only add latency.
      if ('jitterBufferTarget' in receiver) receiver.jitterBufferTarget = 0;
      this.#emit('track', { stream });
    });
  }

  // Detail may go, size may not: a smaller picture would only be scaled up again by the server.
  async #keepSize(pc) {
    const [sender] = pc.getSenders();
    const parameters = sender.getParameters();
    parameters.degradationPreference = 'maintain-resolution';
    await sender.setParameters(parameters).catch(() => {}); // Safari lacks the setting
  }

  async #post(sdp) {
    let response;
    try {
      response = await fetch('/api/v1/sessions', {
        method: 'POST',
        headers: { 'Content-Type': 'application/json' },
        body: JSON.stringify({ sdp, type: 'offer', ...this.#ask() }),
      });
    } catch {
      throw { retry: true, say: text.unreachable };
    }
    const body = await response.json().catch(() => ({}));
    if (response.ok) return body;
    const why = capital(body.error ?? `the server answered ${response.status}`);
    if (response.status === 401) throw { retry: false, say: () => text.signIn };
    const after = Number(response.headers.get('Retry-After')) || null;
    if (response.status === 503) throw { retry: true, after, say: (s) => text.full(why, s) };
    if (response.status >= 500) throw { retry: true, say: text.unreachable };
    throw { retry: false, say: () => why };
  }

  #refused(generation, error) {
    if (error.retry) this.#retry(generation, error.say, error.after);
    else {
      this.#drop();
      this.#set('failed', error.say?.(0) ?? `The browser could not connect: ${error.message}`);
    }
  }

  #watch(pc, generation) {
    if (generation !== this.#generation) return;
    if (pc.connectionState === 'connected') {
      this.#keepSize(pc);
    } else if (pc.connectionState === 'failed') {
      this.#retry(generation, this.open || this.state === 'live' ? text.lost : () => text.noMedia);
    } else if (pc.connectionState === 'disconnected') {
      this.#after(3000, () => {
        if (pc.connectionState !== 'connected') this.#retry(generation, text.lost);
      });
    }
  }

  // `after`: seconds that the server asked for; we come a little earlier rather than stay away long.
  #retry(generation, say, after = null) {
    if (generation !== this.#generation) return;
    const usual = BACKOFF[Math.min(this.#attempt, BACKOFF.length - 1)];
    const wait = after ? Math.min(after, MOST_S) : usual;
    this.#attempt += 1;
    this.#generation += 1;
    this.#drop();
    this.#set('reconnecting', say(wait));
    this.#after(wait * 1000 * (0.8 + 0.4 * Math.random()), () => this.#connect());
  }

  #after(ms, action) {
    const generation = this.#generation;
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      if (generation === this.#generation) action();
    }, ms);
    this.#timers.add(timer);
  }

  #drop() {
    this.#timers.forEach(clearTimeout);
    this.#timers.clear();
    const pc = this.#pc;
    // The server ends the session of a connection that closes, and would not know it any more.
    this.#free().finally(() => pc?.close());
    this.#pc = this.#channel = this.#soundSender = null;
  }

  async #free() {
    const id = this.session;
    this.session = null;
    if (id) await this.#delete(id);
  }

  // `keepalive` lets the request outlive the page, so that a closed tab frees its place at once.
  #delete(id) {
    const told = fetch(`/api/v1/sessions/${id}`, { method: 'DELETE', keepalive: true });
    return told.catch(() => {});
  }

  #set(state, message) {
    this.state = state;
    this.#emit('state', { state, message });
  }

  #emit(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}

function gathered(pc) {
  return new Promise((resolve) => {
    if (pc.iceGatheringState === 'complete') return resolve();
    const timer = setTimeout(resolve, GATHER_MS);
    pc.addEventListener('icegatheringstatechange', () => {
      if (pc.iceGatheringState !== 'complete') return;
      clearTimeout(timer);
      resolve();
    });
  });
}
