// Which source: the kind, the camera among several, the file.

import { cameras } from './sources.js';

export class Pickers {
  // `page` has `root`, `info`, `find`, `running`, `source` and `start(kind)`.
  constructor(page) {
    this.page = page;
    this.find = page.find;
    const kind = this.find('kind');
    if (!page.info.clip) {
      kind.querySelector('[value=clip]').remove();
      page.root.querySelector('[data-go=clip]')?.remove();
    }
    kind.addEventListener('change', () => {
      this.find('devices').hidden = kind.value !== 'camera' || this.find('device').length < 2;
      if (kind.value === 'file') this.find('file').click();
      else if (page.running) page.start();
    });
    this.find('file').addEventListener('change', () => page.start('file'));
    this.find('device').addEventListener('change', () => page.running && page.start('camera'));
    navigator.mediaDevices?.addEventListener?.('devicechange', () => this.listCameras());
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
