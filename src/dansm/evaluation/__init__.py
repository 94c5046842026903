"""From snapshots to distances and curves."""
