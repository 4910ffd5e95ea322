// In the page under test: a canvas source that counts, and a reader of what comes back.

(() => {
  const BITS = 12;
  const [W, H] = [256, 256];
  const rig = { drawn: new Map(), seen: [], unreadable: 0, count: 0 };
  let wake = () => {};

  function paint(context, number) {
    const sky = context.createLinearGradient(0, 0, W, 0);
    sky.addColorStop(0, '#505050');
    sky.addColorStop(1, '#c8c8c8');
    context.fillStyle = sky;
    context.fillRect(0, 0, W, H);
    context.fillStyle = '#e0e0e0';
    context.fillRect((number * 3) % W, 60, 40, 40);
    const [top, half] = [H * 0.75, H * 0.125];
    for (let i = 0; i < BITS; i++) {
      const [left, right] = [Math.floor((W * i) / BITS), Math.floor((W * (i + 1)) / BITS)];
      const bit = (number >> i) & 1;
      context.fillStyle = bit ? '#fff' : '#000';
      context.fillRect(left, top, right - left, half);
      context.fillStyle = bit ? '#000' : '#fff';
      context.fillRect(left, top + half, right - left, half);
    }
  }

  function read(context) {
    const { data } = context.getImageData(0, 0, W, H);
    const mean = (x0, x1, y0, y1) => {
      let sum = 0;
      for (let y = y0; y < y1; y++) {
        for (let x = x0; x < x1; x++) sum += data[(y * W + x) * 4 + 1];
      }
      return sum / ((x1 - x0) * (y1 - y0));
    };
    const [top, half] = [H * 0.75, H * 0.125];
    let number = 0;
    for (let i = 0; i < BITS; i++) {
      const [left, right] = [Math.floor((W * i) / BITS) + 5, Math.floor((W * (i + 1)) / BITS) - 5];
      const bit = mean(left, right, top + 6, top + half - 6);
      const inverse = mean(left, right, top + half + 6, top + 2 * half - 6);
      if (Math.abs(bit - inverse) < 30) return null;
      number |= (bit > inverse) << i;
    }
    const at = (40 * W + 128) * 4;
    return { number, colour: [...data.slice(at, at + 3)] };
  }

  rig.source = () => {
    const canvas = document.createElement('canvas');
    Object.assign(canvas, { width: W, height: H });
    const context = canvas.getContext('2d');
    paint(context, 0);
    const timer = setInterval(() => {
      rig.count += 1;
      paint(context, rig.count % (1 << BITS));
      rig.drawn.set(rig.count % (1 << BITS), performance.now());
    }, 1000 / 30);
    const stream = canvas.captureStream(30);
    rig.canvas = canvas;
    return { stream, stop: () => (clearInterval(timer), stream.getTracks().forEach((t) => t.stop())) };
  };

  rig.watch = () => {
    const video = document.querySelector('[data-part=out]');
    const canvas = document.createElement('canvas');
    Object.assign(canvas, { width: W, height: H });
    const context = canvas.getContext('2d', { willReadFrequently: true });
    const next = (now, metadata) => {
      context.drawImage(video, 0, 0, W, H);
      const found = read(context);
      if (!found) rig.unreadable += 1;
      else {
        const drawn = rig.drawn.get(found.number);
        const at = Math.max(metadata.presentationTime, metadata.expectedDisplayTime);
        rig.seen.push({ ...found, at, latency: at - drawn, counter: metadata.presentedFrames });
        wake();
      }
      video.requestVideoFrameCallback(next);
    };
    video.requestVideoFrameCallback(next);
  };

  // A source of plain colours, and what comes back of each.
  rig.colours = (names) => {
    const canvas = document.createElement('canvas');
    Object.assign(canvas, { width: W, height: H });
    const context = canvas.getContext('2d');
    const wide = W / names.length;
    const timer = setInterval(() => {
      names.forEach((name, i) => {
        context.fillStyle = name;
        context.fillRect(i * wide, 0, wide, H);
      });
      context.fillStyle = (rig.count += 1) % 2 ? '#111' : '#eee';
      context.fillRect(0, H - 8, 8, 8);
    }, 1000 / 30);
    return { stream: canvas.captureStream(30), stop: () => clearInterval(timer) };
  };

  rig.returned = (count) => {
    const canvas = document.createElement('canvas');
    Object.assign(canvas, { width: W, height: H });
    const context = canvas.getContext('2d');
    context.drawImage(document.querySelector('[data-part=out]'), 0, 0, W, H);
    const wide = W / count;
    const at = (i) => context.getImageData((i + 0.5) * wide, H / 2, 1, 1).data;
    return Array.from({ length: count }, (_, i) => [...at(i)].slice(0, 3));
  };

  // Where the upper edge of what comes back is bright, as text.
  rig.bars = () => {
    const canvas = document.createElement('canvas');
    Object.assign(canvas, { width: W, height: H });
    const context = canvas.getContext('2d');
    context.drawImage(document.querySelector('[data-part=out]'), 0, 0, W, H);
    const { data } = context.getImageData(0, 8, W, 1);
    return Array.from({ length: 16 }, (_, i) => (data[i * 64 + 32] > 200 ? '1' : '0')).join('');
  };

  // Mean absolute difference, in levels, of the picture as drawn and as shown, the numbers left out.
  rig.difference = () => {
    const shown = pixels(document.querySelector('[data-part=out]'));
    const drawn = pixels(rig.canvas);
    let sum = 0;
    for (let i = 0; i < drawn.length; i++) if (i % 4 !== 3) sum += Math.abs(shown[i] - drawn[i]);
    return sum / (drawn.length * 0.75);
  };

  function pixels(source) {
    const canvas = document.createElement('canvas');
    Object.assign(canvas, { width: 64, height: 48 });
    const context = canvas.getContext('2d', { willReadFrequently: true });
    context.drawImage(source, 0, 0, W, H * 0.75, 0, 0, 64, 48);
    return context.getImageData(0, 0, 64, 48).data;
  }

  // Resolves when `test(rig)` holds, checked after each picture; rejects after `seconds`.
  rig.until = (test, seconds) =>
    new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error('nothing of the kind was seen')), seconds * 1000);
      const before = wake;
      wake = () => {
        before();
        if (!test(rig)) return;
        clearTimeout(timer);
        wake = before;
        resolve(true);
      };
    });

  window.rig = rig;
})();
