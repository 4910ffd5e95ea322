"""Makes the embedded text-to-video model: moving scenes with words for them, and the training."""
