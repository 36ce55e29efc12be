"""Studies of continual learning: what is run, one file a stream."""
