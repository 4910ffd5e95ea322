"""Browser, WebRTC, HTTP and command line; no tensors on the media path."""
