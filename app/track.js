// The caption track: cues of one or, after a reconnect, several sessions on one time line, and how
// they are written to files.

const LEAST_S = 0.5; // a cue is shown for at least this long

export class Track {
  cues = []; // { key, session, own: cue as sent, at: ms on the performance clock of its start }
  #byKey = new Map();
  #zeros = new Map(); // session: ms on the performance clock of its second 0

  clear() {
    this.cues = [];
    this.#byKey.clear();
    this.#zeros.clear();
  }

  // Where a session's second 0 lies on the performance clock.
  zero(session, ms) {
    if (!this.#zeros.has(session)) this.#zeros.set(session, ms);
  }

  knows(session) {
    return this.#zeros.has(session);
  }

  // A new cue, or one in place of that with the same id. Returns the entry.
  add(session, own) {
    const key = `${session}/${own.id}`;
    let entry = this.#byKey.get(key);
    if (!entry) {
      entry = { key, session };
      this.#byKey.set(key, entry);
      this.cues.push(entry);
    }
    entry.own = own;
    return entry;
  }

  // Seconds of this time line for a second of a session.
  seconds(session, second) {
    const [first] = this.#zeros.values();
    const zero = this.#zeros.get(session) ?? first ?? 0;
    return Math.max(0, (zero - (first ?? 0)) / 1000 + second);
  }

  // Cues as files hold them: final ones, by their beginning, none of a kind over the next one.
  // `from` and `to`: only what is shown in this time (performance clock), counted from its beginning;
  // `late`: ms that the picture comes after its capture.
  shown({ from = null, to = Infinity, late = 0 } = {}) {
    const [first] = this.#zeros.values();
    const shift = from === null ? 0 : (first + late - from) / 1000;
    const end = from === null ? Infinity : (to - from) / 1000;
    const cues = this.cues
      .filter(({ own }) => own.final && own.text)
      .map(({ session, own }) => {
        const start = this.seconds(session, own.start) + shift;
        return { ...own, start, end: start + own.end - own.start };
      })
      .filter((cue) => cue.end > 0 && cue.start < end)
      .map((cue) => ({ ...cue, start: Math.max(0, cue.start) }))
      .sort((a, b) => a.start - b.start);
    const last = {};
    for (const cue of cues) {
      const before = last[cue.kind];
      if (before) {
        cue.start = Math.max(cue.start, before.start + LEAST_S);
        before.end = Math.min(before.end, cue.start);
      }
      cue.end = Math.max(cue.end, cue.start + LEAST_S);
      last[cue.kind] = cue;
    }
    return cues.sort((a, b) => a.start - b.start);
  }

  vtt(span) {
    const blocks = this.shown(span).map(({ start, end, text, kind }, i) => {
      const words = text.replace(/[&<>]/g, (sign) => ESCAPES[sign]);
      const marked = kind === 'caption' ? words : `<c.${kind}>${words}</c>`;
      return `${i + 1}\n${stamp(start, '.')} --> ${stamp(end, '.')}\n${marked}\n`;
    });
    return ['WEBVTT\n', ...blocks].join('\n');
  }

  srt(span) {
    const blocks = this.shown(span).map(({ start, end, text, kind }, i) => {
      const words = text.replaceAll('<', '‹').replaceAll('>', '›');
      const marked = kind === 'caption' ? words : `[${kind}] ${words}`;
      return `${i + 1}\n${stamp(start, ',')} --> ${stamp(end, ',')}\n${marked}\n`;
    });
    return blocks.join('\n');
  }
}

const ESCAPES = { '&': '&amp;', '<': '&lt;', '>': '&gt;' };

function stamp(seconds, point) {
  const ms = Math.round(seconds * 1000);
  const two = (n) => String(n).padStart(2, '0');
  const [s, rest] = [Math.floor(ms / 1000), String(ms % 1000).padStart(3, '0')];
  return `${two(Math.floor(s / 3600))}:${two(Math.floor(s / 60) % 60)}:${two(s % 60)}${point}${rest}`;
}

// 75 as 1:15, 3675 as 1:01:15.
export function clock(seconds) {
  const s = Math.max(0, Math.floor(seconds + 1e-6));
  const two = (n) => String(n).padStart(2, '0');
  const minutes = Math.floor(s / 60);
  if (minutes < 60) return `${minutes}:${two(s % 60)}`;
  return `${Math.floor(minutes / 60)}:${two(minutes % 60)}:${two(s % 60)}`;
}
