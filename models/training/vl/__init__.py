"""Makes the embedded language model: rendered streams with their truth, words, training, tables."""
