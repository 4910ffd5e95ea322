"""The scheduler under synthetic and recorded load, with a fake clock and a fake device."""
