"""Text: sentences in, cues out. Transcripts are data: they are measured, never followed."""
