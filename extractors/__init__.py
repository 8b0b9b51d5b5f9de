"""Arrays in, cues out: pretrained and trained models on audio, video frames and text.

Nothing here knows of Kafka, sessions, files or clocks; times are milliseconds from the start of the array.
"""

import os

# The ONNX Runtime reports its use to its maker, and keeps an identifier of the machine, unless it is told before it is
# loaded that nobody wants that. A product that listens to people reports to nobody.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
