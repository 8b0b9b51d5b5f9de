// Collects the microphone into blocks of a tenth of a second, as 16-bit samples, and counts them: the media clock.
class Blocks extends AudioWorkletProcessor {
  constructor() {
    super();
    this.block = new Int16Array(Math.floor(sampleRate / 10));
    this.filled = 0;
    this.start = 0;
  }

  process([channels]) {
    const samples = channels[0] ?? new Float32Array(128); // no input yet: the clock runs all the same
    for (const sample of samples) {
      this.block[this.filled++] = Math.max(-32768, Math.min(32767, Math.round(sample * 32768)));
      if (this.filled === this.block.length) this.send();
    }
    return true;
  }

  send() {
    let power = 0;
    for (const sample of this.block) power += sample * sample;
    const level = 10 * Math.log10(power / this.block.length / 32768 ** 2 + 1e-9);
    this.port.postMessage({ start: this.start, level, pcm: this.block.buffer.slice(0) });
    this.start += this.block.length;
    this.filled = 0;
  }
}

registerProcessor("blocks", Blocks);
