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
