"""Files, tables and provenance."""
