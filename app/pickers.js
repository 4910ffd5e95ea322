// Which source: the kind, the camera among several, the file; and at which size.

import { cameras } from './sources.js';

export class Pickers {
  // `page` has `root`, `info`, `find`, `modes`, `running`, `source`, `start(kind)` and
  // `resize(width, height)`.
  constructor(page) {
    this.page = page;
    this.find = page.find;
    const kind = this.find('kind');
    if (!page.info.clip) {
      kind.querySelector('[value=clip]').remove();
      page.root.querySelector('[data-go=clip]')?.remove();
    }
    this.#sizes();
    kind.addEventListener('change', () => {
      this.find('devices').hidden = kind.value !== 'camera' || this.find('device').length < 2;
      page.modes.follow(kind.value);
      if (kind.value === 'file') this.find('file').click();
      else if (kind.value === 'still' && !page.modes.picture) this.find('still').click();
      else if (page.running) page.start();
    });
    this.find('file').addEventListener('change', () => page.start('file'));
    this.find('device').addEventListener('change', () => page.running && page.start('camera'));
    navigator.mediaDevices?.addEventListener?.('devicechange', () => this.listCameras());
  }

  // Sizes that the model draws well, beside the one that the server was started with.
  #sizes() {
    const { size, sizes } = this.page.info;
    const names = [size, ...sizes].map(([width, height]) => `${width}x${height}`);
    const select = this.find('size');
    select.replaceChildren(
      ...[...new Set(names)].map((name) => new Option(name.replace('x', ' \u00d7 '), name)),
    );
    this.find('sizes').hidden = select.length < 2;
    select.addEventListener('change', () => this.page.resize(...select.value.split('x').map(Number)));
  }

  async listCameras() {
    const list = await cameras();
    const select = this.find('device');
    const track = this.page.source?.stream.getVideoTracks()[0];
    const chosen = track?.getSettings().deviceId ?? select.value;
    select.replaceChildren(
      ...list.map((device, i) => new Option(device.label || `Camera ${i + 1}`, device.deviceId)),
    );
    if (list.some((device) => device.deviceId === chosen)) select.value = chosen;
    this.find('devices').hidden = this.find('kind').value !== 'camera' || list.length < 2;
  }
}
