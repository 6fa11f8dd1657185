// The panel in the page: a picture, its landmarks, controls, a ray, and a player whose clock is
// the sound's. All that is computed comes from Python; see panel.py for the messages.
const SIDE = 512; // pixels of the canvas; the page scales it
const FPS = 25;
const RATE = 16000; // samples a second, both ways
const DEGREES = 0.25; // the head's turn for a pixel of dragging
const LINES = [[0, 16], [17, 21], [22, 26], [27, 30], [31, 35], [36, 41, 36], [42, 47, 42], [48, 59, 48], [60, 67, 60]];

function make(tag, parent, properties = {}) {
  const element = Object.assign(document.createElement(tag), properties);
  parent.append(element);
  return element;
}

function bytes(view) {
  return view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength);
}

function face(context, points, first, colour) {
  context.strokeStyle = context.fillStyle = colour;
  for (const [from, to, end] of LINES) {
    context.beginPath();
    for (let k = from; k <= to; k++) context.lineTo(SIDE * points[first + 2 * k], SIDE * points[first + 2 * k + 1]);
    if (end !== undefined) context.lineTo(SIDE * points[first + 2 * end], SIDE * points[first + 2 * end + 1]);
    context.stroke();
  }
  for (let k = 0; k < 68; k++) context.fillRect(SIDE * points[first + 2 * k] - 1.5, SIDE * points[first + 2 * k + 1] - 1.5, 3, 3);
}

function render({ model, el }) {
  el.classList.add("gk-panel");
  const controls = model.get("controls");
  const left = make("div", el), right = make("div", el, { className: "gk-side" });
  const canvas = make("canvas", left, { width: SIDE, height: SIDE, tabIndex: 0 });
  canvas.setAttribute("aria-label", "picture");
  const context = canvas.getContext("2d");
  let picture = null, film = null, at = -1, clock = null, origin = 0;

  function paint() {
    const still = at < 0;
    const shown = still || !film.is_drawn ? picture : film.shown;
    context.clearRect(0, 0, SIDE, SIDE);
    if (shown) {
      const scale = SIDE / Math.max(shown.width, shown.height);
      const [width, height] = [scale * shown.width, scale * shown.height];
      context.drawImage(shown, (SIDE - width) / 2, (SIDE - height) / 2, width, height);
    }
    const plain = getComputedStyle(el).color;
    const layers = still
      ? [[model.get("ghost"), 0, "#999"], [model.get("points"), 0, shown ? "#50ff50" : plain]]
      : [[film.ghost, 136 * at, "#999"], [film.points, 136 * at, shown ? "#50ff50" : plain]];
    for (const [points, first, colour] of layers)
      if (points && points.length > first && (dots.checked || !shown)) face(context, points, first, colour);
    const pixel = model.get("pixel");
    if (still && pixel.length) {
      context.strokeStyle = "#ff3030";
      context.strokeRect(SIDE * pixel[0] - 5, SIDE * pixel[1] - 5, 10, 10);
    }
  }

  async function take() {
    const view = model.get("picture");
    picture = view && view.byteLength ? await createImageBitmap(new Blob([bytes(view)])) : null;
    paint();
  }

  // Controls: a slider for numbers, a list for words.
  const inputs = {};
  function choose(changes) {
    stop();
    model.set("chosen", { ...model.get("chosen"), ...changes });
    model.save_changes();
  }
  for (const { name, options, unit } of controls) {
    const row = make("label", right, { className: "gk-row" });
    make("span", row, { textContent: name });
    if (typeof options[0] === "string") {
      const list = (inputs[name] = make("select", row));
      for (const text of options) make("option", list, { textContent: text });
      list.onchange = () => choose({ [name]: list.selectedIndex });
    } else {
      const slider = (inputs[name] = make("input", row, { type: "range", min: 0, max: options.length - 1, step: 1 }));
      slider.readout = make("output", row);
      slider.tell = () => (slider.readout.textContent = `${options[slider.value]} ${unit}`);
      slider.oninput = () => (slider.tell(), choose({ [name]: Number(slider.value) }));
    }
  }
  function read() {
    for (const [name, index] of Object.entries(model.get("chosen"))) {
      if (inputs[name].tell) (inputs[name].value = index), inputs[name].tell();
      else inputs[name].selectedIndex = index;
    }
  }
  const row = make("label", right, { className: "gk-row" });
  make("span", row, { textContent: "landmarks" });
  const dots = make("input", row, { type: "checkbox", checked: true, onchange: paint });
  row.hidden = !model.get("points").length;

  // Dragging turns the head, an arrow key by two degrees; a click chooses the ray of a pixel.
  function turn(yaw, pitch) {
    if (!inputs.yaw) return;
    for (const [name, index] of [["yaw", yaw], ["pitch", pitch]]) {
      inputs[name].value = index; // the input keeps to its range
      inputs[name].tell();
    }
    choose({ yaw: Number(inputs.yaw.value), pitch: Number(inputs.pitch.value) });
  }
  const facing = () => (inputs.yaw ? [Number(inputs.yaw.value), Number(inputs.pitch.value)] : [0, 0]);
  let grip = null;
  canvas.onpointerdown = (event) => {
    canvas.setPointerCapture(event.pointerId);
    grip = { x: event.clientX, y: event.clientY, from: facing(), moved: false };
  };
  canvas.onpointermove = (event) => {
    if (!grip) return;
    const [x, y] = [event.clientX - grip.x, event.clientY - grip.y];
    grip.moved ||= Math.hypot(x, y) > 4;
    if (grip.moved) turn(Math.round(grip.from[0] + DEGREES * x), Math.round(grip.from[1] + DEGREES * y));
  };
  canvas.onpointerup = (event) => {
    const clicked = grip && !grip.moved && model.get("has_rays");
    grip = null;
    if (!clicked) return;
    const box = canvas.getBoundingClientRect();
    stop();
    model.set("pixel", [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height]);
    model.save_changes();
  };
  canvas.onkeydown = (event) => {
    const keys = { ArrowLeft: [-2, 0], ArrowRight: [2, 0], ArrowUp: [0, -2], ArrowDown: [0, 2] };
    const step = keys[event.key];
    if (step) turn(facing()[0] + step[0], facing()[1] + step[1]);
    else if (event.key !== " " || play.hidden) return;
    else play.click();
    event.preventDefault(), event.stopPropagation();
  };

  // The ray: a bar for each sample, as high as its weight, in its colour; gaps are empty cells.
  const chart = make("canvas", right, { width: 640, height: 250, className: "gk-ray", hidden: !model.get("has_rays") });
  function plot() {
    const pen = chart.getContext("2d"), ray = model.get("ray");
    const [bottom, top, first, last] = [195, 30, 60, 620];
    pen.clearRect(0, 0, chart.width, chart.height);
    pen.font = "20px sans-serif";
    pen.fillStyle = pen.strokeStyle = getComputedStyle(el).color;
    if (!ray.depth) return pen.fillText("click the picture: the samples along that pixel's ray", 60, 110);
    const highest = Math.max(...ray.weight, 1e-3);
    const x = (depth) => first + ((last - first) * (depth - ray.range[0])) / (ray.range[1] - ray.range[0]);
    pen.fillText(`weight, up to ${highest.toFixed(2)}; opacity ${ray.opacity.toFixed(3)}; below: cells not empty`, 8, 20);
    pen.fillText("depth (eye distances)", 230, 244);
    for (const end of ray.range) pen.fillText(end.toFixed(1), x(end) - 20, 222);
    pen.strokeRect(first, top, last - first, bottom - top);
    const width = Math.max(2, (x(ray.step) - x(0)) * 0.9);
    ray.depth.forEach((depth, k) => {
      const height = (bottom - top - 4) * (ray.weight[k] / highest);
      pen.fillStyle = "#888";
      pen.fillRect(x(depth) - width / 2, bottom + 2, width, 5);
      pen.fillStyle = ray.colour[k];
      pen.fillRect(x(depth) - width / 2, bottom - height, width, height);
      pen.lineWidth = 0.5;
      pen.strokeRect(x(depth) - width / 2, bottom - height, width, height);
    });
  }

  // Sound in, sound and pictures out.
  const bar = make("div", left, { className: "gk-bar", hidden: !model.get("recordings").length });
  const list = make("select", bar);
  list.setAttribute("aria-label", "recording");
  for (const name of model.get("recordings")) make("option", list, { textContent: name });
  const play = make("button", bar, { textContent: "▶ play" });
  play.hidden = bar.hidden;
  const file = make("input", bar, { type: "file", accept: "audio/*,video/*", hidden: true });
  make("button", bar, { textContent: "open a recording", onclick: () => file.click() });
  const microphone = make("button", bar, { textContent: "● record", hidden: !navigator.mediaDevices });
  const note = make("div", left, { className: "gk-note" });
  const tell = (text) => (note.textContent = text);

  function stop() {
    if (clock) clock.close();
    clock = null;
    at = -1;
    play.textContent = "▶ play";
    paint();
  }
  play.onclick = () => {
    if (clock) return stop();
    tell("listening ...");
    model.send({ do: "say", recording: list.value });
  };
  async function hear(blob) {
    try {
      const context = new AudioContext({ sampleRate: RATE });
      const heard = await context.decodeAudioData(await blob.arrayBuffer());
      context.close();
      const sound = new Float32Array(heard.length);
      for (let k = 0; k < heard.numberOfChannels; k++) heard.getChannelData(k).forEach((value, i) => (sound[i] += value / heard.numberOfChannels));
      tell("listening ...");
      model.send({ do: "say" }, undefined, [sound.buffer]);
    } catch (error) {
      tell(`this browser cannot read the sound: ${error.message}`);
    }
  }
  file.onchange = () => file.files.length && hear(file.files[0]);
  let recorder = null;
  microphone.onclick = async () => {
    if (recorder) return recorder.stop();
    try {
      const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
      const parts = [];
      recorder = new MediaRecorder(stream);
      recorder.ondataavailable = (event) => parts.push(event.data);
      recorder.onstop = () => {
        for (const track of stream.getTracks()) track.stop();
        recorder = null;
        microphone.textContent = "● record";
        hear(new Blob(parts));
      };
      recorder.start();
      microphone.textContent = "■ done";
    } catch (error) {
      tell(`no microphone: ${error.message}`);
    }
  };

  function run() {
    if (!clock) return;
    const next = Math.floor((clock.currentTime - origin) * FPS);
    if (next >= film.n) return stop();
    const ready = film.is_drawn ? film.pictures.length : film.n;
    const ahead = ready === film.n ? film.n : ready - Math.min(FPS, film.n); // a second in hand
    if (next + 1 >= ready && ready < film.n) clock.suspend();
    else if (clock.state === "suspended" && next < ahead) clock.resume();
    if (next >= 0 && next < ready && next !== at) step(next);
    requestAnimationFrame(run);
  }
  async function step(next) {
    const mine = film;
    at = next;
    if (mine.is_drawn) mine.shown = await createImageBitmap(mine.pictures[next]);
    if (mine === film && at === next) paint();
  }
  const listen = async (message, buffers) => {
    if (message.do === "film") {
      stop();
      const [sound, points, ghost] = buffers.map((view) => new Float32Array(bytes(view)));
      film = { n: message.n, is_drawn: message.is_drawn, points, ghost, pictures: [], shown: picture };
      clock = new AudioContext({ sampleRate: RATE });
      const buffer = clock.createBuffer(1, sound.length, RATE);
      buffer.copyToChannel(sound, 0);
      const player = new AudioBufferSourceNode(clock, { buffer });
      player.connect(clock.destination);
      await clock.suspend();
      origin = clock.currentTime + 0.05;
      player.start(origin);
      play.textContent = "■ stop";
      tell("");
      requestAnimationFrame(run);
    } else if (message.do === "picture" && film) {
      film.pictures.push(new Blob([bytes(buffers[0])]));
    }
  };
  model.on("msg:custom", listen);
  const follow = { picture: take, points: paint, ray: plot, pixel: paint, chosen: read, note: () => tell(model.get("note")) };
  for (const [name, act] of Object.entries(follow)) model.on(`change:${name}`, act);
  // JupyterLab takes arrow keys for its cells, unless the very element that has the focus says no.
  for (const element of el.querySelectorAll("input, select, button, canvas")) element.dataset.lmSuppressShortcuts = "true";
  read(), tell(model.get("note"));
  requestAnimationFrame(() => (take(), plot())); // in the page, where colours are known
  return () => {
    if (clock) clock.close();
    model.off("msg:custom", listen);
    for (const [name, act] of Object.entries(follow)) model.off(`change:${name}`, act);
  };
}

export default { render };
