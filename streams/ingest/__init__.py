"""How media comes in: recorded files here; live sources are added beside them."""
