"""What a queue on a real server needs around it: private servers that come in a wheel, and workers as processes."""
