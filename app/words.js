// What the page says, in one place. Each problem names its cause and the way out.

const MEDIA = {
  NotAllowedError:
    'The browser was not allowed to use it. Click the camera sign in the address bar, allow it, then start again.',
  NotFoundError: 'There is no camera. Plug one in, or choose the clip, a file or the test pattern.',
  NotReadableError: 'The camera is in use by another program. Close that program, then start again.',
  OverconstrainedError: 'This camera cannot do what was asked. Choose another one.',
  AbortError: 'The camera stopped before it began. Start again.',
  SecurityError: 'The browser forbids capturing on this page.',
};

export function mediaProblem(error, kind) {
  if (!window.isSecureContext) {
    return (
      'Browsers give a camera or screen only to secure pages. Open this page as http://localhost ' +
      '(an SSH tunnel will do) or over https. Clip, file and test pattern work here too.'
    );
  }
  if (error.name === 'NotAllowedError' && kind === 'screen') {
    return 'No screen was chosen. Start again and choose a window or screen.';
  }
  return MEDIA[error.name] ?? `The source did not start: ${error.message || error.name}`;
}

export const text = {
  idle: 'Ready',
  connecting: 'Connecting',
  live: 'Live',
  paused: 'Paused',
  queued: 'In the queue',
  opening: 'Opening',
  interrupted: 'Model restarting',
  reconnecting: 'Reconnecting',
  failed: 'Not connected',
  starting: 'Opening the source',
  workerDown: 'The model stopped unexpectedly and is being started again. The connection is kept.',
  workerBack: 'The model is back.',
  moved: (device) => `Your session went on to ${device} without a break.`,
  lowered: (name, reason) => `Now at "${name}"${reason ? `: ${reason}` : ''}.`,
  restored: 'Back at full quality.',
  lost: (seconds) => `The connection was lost. Trying again in ${seconds} s.`,
  full: (why, seconds) => `${why} Trying again in ${seconds} s.`,
  unreachable: (seconds) => `The server does not answer. Trying again in ${seconds} s.`,
  noMedia:
    'The server answered, but no path for video opened. A firewall may block UDP: on the same ' +
    'machine allow it locally, across networks start the server with a TURN server (--ice-server).',
  sourceEnded: 'The source ended.',
  signIn: 'The server asks for its token again. Reload the page.',
  partOnly:
    'This browser does not tell which picture it shows, so this is the part that the server sees.',
};

export function capital(sentence) {
  const whole = sentence.charAt(0).toUpperCase() + sentence.slice(1);
  return /[.!?]$/.test(whole) ? whole : `${whole}.`;
}

export const modeText = {
  lead: {
    'video-to-video': 'Your camera, redrawn while it plays.',
    'text-to-video': 'Your words, a video while you write.',
    'image-to-video': 'A picture that goes on as you say.',
  },
  pick: 'Choose a picture',
  another: 'Choose another',
  firstOfLive: 'Begins with the picture that is there; “Forget the past” takes the next one.',
  notHere: ' (not with this model)',
  // Why a mode cannot be had.
  refused: (mode, { title, draws_from: from, elsewhere }) => {
    const has = from.map((one) => modeText.sources[one]).join(' or ');
    const lacks = modeText.needs[mode];
    return `“${title}” draws from ${has}, not from ${modeText.sources[lacks]}. Start the server with --model ${elsewhere[lacks]} for that.`;
  },
  needs: { 'video-to-video': 'video', 'text-to-video': 'text', 'image-to-video': 'image' },
  sources: { video: 'a live picture', text: 'words alone', image: 'a picture to begin with' },
};

export const soundText = {
  sent: 'The sound of the source is sent, and recorded with the picture. Click to stop.',
  unsent: 'Send the sound of the source with the picture',
  heard: 'You hear the sound here. Click to mute it here only.',
  muted: 'Muted here. Click to hear it; with a microphone use headphones.',
  mutedHere: 'Your sound is sent. It is muted here, so that it does not go in circles.',
  none: 'This source has no sound.',
  problem: (error) =>
    error.name === 'NotAllowedError'
      ? 'The browser was not allowed to use the microphone. Click its sign in the address bar, allow it, then try again.'
      : error.name === 'NotFoundError'
        ? 'There is no microphone. Plug one in, then try again.'
        : `The sound did not start: ${error.message || error.name}`,
};

// Other things that pipelines say of a prompt, in words; what is not named here is shown as it is.
const ofPrompt = {
  look: (look) => `Then drawn as ${mixture(look)}.`,
  prompt_waits: () => 'The new prompt is being read.',
  prompt_share: (share) => `The new prompt takes over: ${Math.round(share * 100)} %.`,
  prompt_cut: (note) => `Not all of it is used: ${note}.`,
};

// What a pipeline says of the prompt: [[name, weight], ...] and the words it does not know.
export function understanding({ understood, unknown = [], ...rest }) {
  const part = (tag, words) => Object.assign(document.createElement(tag), { textContent: words });
  const nodes = [];
  if (Array.isArray(understood)) {
    if (understood.length) nodes.push('Understood as ', part('b', mixture(understood)), '.');
  }
  if (unknown.length) nodes.push(part('i', ` Not understood: ${unknown.join(', ')}.`));
  const more = Object.entries(rest).filter(([name]) => !(name in ofPrompt));
  for (const [name, words] of Object.entries(ofPrompt)) {
    if (name in rest) nodes.push(` ${words(rest[name])}`);
  }
  if (more.length) nodes.push(` ${more.map(([name, value]) => `${name}: ${value}`).join(', ')}`);
  return nodes;
}

// [[name, weight], ...] in words.
function mixture(parts) {
  const one = ([name, weight]) => (parts.length > 1 ? `${name} ${Math.round(weight * 100)} %` : name);
  return parts.map(one).join(' + ');
}

export const captionText = {
  states: {
    idle: 'Start a picture and read here what happens in it.',
    loading: 'The language model is being loaded. Captions begin by themselves.',
    off: 'Captions are off. The switch above turns them on.',
    opening: 'The language model takes its first look.',
    live: 'The first words come in a moment.',
    interrupted:
      'The language model stopped and is being started again. What it saw is forgotten; the ' +
      'captions stay here.',
    closed: 'The captions ended.',
  },
  soon: 'The first words come in a moment.',
  seen: (time) => `up to ${time}`,
  seenTitle: 'Everything up to here was looked at; there is nothing newer to tell.',
  endWish: (words) => `Tell everything again, not: ${words}`,
  kinds: { alert: 'Alert', speech: 'Speech', answer: 'Answer' },
  pictureOf: (time) => `Picture at ${time}`,
  pictureGone: 'This picture is no longer stored.',
  showPicture: 'Show the picture',
  showPictureOf: (time) => `${time}, show the picture`,
  showSpan: (start, end) => `Seen from ${start} to ${end}; show the pictures`,
  whatItCan: (name) => `What “${name}” can tell`,
  where: ({ device, dtype, period, memory }) =>
    `Runs on ${device} in ${dtype}. It looks every ${seconds(period)} and can be asked about the ` +
    `last ${span(memory)}.`,
  askStates: {
    live: 'Ask about anything that was seen so far.',
    idle: 'Start a picture, then ask about anything that was seen.',
    loading: 'Questions can be asked as soon as the language model is loaded.',
    none: 'Without captions there is nobody to ask.',
    failed: 'Without captions there is nobody to ask.',
    interrupted: 'One moment: the language model is being started again.',
  },
  notConnected: 'There is no picture to ask about. Start one first.',
  lostAnswer: 'The picture stopped before the answer came. Ask again.',
  noAnswer: 'It has no answer to that.',
  willTell: (condition) => `You are told when ${condition}.`,
  cameTrue: (condition, time) => capital(`${condition} (${time})`),
  notYet: 'not yet',
  wasTrue: (times) => `at ${times.join(', ')}`,
  removeAlert: (condition) => `Do not watch for: ${condition}`,
};

function seconds(value) {
  return value === 1 ? 'second' : `${value} seconds`;
}

function span(value) {
  return value < 120 ? `${Math.round(value)} seconds` : `${Math.round(value / 60)} minutes`;
}
