"""Captions of a live picture and answers about it, in a worker of their own."""
