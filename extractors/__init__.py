"""Arrays in, cues out: pretrained and trained models on audio, video frames and text.

Nothing here knows of Kafka, sessions, files or clocks; times are milliseconds from the start of the array.
"""
