"""The ingest gateway: live calls of several protocols in, records of sessions out."""
