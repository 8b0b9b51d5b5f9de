"""Speech: 16 kHz mono PCM in, cues out. No clocks, no files, no sessions."""
