"""Egress: events written as JSON Lines, Parquet, WebVTT, EmotionML and as a report that a person reads."""
