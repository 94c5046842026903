"""Archive, report and crate of results."""
