// The live numbers: latency with a sparkline, rates, drops by cause, stages, and what runs.

import { text } from './words.js';

const DROPS = {
  ingest: 'Newer picture came first',
  superseded: 'Replaced while the model worked',
  egress: 'Too old to send',
  outbox: 'Too old to send',
  similar: 'Still picture, skipped',
  late: 'Past the deadline',
  late_drop: 'Could not be done in time',
  still: 'Still picture, skipped',
  half_rate: 'Every second one rests',
  suspended: 'Paused for others',
  too_fast: 'Sent faster than agreed',
  interrupted: 'While the model was restarted',
  browser: 'Not shown in time',
};
const STAGES = {
  wait: 'Waiting for the model',
  encode: 'Into the model',
  model: 'Model',
  decode: 'Out of the model',
  total: 'Server part in all',
  send: 'Held for an even pace',
};

export class Panel {
  constructor(element, meter) {
    this.meter = meter;
    this.panel = element.querySelector('.mr-panel');
    this.parts = {};
    for (const part of element.querySelectorAll('[data-part]')) {
      this.parts[part.dataset.part] = part;
    }
    this.stats = null;
  }

  about(info) {
    const { device, pipeline } = info;
    const threads = device.threads === 1 ? '1 thread' : `${device.threads} threads`;
    this.parts.about.textContent =
      `${pipeline.title} on ${device.name} in ${device.dtype}, ${threads}. ${pipeline.description}`;
    this.parts.choices.replaceChildren(
      ...info.choices.map((choice) => {
        const item = document.createElement('li');
        item.textContent = choice;
        return item;
      }),
    );
  }

  draw() {
    this.panel.toggleAttribute('data-idle', !this.stats);
    this.#latency();
    if (!this.stats) return;
    const s = this.stats;
    this.#put('fps-in', rate(s.source_fps));
    this.#put('fps-out', rate(s.fps_out));
    this.#put('steps', s.steps ?? '–');
    this.#put('queue', s.queue ?? 0);
    this.#promise(s);
    this.#drops({ ...s.drops, browser: this.meter.missed });
    this.#stages(s);
    this.#told(s.captions ?? {});
  }

  clear() {
    this.stats = null;
    this.meter.clear();
    for (const name of ['p50', 'p95', 'fps-in', 'fps-out', 'steps', 'queue']) this.#put(name, '–');
    this.#put('rtt', '');
    this.parts.promise.hidden = true;
    this.parts.telling.hidden = true;
    this.#drops({});
    this.#list('stages', [['Model', '–']]);
  }

  #latency() {
    const seen = this.meter.percentiles();
    const server = this.stats?.e2e_ms;
    const partOnly = this.meter.supported === false;
    const show = partOnly ? server : seen;
    this.parts['latency-name'].textContent = partOnly ? 'Server part only' : 'Capture to display';
    this.parts['latency-note'].hidden = !partOnly;
    this.#put('latency-note', partOnly ? text.partOnly : '');
    if (show) {
      this.#put('p50', Math.round(show.p50));
      this.#put('p95', Math.round(show.p95));
    }
    const rtt = this.meter.rtt;
    this.#put('rtt', rtt === null ? '' : ` · network ${rtt < 10 ? rtt.toFixed(1) : Math.round(rtt)} ms`);
    this.#spark();
  }

  #spark() {
    const canvas = this.parts.spark;
    const samples = this.meter.samples.toSorted((a, b) => a.at - b.at);
    const context = canvas.getContext('2d');
    const { width: w, height: h } = canvas;
    context.clearRect(0, 0, w, h);
    if (samples.length < 2) return;
    const now = performance.now();
    const top = Math.max(100, ...samples.map((s) => s.ms)) * 1.1;
    const point = ({ at, ms }) => [w - ((now - at) / 10_000) * w, h - 2 - (ms / top) * (h - 6)];
    context.beginPath();
    samples.forEach((sample, i) => context[i ? 'lineTo' : 'moveTo'](...point(sample)));
    context.strokeStyle = getComputedStyle(canvas).color;
    context.lineWidth = 2;
    context.lineJoin = 'round';
    context.stroke();
  }

  // How the session's promise is kept: its place on the quality ladder and why, and its deadlines.
  #promise(s) {
    const live = typeof s.rung === 'number';
    this.parts.promise.hidden = !live;
    if (!live) return;
    const lowered = s.rung > 0;
    this.#put('rung', lowered ? s.rung_name : 'Full quality');
    this.#put('rung-reason', lowered && s.rung_reason ? `· ${s.rung_reason}` : '');
    this.parts.rung.parentElement.toggleAttribute('data-lowered', lowered);
    const slack = s.slack_ms ?? {};
    const rows = [
      ['Missed', percent(s.deadline_miss_rate)],
      ['Replaced by newer ones', percent(s.superseded_rate)],
    ];
    if (typeof slack.p50 === 'number') rows.push(['Time to spare', `${slack.p50.toFixed(0)} ms`]);
    if (typeof slack.p05 === 'number') rows.push(['… at its worst', `${slack.p05.toFixed(0)} ms`]);
    if (s.device) rows.push(['Device', s.device]);
    this.#list('deadline', rows);
  }

  #drops(drops) {
    const rows = Object.entries(drops ?? {}).filter(([, count]) => count > 0);
    const named = rows.map(([cause, count]) => [DROPS[cause] ?? cause.replaceAll('_', ' '), count]);
    this.#list('drops', named.length ? named : [['None', 0]]);
  }

  #stages(s) {
    const { total, ...parts } = s.stages ?? {};
    const stages = { ...parts, send: s.send_ms, total };
    const rows = Object.entries(stages).flatMap(([name, value]) => {
      const ms = typeof value === 'object' && value ? value.p50 : value;
      return typeof ms === 'number' ? [[STAGES[name] ?? name, `${ms.toFixed(1)} ms`]] : [];
    });
    this.#list('stages', rows);
  }

  // How late captions and answers are, and what the language model looked at.
  #told({ delay_ms: delay, first_word_ms: first, looks = {}, ...s }) {
    const rows = [
      ['Said after', inSeconds(delay?.p50)],
      ['… at its worst', inSeconds(delay?.p95)],
      ['First word of an answer', inSeconds(first?.p50)],
      ['Looks', looks.taken],
      ['Nothing new, skipped', looks.unchanged],
      ['Too late, skipped', looks.superseded],
      ['Repetitions not said', s.duplicates],
      ['Tokens remembered', s.tokens_kept],
    ].filter(([, value]) => value !== undefined && value !== null);
    this.parts.telling.hidden = !rows.length;
    this.#list('told', rows);
  }

  #list(part, rows) {
    this.parts[part].replaceChildren(
      ...rows.map(([name, value]) => {
        const row = document.createElement('div');
        const [dt, dd] = [document.createElement('dt'), document.createElement('dd')];
        dt.textContent = name;
        dd.textContent = value;
        row.append(dt, dd);
        return row;
      }),
    );
  }

  #put(part, value) {
    this.parts[part].textContent = value;
  }
}

function inSeconds(ms) {
  return typeof ms === 'number' ? `${(ms / 1000).toFixed(1)} s` : undefined;
}

function percent(share) {
  return typeof share === 'number' ? `${(100 * share).toFixed(share < 0.0995 ? 1 : 0)} %` : '–';
}

function rate(value) {
  return typeof value === 'number' ? value.toFixed(value < 9.95 ? 1 : 0) : '–';
}
