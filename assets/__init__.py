"""Shipped weights and clips, each with checksum, licence and origin in `manifest.json`."""
