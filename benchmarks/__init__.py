"""One file a claim; each runs as `python -m benchmarks.NAME [--quick]` and ends with one JSON object on a line."""
