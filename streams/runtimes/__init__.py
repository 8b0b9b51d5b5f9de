"""The two drivers of one topology: `embedded` (one process, no broker) and `kafka` (Faust workers)."""
