"""What a stream of pictures and words keeps in its cache, and what a question brings back."""
