"""Records, time, order, transport and people: the stages, their runtimes, ingest and egress."""
