"""Streaming vision-language models of the Qwen2.5-VL shape: weights, cache, memory policies."""
