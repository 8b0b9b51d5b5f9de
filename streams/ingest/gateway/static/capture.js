// Captures microphone and camera and sends them in the gateway's own protocol (docs/ingest.md). A broken connection is
// taken up again where the gateway's last acknowledgement left it; what was said in the meantime is kept and sent.
const AUDIO = 1, VIDEO = 2, PICTURES_A_SECOND = 5, PICTURE_WIDTH = 640;
const MOST_KEPT_BYTES = 30e6, PICTURE_LIMIT_BYTES = 1e6, GIVE_UP_MS = 30_000;
const $ = (id) => document.getElementById(id);
const little = true;

function frame(kind, source, seq, time, payload) {
  const bytes = new Uint8Array(16 + payload.byteLength), view = new DataView(bytes.buffer);
  view.setUint8(0, kind);
  view.setUint8(1, source);
  view.setUint32(4, seq, little);
  view.setBigUint64(8, BigInt(time), little);
  bytes.set(new Uint8Array(payload), 16);
  return bytes;
}

// The call: numbers what is sent, keeps it until it is acknowledged, reconnects.
class Call {
  constructor(start, on) {
    this.start = start;
    this.on = on;
    this.next = {};
    this.kept = [];
    this.bytes = 0;
    this.control = 0;
    this.reconnections = 0;
    this.state = null;
    this.over = false;
  }

  open() {
    const resume = this.state && { type: "resume", session: this.session, state: this.state, start: this.start, token: this.start.token };
    this.ready = false;
    this.socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/v1/ingest`, "affectstream.ingest.v1");
    this.socket.binaryType = "arraybuffer";
    this.socket.onopen = () => this.socket.send(JSON.stringify(resume || this.start));
    this.socket.onmessage = (event) => this.receive(JSON.parse(event.data));
    this.socket.onclose = () => this.broken();
  }

  receive(message) {
    if (message.type === "started") {
      this.session = message.session;
      this.state = message.state;
      this.beat = setInterval(() => this.ready && this.socket.send('{"type":"ping"}'), 1000 * message.heartbeat_s);
      this.on.started(message);
      this.flush(() => true);
    } else if (message.type === "resumed") {
      this.brokenSince = null;
      this.on.resumed(++this.reconnections);
      this.flush((item) => !this.among(item, message.received, message.control));
    } else if (message.type === "ack") {
      this.state = message.state;
      this.kept = this.kept.filter((item) => !this.among(item, message.acked, message.control));
      this.bytes = this.kept.reduce((sum, item) => sum + item.data.length, 0);
      this.on.acknowledged(message.acked);
    } else if (message.type === "error") {
      if (message.fatal) this.finish(`${message.what}: ${message.cure}`);
      else this.on.refused(message);
    } else if (message.type === "ended") {
      this.finish(message.reason === "completed" ? null : `the gateway ended the call: ${message.reason}`);
    }
  }

  among(item, frames, control) {
    return item.seq === undefined ? item.control <= control : item.seq <= (frames[item.source] ?? -1);
  }

  flush(wanted) {
    this.ready = true;
    for (const item of this.kept) if (wanted(item)) this.socket.send(item.data);
  }

  put(item) {
    this.kept.push(item);
    this.bytes += item.data.length;
    if (this.ready) this.socket.send(item.data);
    if (this.bytes > MOST_KEPT_BYTES) this.finish("the gateway has been away for too long");
  }

  media(kind, source, time, payload) {
    const seq = this.next[source] ?? 0;
    this.next[source] = seq + 1;
    this.put({ source, seq, data: frame(kind, source, seq, time, payload) });
  }

  tell(type) {
    this.put({ control: ++this.control, data: JSON.stringify({ type, n: this.control }) });
  }

  end() {
    this.put({ control: Infinity, data: '{"type":"end"}' });
  }

  broken() {
    this.ready = false;
    if (this.over) return;
    if (!this.state) return this.finish("the gateway does not answer");
    this.brokenSince ??= performance.now();
    if (performance.now() - this.brokenSince > GIVE_UP_MS) return this.finish("the connection could not be restored");
    this.on.broken();
    setTimeout(() => this.over || this.open(), 500);
  }

  finish(problem) {
    if (this.over) return;
    this.over = true;
    clearInterval(this.beat);
    this.on.finished(problem);
    this.socket.close();
  }
}

let call, media, context, pictures, rate = 0, soundStart = null, paused = false, pictureBusy = false, dropped = 0;

function clock(seconds) {
  return `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
}

function show(state, text) {
  $("status").dataset.state = state;
  $("status-text").textContent = text;
  const live = state === "live" || state === "paused" || state === "broken";
  $("start").disabled = live || state === "asking";
  $("pause").disabled = $("stop").disabled = !live;
  for (const control of document.querySelectorAll("fieldset, details input")) control.disabled = live || state === "asking";
}

function complain(text) {
  $("problem").hidden = !text;
  $("problem").textContent = text ?? "";
}

function opening() {
  const sound = media.getAudioTracks().length > 0, picture = media.getVideoTracks().length > 0, sources = [];
  if (sound) sources.push({ index: 0, kind: "audio", codec: "pcm16", rate, channels: 1 });
  if (picture) sources.push({ index: 1, kind: "video", codec: "jpeg" });
  const person = { id: "captured", role: $("role").value };
  if (sound) person.channel = "audio/0";
  if (picture) person.video = "video/0";
  const start = { type: "start", sources, participants: [person], attributes: { client: "capture page" } };
  if ($("session").value) start.session = $("session").value;
  if ($("language").value) start.language = $("language").value;
  if ($("token").value) start.token = $("token").value;
  if ($("notice").checked) start.notice = { given: true, method: "stated on the capture page", time: new Date().toISOString() };
  return start;
}

async function begin(event) {
  event.preventDefault();
  complain(null);
  const wanted = { audio: $("microphone").checked && { autoGainControl: false }, video: $("camera").checked && { width: { ideal: PICTURE_WIDTH } } };
  if (!wanted.audio && !wanted.video) return complain("Choose the microphone, the camera or both.");
  show("asking", "Waiting for your permission to use the devices");
  try {
    media = await navigator.mediaDevices.getUserMedia(wanted);
  } catch (error) {
    show("failed", "Not started");
    return complain(`The browser gives no access to microphone or camera (${error.name}). Allow it for this page and press Start again.`);
  }
  context = new AudioContext();
  rate = context.sampleRate;
  soundStart = null;
  paused = false;
  dropped = 0;
  call = new Call(opening(), {
    started, resumed, acknowledged, finished,
    broken: () => show("broken", "Connection lost; what is said now is kept and sent later"),
    refused: (error) => complain(`The gateway refused a part: ${error.what}`),
  });
  call.open();
}

async function started(message) {
  $("call").textContent = message.session;
  $("decisions").replaceChildren(...Object.entries(message.decisions).filter(([name]) => name !== "face-*").map(([name, decision]) => {
    const line = document.createElement("li");
    line.textContent = `${name}: ${decision.emotion ? "words and expression are analysed" : "words only, no emotion"} (${decision.reason})`;
    return line;
  }));
  show("live", "Live");
  if (media.getAudioTracks().length) await listen();
  else soundStart = performance.now();
  if (media.getVideoTracks().length) watch();
}

async function listen() {
  await context.audioWorklet.addModule("/capture/capture-worklet.js");
  const blocks = new AudioWorkletNode(context, "blocks", { numberOfOutputs: 0, channelCount: 1, channelCountMode: "explicit" });
  blocks.port.onmessage = ({ data }) => {
    soundStart ??= performance.now() - 100;
    $("level").value = data.level;
    $("level").textContent = `${Math.round(data.level)} dB`;
    if (!paused && !call.over) {
      call.media(AUDIO, 0, data.start, data.pcm);
      $("captured").textContent = clock(call.next[0] / 10);
    }
  };
  context.createMediaStreamSource(media).connect(blocks);
  await context.resume();
}

function watch() {
  const video = $("preview"), canvas = document.createElement("canvas");
  video.srcObject = media;
  video.play();
  pictures = setInterval(() => {
    if (paused || soundStart === null || !video.videoWidth || pictureBusy || call.over) return;
    if (call.bytes > PICTURE_LIMIT_BYTES || call.socket.bufferedAmount > PICTURE_LIMIT_BYTES) {
      $("dropped").textContent = ++dropped;
      return;
    }
    const time = Math.max(0, Math.round(performance.now() - soundStart));
    canvas.width = Math.min(PICTURE_WIDTH, video.videoWidth);
    canvas.height = Math.round(canvas.width * video.videoHeight / video.videoWidth);
    canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
    pictureBusy = true;
    canvas.toBlob(async (blob) => {
      const jpeg = blob && await blob.arrayBuffer();
      pictureBusy = false;
      if (jpeg && !paused && !call.over) call.media(VIDEO, 1, time, jpeg);
    }, "image/jpeg", 0.85);
  }, 1000 / PICTURES_A_SECOND);
}

function resumed(times) {
  $("reconnections").textContent = times;
  show(paused ? "paused" : "live", paused ? "Paused" : "Live again; nothing is lost");
}

function acknowledged(acked) {
  if (acked[0] >= 0) $("safe").textContent = clock((acked[0] + 1) / 10);
}

function finished(problem) {
  clearInterval(pictures);
  for (const track of media.getTracks()) track.stop();
  context.close();
  $("preview").srcObject = null;
  $("pause").setAttribute("aria-pressed", "false");
  show(problem ? "failed" : "ended", problem ? "Ended early" : "Ended; everything is safe at the gateway");
  complain(problem && `The call ended: ${problem}.`);
}

$("setup").addEventListener("submit", begin);
$("pause").addEventListener("click", () => {
  paused = !paused;
  call.tell(paused ? "pause" : "continue");
  $("pause").setAttribute("aria-pressed", String(paused));
  show(paused ? "paused" : "live", paused ? "Paused: nothing is captured" : "Live");
});
$("stop").addEventListener("click", () => {
  show("asking", "Sending what is left");
  call.end();
});
