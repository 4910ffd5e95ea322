"""Makes the models that `assets/` ships: `python -m millrace.models.training`."""
