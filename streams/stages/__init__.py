"""The stages: pure cores without clock, thread, queue, retry or I/O."""
