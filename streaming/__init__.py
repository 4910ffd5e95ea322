"""Sessions, deadlines, the stream batch and the devices; no HTTP, no Gradio."""
